"""The order in which SGLang looks at its queue, over a radix cache: longest prefix first, and those beside it.

The queue is put in order in place and every sort is stable, so that ties keep the order of the time before, which is
not that of arrival. Looking splits nodes and refreshes them, so that twice is not once.

Source: `SchedulePolicy` of sglang 0.5.23.
"""

from llmqueue_gym._jit import inner_kernel, lean_kernel, part_kernel
from llmqueue_gym.engines.batching.cache import PATH
from llmqueue_gym.engines.batching.radix import insert, match
from llmqueue_gym.engines.batching.radix_leaves import clear
from llmqueue_gym.engines.batching.radix_tables import (
    BORN,
    BY_HITS,
    ENTRY,
    FIRST,
    HALF,
    HEAD,
    LAST,
    NEVER,
    PARENT,
    POSTPONED,
    PROBE,
    ROW,
    SEAT,
    SECOND,
    SPACE,
    UNMATCHED,
    WEIGHT,
)

FCFS, LPM, DFS_WEIGHT, LOF = 0, 1, 2, 3
POLICIES = {"lpm": LPM, "dfs-weight": DFS_WEIGHT, "fcfs": FCFS, "lof": LOF}

MOST_MATCHED = 128  # of a longer queue lpm leaves the order as it is
ALONE = 32  # tokens; who has no more of its prompt in the tree is compared with those before it in the queue
HELD_BACK = 32  # tokens of the prompt of one of those, from which on it waits until that one is computed
REFRESHED = 32  # orders without looking after which the head of the queue is refreshed
WHOLE_QUEUE = 128  # requests of which it then is


@inner_kernel
def put(cells, at, first, second, row):
    """Write an entry to be sorted."""
    cells[at + FIRST], cells[at + SECOND], cells[at + ROW] = first, second, row


@part_kernel
def sort(cells, tree, n):
    """Sort the first n entries by both numbers, stably; returns the place of the half of the space where they end."""
    here, there, width = cells[tree + SPACE], cells[tree + SPACE] + cells[tree + HALF], ENTRY
    end = n * ENTRY
    while width < end:
        for low in range(0, end, 2 * width):
            middle, high = min(low + width, end), min(low + 2 * width, end)
            i, j = here + low, here + middle
            for k in range(there + low, there + high, ENTRY):
                right = j < here + high
                if right and i < here + middle:
                    right = cells[j + FIRST] < cells[i + FIRST] or (
                        cells[j + FIRST] == cells[i + FIRST] and cells[j + SECOND] < cells[i + SECOND]
                    )
                if right:
                    put(cells, k, cells[j + FIRST], cells[j + SECOND], cells[j + ROW])
                    j += ENTRY
                else:
                    put(cells, k, cells[i + FIRST], cells[i + SECOND], cells[i + ROW])
                    i += ENTRY
        width *= 2
        here, there = there, here
    return here


@part_kernel
def sort_queue(cells, tree, queue, n):
    """Put a queue in the order of its n entries."""
    here = sort(cells, tree, n)
    for k in range(n):
        queue[k] = cells[here + ENTRY * k + ROW]


@part_kernel
def look_at_all(cells, tree, requests, truth, queue, n):
    """Look up every request of a queue, and hold back who would compute what one before it is about to compute."""
    probe = cells[tree + PROBE]
    clear(cells, probe)
    for k in range(n):
        request, path = requests[queue[k]], truth[queue[k]].path
        known = request.prompt + request.generated
        matched, cells[path + LAST] = match(cells, tree, path + PATH, known)
        request.cached = min(matched, known - 1)
        cells[path + POSTPONED] = 0
        if matched <= ALONE:
            shared, _ = match(cells, probe, path + PATH, known)
            if shared >= HELD_BACK:
                cells[path + POSTPONED] = 1
            else:
                insert(cells, probe, path + PATH, known, 0)


@part_kernel
def longest_prefix(cells, tree, requests, truth, queue, n):
    """Put who has most in the cache first, and who is held back last."""
    for k in range(n):
        i = queue[k]
        first = NEVER if cells[truth[i].path + POSTPONED] else -requests[i].cached
        put(cells, cells[tree + SPACE] + ENTRY * k, first, 0, i)
    sort_queue(cells, tree, queue, n)


@part_kernel
def weigh(cells, tree, truth, queue, n):
    """Give every node on the way to a request its weight, and list these nodes, parents before children.

    Returns:
        The place behind the last of them, in the second half of the space.
    """
    begin = cells[tree + SPACE] + cells[tree + HALF]
    end = begin
    for k in range(n):
        node, start = cells[truth[queue[k]].path + LAST], end
        while cells[node + WEIGHT] == 0:
            cells[node + WEIGHT] = -1  # seen
            cells[end + ROW] = node
            end += ENTRY
            if node != tree + HEAD:
                node = cells[node + PARENT]
        low, high = start, end - ENTRY
        while low < high:  # from the root on
            cells[low + ROW], cells[high + ROW] = cells[high + ROW], cells[low + ROW]
            low += ENTRY
            high -= ENTRY
    for at in range(begin, end, ENTRY):
        cells[cells[at + ROW] + WEIGHT] = 0
    for k in range(n):
        cells[cells[truth[queue[k]].path + LAST] + WEIGHT] += 1
    for at in range(end - ENTRY, begin, -ENTRY):
        node = cells[at + ROW]
        cells[cells[node + PARENT] + WEIGHT] += cells[node + WEIGHT]
    return end


@part_kernel
def heaviest_branch(cells, tree, truth, queue, n):
    """Go through the tree depth first, children by falling weight; the requests of a node come after those below it.

    The requests of a node and below take as many seats as it weighs: first those of its children one after another,
    then its own. So the nodes need to be visited by weight alone, each after its parent.
    """
    space, half = cells[tree + SPACE], cells[tree + HALF]
    listed = (weigh(cells, tree, truth, queue, n) - space - half) // ENTRY
    for k in range(listed):
        node = cells[space + half + ENTRY * k + ROW]
        put(cells, space + ENTRY * k, -cells[node + WEIGHT], cells[node + BORN], node)
    here = sort(cells, tree, listed)
    other = space + half if here == space else space
    cells[tree + HEAD + SEAT] = 0
    for k in range(listed):
        node = cells[here + ENTRY * k + ROW]
        if node != tree + HEAD:
            above = cells[node + PARENT]
            cells[node + SEAT] = cells[above + SEAT]
            cells[above + SEAT] += cells[node + WEIGHT]
        cells[node + WEIGHT] = 0
    for k in range(n):
        node = cells[truth[queue[k]].path + LAST]
        cells[other + ENTRY * cells[node + SEAT] + ROW] = queue[k]
        cells[node + SEAT] += 1
    for k in range(n):
        queue[k] = cells[other + ENTRY * k + ROW]


@part_kernel
def refresh_head(cells, tree, requests, truth, queue, n):
    """Walk the texts of the head of a queue, its first one last, at every so many calls; only without hits (lru)."""
    if not cells[tree + BY_HITS] and cells[tree + UNMATCHED] % REFRESHED == 0:
        for k in range(min(n, WHOLE_QUEUE) - 1, -1, -1):
            request = requests[queue[k]]
            match(cells, tree, truth[queue[k]].path + PATH, request.prompt + request.generated)
    cells[tree + UNMATCHED] += 1


@lean_kernel
def put_in_order(cells, tree, requests, truth, queue, n, policy, by_priority, low_first):
    """Put a queue in order.

    Args:
        cells: of `ReplicaTables`.
        tree: place of the tree.
        requests: `REQUEST` rows, in order of arrival; `cached` is written where they are looked up, `upper` is the most
            output that each may have.
        truth: `TRUTH` rows, which say where the texts are.
        queue: rows of those that wait; their order is changed.
        n: how many wait, at least one.
        policy: FCFS, LPM, DFS_WEIGHT or LOF.
        by_priority: whether FCFS and LOF go by the priority first.
        low_first: whether a small one is urgent.

    Returns:
        Whether all were looked up.
    """
    if policy == DFS_WEIGHT or (policy == LPM and n <= MOST_MATCHED):
        look_at_all(cells, tree, requests, truth, queue, n)
        if policy == LPM:
            longest_prefix(cells, tree, requests, truth, queue, n)
        else:
            heaviest_branch(cells, tree, truth, queue, n)
        return True
    if policy == LOF or (policy == FCFS and by_priority):
        for k in range(n):
            i = queue[k]
            urgency = 0
            if by_priority:
                urgency = int(requests[i].priority) if low_first else -int(requests[i].priority)
            second = -int(requests[i].upper) if policy == LOF else i
            put(cells, cells[tree + SPACE] + ENTRY * k, urgency, second, i)
        sort_queue(cells, tree, queue, n)
    refresh_head(cells, tree, requests, truth, queue, n)
    return False

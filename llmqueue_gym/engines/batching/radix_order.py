"""The order in which SGLang looks at its queue, over a radix cache: longest prefix first, and those beside it.

The queue is put in order in place and every sort is stable, so that ties keep the order of the time before, which is
not that of arrival. Looking splits nodes and refreshes them, so that twice is not once.

Source: `SchedulePolicy` of sglang 0.5.23, without its routing keys.
"""

from llmqueue_gym._jit import inner_kernel, lean_kernel, part_kernel
from llmqueue_gym.engines.batching.radix import insert, match
from llmqueue_gym.engines.batching.radix_leaves import clear
from llmqueue_gym.engines.batching.radix_tables import NEVER, ROOT

LPM, DFS_WEIGHT, FCFS, LOF = 0, 1, 2, 3
POLICIES = {"lpm": LPM, "dfs-weight": DFS_WEIGHT, "fcfs": FCFS, "lof": LOF}

MOST_MATCHED = 128  # of a longer queue lpm leaves the order as it is
ALONE = 32  # tokens; who has no more of its prompt in the tree is compared with those before it in the queue
HELD_BACK = 32  # tokens of the prompt of one of those, from which on it waits until that one is computed
REFRESHED = 32  # orders without looking after which the head of the queue is refreshed
WHOLE_QUEUE = 128  # requests of which it then is


@inner_kernel
def put(a, first, second, row):
    """Write an entry."""
    a.first, a.second, a.row = first, second, row


@part_kernel
def sort(entries, n):
    """Sort the first n entries of the first half by both numbers, stably; returns the half in which they end."""
    width, here = 1, 0
    while width < n:
        for low in range(0, n, 2 * width):
            middle, high = min(low + width, n), min(low + 2 * width, n)
            i, j = low, middle
            for k in range(low, high):
                right = j < high
                if right and i < middle:
                    a, b = entries[here, i], entries[here, j]
                    right = b.first < a.first or (b.first == a.first and b.second < a.second)
                if right:
                    a = entries[here, j]
                    j += 1
                else:
                    a = entries[here, i]
                    i += 1
                put(entries[1 - here, k], a.first, a.second, a.row)
        width *= 2
        here = 1 - here
    return here


@part_kernel
def sort_queue(tree, queue, n):
    """Put a queue in the order of its n entries."""
    here = sort(tree.entries, n)
    for k in range(n):
        queue[k] = tree.entries[here, k].row


@part_kernel
def look_at_all(e, tree, pieces, paths, requests, queue, n):
    """Look up every request of a queue, and hold back who would compute what one before it is about to compute."""
    probe = e + tree.state.shape[0] // 2
    clear(probe, tree)
    for k in range(n):
        i = queue[k]
        text, prompt, p = tree.texts[i], int(requests[i].prompt + requests[i].generated), int(paths[i].first_piece)
        matched, text.last = match(e, tree, pieces, p, prompt)
        requests[i].cached = min(matched, prompt - 1)
        text.held = 0
        if matched <= ALONE:
            shared, _ = match(probe, tree, pieces, p, prompt)
            if shared >= HELD_BACK:
                text.held = 1
            else:
                insert(probe, tree, pieces, p, prompt, 0)


@part_kernel
def longest_prefix(tree, requests, queue, n):
    """Put who has most in the cache first, and who is held back last."""
    for k in range(n):
        i = queue[k]
        put(tree.entries[0, k], NEVER if tree.texts[i].held else -int(requests[i].cached), 0, i)
    sort_queue(tree, queue, n)


@part_kernel
def weigh(e, tree, queue, n):
    """Give every node on the way to a request its weight, and list these nodes, parents before children.

    Returns:
        How many there are.
    """
    listed, nodes, entries = 0, tree.nodes, tree.entries
    for k in range(n):
        node, start = int(tree.texts[queue[k]].last), listed
        while nodes[e, node].weight == 0:
            nodes[e, node].weight = -1  # seen
            entries[1, listed].row = node
            listed += 1
            if node != ROOT:
                node = int(nodes[e, node].parent)
        low, high = start, listed - 1
        while low < high:  # from the root on
            swapped = entries[1, low].row
            entries[1, low].row, entries[1, high].row = entries[1, high].row, swapped
            low += 1
            high -= 1
    for k in range(listed):
        nodes[e, entries[1, k].row].weight = 0
    for k in range(n):
        nodes[e, tree.texts[queue[k]].last].weight += 1
    for k in range(listed - 1, 0, -1):
        node = nodes[e, entries[1, k].row]
        nodes[e, node.parent].weight += node.weight
    return listed


@part_kernel
def heaviest_branch(e, tree, queue, n):
    """Go through the tree depth first, children by falling weight; the requests of a node come after those below it.

    The requests of a node and below take as many places as it weighs: first those of its children one after another,
    then its own. So the nodes need to be visited by weight alone, each after its parent.
    """
    nodes, entries = tree.nodes, tree.entries
    listed = weigh(e, tree, queue, n)
    for k in range(listed):
        node = nodes[e, entries[1, k].row]
        put(entries[0, k], -int(node.weight), node.born, entries[1, k].row)
    here = sort(entries, listed)
    nodes[e, ROOT].place = 0
    for k in range(listed):
        at = entries[here, k].row
        node = nodes[e, at]
        if at != ROOT:
            above = nodes[e, node.parent]
            node.place = above.place
            above.place += node.weight
        node.weight = 0
    for k in range(n):
        i = queue[k]
        node = nodes[e, tree.texts[i].last]
        entries[1 - here, node.place].row = i
        node.place += 1
    for k in range(n):
        queue[k] = entries[1 - here, k].row


@part_kernel
def refresh_head(e, tree, pieces, paths, requests, queue, n):
    """Walk the texts of the head of a queue, its first one last, at every so many calls; only without hits (lru)."""
    state = tree.state[e]
    if not state.by_hits and state.unmatched % REFRESHED == 0:
        for k in range(min(n, WHOLE_QUEUE) - 1, -1, -1):
            request = requests[queue[k]]
            match(e, tree, pieces, int(paths[queue[k]].first_piece), int(request.prompt + request.generated))
    state.unmatched += 1


@lean_kernel
def put_in_order(e, tree, pieces, paths, requests, queue, n, policy, by_priority, low_first):
    """Put a queue in order.

    Args:
        e: row of the tree.
        tree: `RadixTree`.
        pieces: `SEGMENT` rows.
        paths: `cache.PATH` rows of the requests, where their pieces begin.
        requests: `REQUEST` rows, in order of arrival; `cached` is written where they are looked up, `upper` is the most
            output that each may have.
        queue: rows of those that wait; their order is changed.
        n: how many wait, at least one.
        policy: LPM, DFS_WEIGHT, FCFS or LOF.
        by_priority: whether FCFS and LOF go by the priority first.
        low_first: whether a small one is urgent.

    Returns:
        Whether all were looked up.
    """
    if policy == DFS_WEIGHT or (policy == LPM and n <= MOST_MATCHED):
        look_at_all(e, tree, pieces, paths, requests, queue, n)
        if policy == LPM:
            longest_prefix(tree, requests, queue, n)
        else:
            heaviest_branch(e, tree, queue, n)
        return True
    if policy == LOF or (policy == FCFS and by_priority):
        for k in range(n):
            i = queue[k]
            urgency = 0
            if by_priority:
                urgency = int(requests[i].priority) if low_first else -int(requests[i].priority)
            put(tree.entries[0, k], urgency, -int(requests[i].upper) if policy == LOF else i, i)
        sort_queue(tree, queue, n)
    refresh_head(e, tree, pieces, paths, requests, queue, n)
    return False

"""The order in which SGLang looks at its queue, over a radix cache: longest prefix first, and those beside it.

The queue is put in order in place and every sort is stable, so that ties keep the order of the time before, which is
not that of arrival. Looking splits nodes and refreshes them, so that twice is not once.

Source: `SchedulePolicy` of sglang 0.5.23, without its routing keys.
"""

from typing import NamedTuple

import numpy as np

from llmqueue_gym._jit import inner_kernel, lean_kernel, part_kernel, records
from llmqueue_gym.engines.batching.radix import insert, match
from llmqueue_gym.engines.batching.radix_leaves import clear
from llmqueue_gym.engines.batching.radix_tables import NEVER, ROOT, RadixTree, fresh_tree

LPM, DFS_WEIGHT, FCFS, LOF = 0, 1, 2, 3
POLICIES = {"lpm": LPM, "dfs-weight": DFS_WEIGHT, "fcfs": FCFS, "lof": LOF}

MOST_MATCHED = 128  # of a longer queue lpm leaves the order as it is
ALONE = 32  # tokens; who has no more of its prompt in the tree is compared with those before it in the queue
HELD_BACK = 32  # tokens of the prompt of one of those, from which on it waits until that one is computed
REFRESHED = 32  # orders without looking after which the head of the queue is refreshed
WHOLE_QUEUE = 128  # requests of which it then is

ENTRY = np.dtype([("first", "i8"), ("second", "i8"), ("row", "i8")], align=True)  # what is sorted, by two numbers


class QueueOrder(NamedTuple):
    """What the kernels keep of requests and use as working space, for one queue.

    Attributes:
        probe: a tree of its own, of those that waited before a request and have nothing in the cache.
        last: the node at which the last look at a request ended `(n,)`.
        held: whether a request is held back `(n,)`.
        entries: `ENTRY` rows (2, the larger of n and the nodes), to be sorted and merged.
    """

    probe: RadixTree
    last: np.ndarray
    held: np.ndarray
    entries: np.ndarray


def fresh_order(n: int, tree: RadixTree) -> QueueOrder:
    """Return the working space for n requests and one tree."""
    return QueueOrder(
        probe=fresh_tree(1, 2 * n),  # each is looked up, which may split a node, and put in
        last=np.zeros(n, np.int64),
        held=np.zeros(n, np.bool_),
        entries=records(np.zeros((2, max(n, tree.nodes.shape[1])), ENTRY)),
    )


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
def sort_queue(desk, queue, n):
    """Put a queue in the order of its n entries."""
    here = sort(desk.entries, n)
    for k in range(n):
        queue[k] = desk.entries[here, k].row


@part_kernel
def look_at_all(e, tree, texts, requests, queue, n, desk):
    """Look up every request of a queue, and hold back who would compute what one before it is about to compute."""
    clear(0, desk.probe)
    for k in range(n):
        i = queue[k]
        prompt = int(requests[i].prompt)
        matched, desk.last[i] = match(e, tree, texts, i, prompt)
        requests[i].cached = min(matched, prompt - 1)
        desk.held[i] = False
        if matched <= ALONE:
            shared, _ = match(0, desk.probe, texts, i, prompt)
            desk.held[i] = shared >= HELD_BACK
            if shared < HELD_BACK:
                insert(0, desk.probe, texts, i, prompt, 0)


@part_kernel
def longest_prefix(requests, queue, n, desk):
    """Put who has most in the cache first, and who is held back last."""
    for k in range(n):
        i = queue[k]
        put(desk.entries[0, k], NEVER if desk.held[i] else -int(requests[i].cached), 0, i)
    sort_queue(desk, queue, n)


@part_kernel
def weigh(e, tree, queue, n, desk):
    """Give every node on the way to a request its weight, and list these nodes, parents before children.

    Returns:
        How many there are.
    """
    listed, nodes, entries = 0, tree.nodes, desk.entries
    for k in range(n):
        node, start = desk.last[queue[k]], listed
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
        nodes[e, desk.last[queue[k]]].weight += 1
    for k in range(listed - 1, 0, -1):
        node = nodes[e, entries[1, k].row]
        nodes[e, node.parent].weight += node.weight
    return listed


@part_kernel
def heaviest_branch(e, tree, queue, n, desk):
    """Go through the tree depth first, children by falling weight; the requests of a node come after those below it.

    The requests of a node and below take as many places as it weighs: first those of its children one after another,
    then its own. So the nodes need to be visited by weight alone, each after its parent.
    """
    nodes, entries = tree.nodes, desk.entries
    listed = weigh(e, tree, queue, n, desk)
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
        node = nodes[e, desk.last[i]]
        entries[1 - here, node.place].row = i
        node.place += 1
    for k in range(n):
        queue[k] = entries[1 - here, k].row


@part_kernel
def refresh_head(e, tree, texts, requests, queue, n):
    """Walk the texts of the head of a queue, its first one last, at every so many calls; only without hits (lru)."""
    state = tree.state[e]
    if not state.by_hits and state.unmatched % REFRESHED == 0:
        for k in range(min(n, WHOLE_QUEUE) - 1, -1, -1):
            match(e, tree, texts, queue[k], int(requests[queue[k]].prompt))
    state.unmatched += 1


@lean_kernel
def put_in_order(e, tree, texts, requests, most, queue, n, desk, policy, by_priority, low_first):
    """Put a queue in order.

    Args:
        e: row of the tree.
        tree: `RadixTree`.
        texts: `Texts`.
        requests: `REQUEST` rows, in order of arrival; `cached` is written where they are looked up.
        most: output tokens that each may have.
        queue: rows of those that wait; their order is changed.
        n: how many wait, at least one.
        desk: `QueueOrder`.
        policy: LPM, DFS_WEIGHT, FCFS or LOF.
        by_priority: whether FCFS and LOF go by the priority first.
        low_first: whether a small one is urgent.

    Returns:
        Whether all were looked up.
    """
    if policy == DFS_WEIGHT or (policy == LPM and n <= MOST_MATCHED):
        look_at_all(e, tree, texts, requests, queue, n, desk)
        if policy == LPM:
            longest_prefix(requests, queue, n, desk)
        else:
            heaviest_branch(e, tree, queue, n, desk)
        return True
    if policy == LOF or (policy == FCFS and by_priority):
        for k in range(n):
            i = queue[k]
            urgency = 0
            if by_priority:
                urgency = int(requests[i].priority) if low_first else -int(requests[i].priority)
            put(desk.entries[0, k], urgency, -most[i] if policy == LOF else i, i)
        sort_queue(desk, queue, n)
    refresh_head(e, tree, texts, requests, queue, n)
    return False

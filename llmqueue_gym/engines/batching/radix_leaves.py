"""The leaves of a radix tree that nobody needs now, and their removal.

They stand in a binary heap by what they were when they got there. Hits and times only grow, so an entry is never later
than it should be: at the top it is brought up to date, or dropped if its node is no such leaf any more.
"""

from llmqueue_gym._jit import inner_kernel, lean_kernel, part_kernel
from llmqueue_gym.engines.batching.radix_tables import NONE, ROOT


@inner_kernel
def first(a, hits, time):
    """Whether a leaf of the heap goes before one of these hits and this time."""
    return a.hits < hits or (a.hits == hits and a.time < time)


@inner_kernel
def put(a, hits, time, node):
    """Write an entry of the heap."""
    a.hits, a.time, a.node = hits, time, node


@part_kernel
def enlist(e, tree, k):
    """Count node k among the leaves that may be removed."""
    state, node = tree.state[e], tree.nodes[e, k]
    state.leaves += 1
    if node.listed:
        return
    node.listed = 1
    hits, i = node.hits if state.by_hits else 0, state.heap
    while i > 0 and not first(tree.heap[e, (i - 1) >> 1], hits, node.time):
        above = tree.heap[e, (i - 1) >> 1]
        put(tree.heap[e, i], above.hits, above.time, above.node)
        i = (i - 1) >> 1
    put(tree.heap[e, i], hits, node.time, k)
    state.heap += 1


@part_kernel
def sink(e, tree, hits, time, k):
    """Let an entry take the place of the top of the heap, and sink to where it belongs."""
    length = tree.state[e].heap
    i, child = 0, 1
    while child < length:
        if child + 1 < length:
            right = tree.heap[e, child + 1]
            if first(right, tree.heap[e, child].hits, tree.heap[e, child].time):
                child += 1
        below = tree.heap[e, child]
        if not first(below, hits, time):
            break
        put(tree.heap[e, i], below.hits, below.time, below.node)
        i, child = child, 2 * child + 1
    put(tree.heap[e, i], hits, time, k)


@part_kernel
def drop_top(e, tree):
    """Take the first entry out of the heap."""
    state = tree.state[e]
    tree.nodes[e, tree.heap[e, 0].node].listed = 0
    state.heap -= 1
    last = tree.heap[e, state.heap]
    sink(e, tree, last.hits, last.time, last.node)


@part_kernel
def unlink(e, tree, k):
    """Take node k out of its bucket."""
    node = tree.nodes[e, k]
    at = node.hash & (tree.buckets.shape[1] - 1)
    if tree.buckets[e, at] == k:
        tree.buckets[e, at] = node.chain
        return
    before = tree.nodes[e, tree.buckets[e, at]]
    while before.chain != k:
        before = tree.nodes[e, before.chain]
    before.chain = node.chain


@part_kernel
def remove(e, tree, k):
    """Remove leaf k; its parent may become a leaf that nobody needs."""
    state, node = tree.state[e], tree.nodes[e, k]
    unlink(e, tree, k)
    node.chain, state.free = state.free, k
    state.leaves -= 1
    state.evictable -= node.length
    parent = tree.nodes[e, node.parent]
    parent.children -= 1
    if node.parent != ROOT and parent.children == 0 and parent.lock == 0:
        enlist(e, tree, int(node.parent))


@lean_kernel
def evict(e, tree, tokens):
    """Remove whole leaves until so many tokens are removed or none is left; returns the tokens removed.

    The first to go is the leaf that was not walked over for longest, under lfu that of fewest hits.
    """
    state, removed = tree.state[e], 0
    while removed < tokens and state.heap > 0:
        top = tree.heap[e, 0]
        k = top.node
        node = tree.nodes[e, k]
        hits = node.hits if state.by_hits else 0
        if node.children > 0 or node.lock > 0:
            drop_top(e, tree)
        elif top.hits != hits or top.time != node.time:
            sink(e, tree, hits, node.time, k)
        else:
            removed += node.length
            drop_top(e, tree)
            remove(e, tree, k)
    return removed


@part_kernel
def clear(e, tree):
    """Empty a tree."""
    state = tree.state[e]
    for k in range(1, state.used + 1):
        tree.buckets[e, tree.nodes[e, k].hash & (tree.buckets.shape[1] - 1)] = NONE
    tree.nodes[e, ROOT].children = 0
    state.used = state.free = state.heap = state.leaves = state.evictable = state.protected = 0

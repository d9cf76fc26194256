"""The leaves of a radix tree that nobody needs now, and their removal.

They stand in a binary heap by what they were when they got there. Hits and times only grow, so an entry is never later
than it should be: at the top it is brought up to date, or dropped if its node is no such leaf any more.
"""

from llmqueue_gym._jit import inner_kernel, lean_kernel, part_kernel
from llmqueue_gym.engines.batching.radix_tables import (
    BUCKETS,
    BY_HITS,
    CHAIN,
    CHILDREN,
    EVICTABLE,
    FREE,
    HASH,
    HEAD,
    HEAP,
    HITS,
    LEAF,
    LEAF_HITS,
    LEAF_NODE,
    LEAF_WALKED,
    LEAVES,
    LIST,
    LISTED,
    LOCK,
    MASK,
    NODE,
    NONE,
    PARENT,
    PROTECTED,
    TOKENS,
    USED,
    WALKED,
)


@inner_kernel
def goes_first(cells, at, hits, walked):
    """Whether the entry at a place of the heap goes before one of these hits and this time."""
    return cells[at + LEAF_HITS] < hits or (cells[at + LEAF_HITS] == hits and cells[at + LEAF_WALKED] < walked)


@inner_kernel
def copy(cells, at, other):
    """Write the entry at a place to another place."""
    for k in range(LEAF):
        cells[other + k] = cells[at + k]


@inner_kernel
def put(cells, at, hits, walked, k):
    """Write an entry of the heap."""
    cells[at + LEAF_HITS], cells[at + LEAF_WALKED], cells[at + LEAF_NODE] = hits, walked, k


@inner_kernel
def counted_hits(cells, tree, k):
    """Return the hits of node k as far as they count for its removal."""
    return cells[k + HITS] if cells[tree + BY_HITS] else 0


@part_kernel
def enlist(cells, tree, k):
    """Count node k among the leaves that may be removed."""
    cells[tree + LEAVES] += 1
    if cells[k + LISTED]:
        return
    cells[k + LISTED] = 1
    hits, walked, first, i = counted_hits(cells, tree, k), cells[k + WALKED], cells[tree + LIST], cells[tree + HEAP]
    while i > 0 and not goes_first(cells, first + LEAF * ((i - 1) >> 1), hits, walked):
        copy(cells, first + LEAF * ((i - 1) >> 1), first + LEAF * i)
        i = (i - 1) >> 1
    put(cells, first + LEAF * i, hits, walked, k)
    cells[tree + HEAP] += 1


@part_kernel
def sink(cells, tree, hits, walked, k):
    """Let an entry take the place of the top of the heap, and sink to where it belongs."""
    first, length, i, child = cells[tree + LIST], cells[tree + HEAP], 0, 1
    while child < length:
        if child + 1 < length:
            left = first + LEAF * child
            if goes_first(cells, left + LEAF, cells[left + LEAF_HITS], cells[left + LEAF_WALKED]):
                child += 1
        if not goes_first(cells, first + LEAF * child, hits, walked):
            break
        copy(cells, first + LEAF * child, first + LEAF * i)
        i, child = child, 2 * child + 1
    put(cells, first + LEAF * i, hits, walked, k)


@part_kernel
def drop_top(cells, tree):
    """Take the first entry out of the heap."""
    cells[cells[cells[tree + LIST] + LEAF_NODE] + LISTED] = 0
    cells[tree + HEAP] -= 1
    last = cells[tree + LIST] + LEAF * cells[tree + HEAP]
    sink(cells, tree, cells[last + LEAF_HITS], cells[last + LEAF_WALKED], cells[last + LEAF_NODE])


@inner_kernel
def bucket_of(cells, tree, h):
    """Return the place of the bucket of a hash."""
    return cells[tree + BUCKETS] + (h & cells[tree + MASK])


@part_kernel
def unlink(cells, tree, k):
    """Take node k out of its bucket."""
    bucket = bucket_of(cells, tree, cells[k + HASH])
    before = cells[bucket]
    if before == k:
        cells[bucket] = cells[k + CHAIN]
        return
    while cells[before + CHAIN] != k:
        before = cells[before + CHAIN]
    cells[before + CHAIN] = cells[k + CHAIN]


@part_kernel
def remove(cells, tree, k):
    """Remove leaf k; its parent may become a leaf that nobody needs."""
    unlink(cells, tree, k)
    cells[k + CHAIN], cells[tree + FREE] = cells[tree + FREE], k
    cells[tree + LEAVES] -= 1
    cells[tree + EVICTABLE] -= cells[k + TOKENS]
    parent = cells[k + PARENT]
    cells[parent + CHILDREN] -= 1
    if parent != tree + HEAD and cells[parent + CHILDREN] == 0 and cells[parent + LOCK] == 0:
        enlist(cells, tree, parent)


@lean_kernel
def evict(cells, tree, tokens):
    """Remove whole leaves until so many tokens are removed or none is left; returns the tokens removed.

    The first to go is the leaf that was not walked over for longest, under lfu that of fewest hits.
    """
    removed, top = 0, cells[tree + LIST]
    while removed < tokens and cells[tree + HEAP] > 0:
        k = cells[top + LEAF_NODE]
        hits, walked = counted_hits(cells, tree, k), cells[k + WALKED]
        if cells[k + CHILDREN] > 0 or cells[k + LOCK] > 0:
            drop_top(cells, tree)
        elif cells[top + LEAF_HITS] != hits or cells[top + LEAF_WALKED] != walked:
            sink(cells, tree, hits, walked, k)
        else:
            removed += cells[k + TOKENS]
            drop_top(cells, tree)
            remove(cells, tree, k)
    return removed


@part_kernel
def clear(cells, tree):
    """Empty a tree."""
    root = tree + HEAD
    for k in range(root + NODE, root + NODE * (cells[tree + USED] + 1), NODE):
        cells[bucket_of(cells, tree, cells[k + HASH])] = NONE
    cells[root + CHILDREN] = 0
    for count in (USED, FREE, HEAP, LEAVES, EVICTABLE, PROTECTED):
        cells[tree + count] = 0

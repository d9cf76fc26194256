"""The queue of one of many servers: a pairing heap, a tree in which each job is served before its children.

Whoever joins is compared with few, and no table of its own is needed. `links` `(n,)` holds the trees of all queues: the
first child of each job in the upper half of its number and the next sibling in the lower one, as row + 1, or 0.
"""

from llmqueue_gym._jit import inner_kernel, part_kernel

SIBLING = (1 << 32) - 1  # the lower half of a link


@inner_kernel
def before(a, i, b, j, lcfs_up_to):
    """Whether job a of row i is served before job b of row j: by rank, then by arrival, or the other way round."""
    if a.rank != b.rank:
        return a.rank < b.rank
    return i > j if a.rank <= lcfs_up_to else i < j


@inner_kernel
def child(links, i):
    """Return the first child of job i in the tree of a queue, or -1."""
    return (links[i] >> 32) - 1


@inner_kernel
def sibling(links, i):
    """Return the next child of the parent of job i, or -1."""
    return (links[i] & SIBLING) - 1


@inner_kernel
def adopt(links, i, j):
    """Make job j, which has no siblings, the first child of job i."""
    links[j] |= child(links, i) + 1
    links[i] = (links[i] & SIBLING) | ((j + 1) << 32)


@inner_kernel
def meld(i, j, jobs, links, lcfs_up_to):
    """Make one tree of those of two jobs without siblings, and return its root: the one that is served before."""
    if before(jobs[j], j, jobs[i], i, lcfs_up_to):
        i, j = j, i
    adopt(links, i, j)
    return i


@part_kernel
def meld_all(i, jobs, links, lcfs_up_to):
    """Make one tree of those of job i and its siblings and return its root."""
    pairs = -1
    while i >= 0:  # two by two
        j = sibling(links, i)
        following = sibling(links, j) if j >= 0 else -1
        links[i] &= ~SIBLING
        if j >= 0:
            links[j] &= ~SIBLING
            i = meld(i, j, jobs, links, lcfs_up_to)
        links[i] |= pairs + 1
        pairs, i = i, following
    root, i = pairs, sibling(links, pairs)
    links[root] &= ~SIBLING
    while i >= 0:  # and then all, from the last pair on
        following = sibling(links, i)
        links[i] &= ~SIBLING
        root = meld(root, i, jobs, links, lcfs_up_to)
        i = following
    return root

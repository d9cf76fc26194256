"""SGLang's radix cache: a tree of the texts whose keys and values are held, which requests with a common prefix share.

A walk follows a text from the root as far as the tree has it, refreshes what it touches, and splits a node that it
leaves in the middle. What runs locks the path of its text, so that only leaves that nobody needs are removed.

Source: Zheng et al., "SGLang: Efficient Execution of Structured Language Model Programs", NeurIPS 2024; the rules of
`RadixCache` of sglang 0.5.23, without its host cache and for one namespace. The traps of its rules:

* A child is refreshed before it is compared, and the lower part of a split keeps that time: the tail of a node that was
  matched in part counts as used. The upper part has a time of its own, which is later.
* An insertion counts a hit for every node that it passes and for the new leaf, as far as they end beyond what the same
  request inserted before.
* Nodes are removed whole, so that mostly more is removed than was asked for.

Everywhere `cells` are those of `ReplicaTables`, `tree` is the place of a tree, `p` that of a piece, and `o` counts the
tokens of it that lie behind.
"""

from llmqueue_gym._jit import inner_kernel, lean_kernel, part_kernel
from llmqueue_gym.engines.batching.radix_keys import ahead, common, hash_of, settled
from llmqueue_gym.engines.batching.radix_leaves import bucket_of, enlist, unlink
from llmqueue_gym.engines.batching.radix_tables import (
    BIRTHS,
    BORN,
    CHAIN,
    CHILDREN,
    EVICTABLE,
    FREE,
    HASH,
    HEAD,
    HITS,
    KEY,
    LEAVES,
    LISTED,
    LOCK,
    NEVER,
    NODE,
    NONE,
    PAGE,
    PARENT,
    PROTECTED,
    SKIPPED,
    TIME,
    TOKENS,
    USED,
    WALKED,
    WEIGHT,
)


@part_kernel
def child_of(cells, tree, parent, p, o):
    """Return the child whose key has the same first page as the text from place (p, o) on, or NONE."""
    page = cells[tree + PAGE]
    h = hash_of(cells, parent, p, o, page)
    k = cells[bucket_of(cells, tree, h)]
    while k != NONE:
        if cells[k + HASH] == h and cells[k + PARENT] == parent:
            if common(cells, p, o, cells[k + KEY], cells[k + SKIPPED], page) == page:
                return k
        k = cells[k + CHAIN]
    return k


@inner_kernel
def take(cells, tree):
    """Return a node that is free."""
    k = cells[tree + FREE]
    if k == NONE:
        cells[tree + USED] += 1
        return tree + HEAD + NODE * cells[tree + USED]
    cells[tree + FREE] = cells[k + CHAIN]
    return k


@inner_kernel
def tick(cells, tree):
    """Return a time, later than all before."""
    cells[tree + TIME] += 1
    return cells[tree + TIME]


@part_kernel
def link(cells, tree, k, parent, p, o):
    """Hang node k under a parent, with a key that begins at place (p, o)."""
    p, o = settled(cells, p, o)
    cells[k + PARENT], cells[k + KEY], cells[k + SKIPPED] = parent, p, o
    h = hash_of(cells, parent, p, o, cells[tree + PAGE])
    bucket = bucket_of(cells, tree, h)
    cells[k + HASH], cells[k + CHAIN] = h, cells[bucket]
    cells[bucket] = k


@part_kernel
def split(cells, tree, k, tokens):
    """Cut node k after so many tokens; returns the upper part, which takes its place under the parent."""
    upper, p, o, parent = take(cells, tree), cells[k + KEY], cells[k + SKIPPED], cells[k + PARENT]
    cells[upper + WALKED] = tick(cells, tree)
    for same in (BORN, LOCK, HITS):
        cells[upper + same] = cells[k + same]
    cells[upper + TOKENS], cells[upper + CHILDREN], cells[upper + LISTED], cells[upper + WEIGHT] = tokens, 1, 0, 0
    unlink(cells, tree, k)
    link(cells, tree, upper, parent, p, o)
    cells[k + TOKENS] -= tokens
    p, o = ahead(cells, p, o, tokens)
    link(cells, tree, k, upper, p, o)
    return upper


@part_kernel
def walk(cells, tree, p, length, known):
    """Follow a text from the root.

    Args:
        cells: see above.
        tree: likewise.
        p: where its pieces begin.
        length: of the text, tokens, whole pages.
        known: nodes that end beyond so many tokens get a hit.

    Returns:
        The tokens that the tree has of it, the last node, and the place after those tokens.
    """
    k, at, o, going = tree + HEAD, 0, 0, True
    if length == 0:
        return at, k, p, o
    time = tick(cells, tree)
    cells[k + WALKED] = time
    while going and at < length:
        p, o = settled(cells, p, o)
        child = child_of(cells, tree, k, p, o)
        if child == NONE:
            break
        cells[child + WALKED] = time
        most = min(cells[child + TOKENS], length - at)
        same = common(cells, p, o, cells[child + KEY], cells[child + SKIPPED], most)
        same -= same % cells[tree + PAGE]
        at += same
        p, o = ahead(cells, p, o, same)
        k = child
        if same < cells[child + TOKENS]:
            k = split(cells, tree, child, same)
            going = False
        if at > known:
            cells[k + HITS] += 1
    return at, k, p, o


@lean_kernel
def match(cells, tree, p, length):
    """Look up a text; a node that it leaves in the middle is split.

    Args:
        cells: see above.
        tree: likewise.
        p: where its pieces begin.
        length: tokens of it that are looked up; only whole pages are.

    Returns:
        The tokens that the tree has of it, and the last node.
    """
    length -= length % cells[tree + PAGE]
    at, k, _, _ = walk(cells, tree, p, length, NEVER)
    return at, k


@lean_kernel
def insert(cells, tree, p, length, known):
    """Put a text into the tree.

    Args:
        cells: see above.
        tree: likewise.
        p: where its pieces begin.
        length: tokens of it that are put in; only whole pages are.
        known: tokens that the same request put in before, which count no hits.

    Returns:
        The tokens that are put in, how many of them the tree had, and the last node.
    """
    length -= length % cells[tree + PAGE]
    at, parent, p, o = walk(cells, tree, p, length, known)
    if at == length:
        return length, at, parent
    if parent != tree + HEAD and cells[parent + CHILDREN] == 0 and cells[parent + LOCK] == 0:
        cells[tree + LEAVES] -= 1
    cells[parent + CHILDREN] += 1
    k = take(cells, tree)
    cells[k + WALKED] = tick(cells, tree)
    cells[tree + BIRTHS] += 1
    cells[k + BORN], cells[k + TOKENS], cells[k + HITS] = cells[tree + BIRTHS], length - at, 1 if length > known else 0
    for nothing in (CHILDREN, LOCK, LISTED, WEIGHT):
        cells[k + nothing] = 0
    link(cells, tree, k, parent, p, o)
    cells[tree + EVICTABLE] += length - at
    enlist(cells, tree, k)
    return length, at, k


@part_kernel
def held_tokens(cells, tree, p, length):
    """Return the tokens that the tree has of a text; nothing is changed."""
    k, at, o = tree + HEAD, 0, 0
    length -= length % cells[tree + PAGE]
    while at < length:
        p, o = settled(cells, p, o)
        k = child_of(cells, tree, k, p, o)
        if k == NONE:
            break
        same = common(cells, p, o, cells[k + KEY], cells[k + SKIPPED], min(cells[k + TOKENS], length - at))
        same -= same % cells[tree + PAGE]
        at += same
        if same < cells[k + TOKENS]:
            break
        p, o = ahead(cells, p, o, same)
    return at


@lean_kernel
def lock(cells, tree, k):
    """Let node k and all above it be needed by one more request; NONE needs nothing."""
    while k > tree + HEAD:
        if cells[k + LOCK] == 0:
            cells[tree + EVICTABLE] -= cells[k + TOKENS]
            cells[tree + PROTECTED] += cells[k + TOKENS]
            if cells[k + CHILDREN] == 0:
                cells[tree + LEAVES] -= 1
        cells[k + LOCK] += 1
        k = cells[k + PARENT]


@lean_kernel
def unlock(cells, tree, k):
    """Take back what `lock` did."""
    while k > tree + HEAD:
        cells[k + LOCK] -= 1
        if cells[k + LOCK] == 0:
            cells[tree + EVICTABLE] += cells[k + TOKENS]
            cells[tree + PROTECTED] -= cells[k + TOKENS]
            if cells[k + CHILDREN] == 0:
                enlist(cells, tree, k)
        k = cells[k + PARENT]

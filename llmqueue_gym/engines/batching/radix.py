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
"""

from llmqueue_gym._jit import inner_kernel, lean_kernel, part_kernel
from llmqueue_gym.engines.batching.radix_leaves import enlist, unlink
from llmqueue_gym.engines.batching.radix_tables import NEVER, NONE, ROOT

_31_BITS = (1 << 31) - 1
_FACTOR = 0x5BD1E995


@inner_kernel
def settled(pieces, p, o):
    """Return the place of the next token: from the end of a piece on to the next piece."""
    while o >= pieces[p].length:
        p += 1
        o = 0
    return p, o


@part_kernel
def ahead(pieces, p, o, tokens):
    """Return the place so many tokens on."""
    while tokens > pieces[p].length - o:
        tokens -= pieces[p].length - o
        p += 1
        o = 0
    return p, o + tokens


@part_kernel
def common(pieces, p, o, a, b, most):
    """Return how many tokens, `most` at the most, are the same from place (p, o) and from place (a, b) on."""
    same = 0
    while same < most:
        p, o = settled(pieces, p, o)
        a, b = settled(pieces, a, b)
        ours, theirs = pieces[p], pieces[a]
        if ours.text != theirs.text or ours.start + o != theirs.start + b:
            break
        run = min(ours.length - o, theirs.length - b, most - same)
        same += run
        o += run
        b += run
    return same


@inner_kernel
def mixed(h, x):
    """Return a hash that takes in one more number; every product fits in 63 bits."""
    return ((((h ^ x ^ (x >> 31)) & _31_BITS) * _FACTOR) >> 17) & _31_BITS


@part_kernel
def hash_of(pieces, parent, p, o, page):
    """Return the hash of a child by its parent and by the first and the last token of the first page of its key."""
    p, o = settled(pieces, p, o)
    h = mixed(mixed(parent, int(pieces[p].text)), int(pieces[p].start) + o)
    if page > 1:
        p, o = ahead(pieces, p, o, page - 1)
        p, o = settled(pieces, p, o)
        h = mixed(mixed(h, int(pieces[p].text)), int(pieces[p].start) + o)
    return h


@part_kernel
def child_of(e, tree, pieces, parent, p, o):
    """Return the child whose key has the same first page as the text from place (p, o) on, or NONE."""
    page = tree.state[e].page
    h = hash_of(pieces, parent, p, o, page)
    k = int(tree.buckets[e, h & (tree.buckets.shape[1] - 1)])
    while k != NONE:
        node = tree.nodes[e, k]
        if node.hash == h and node.parent == parent:
            if common(pieces, p, o, int(node.piece), int(node.offset), page) == page:
                return k
        k = int(node.chain)
    return k


@part_kernel
def take(e, tree):
    """Return a node that is free."""
    state = tree.state[e]
    k = state.free
    if k == NONE:
        state.used += 1
        return state.used
    state.free = tree.nodes[e, k].chain
    return k


@part_kernel
def link(e, tree, pieces, k, parent, p, o):
    """Hang node k under a parent, with a key that begins at place (p, o)."""
    node, (p, o) = tree.nodes[e, k], settled(pieces, p, o)
    node.parent, node.piece, node.offset = parent, p, o
    node.hash = hash_of(pieces, parent, p, o, tree.state[e].page)
    at = node.hash & (tree.buckets.shape[1] - 1)
    node.chain = tree.buckets[e, at]
    tree.buckets[e, at] = k


@part_kernel
def split(e, tree, pieces, k, tokens):
    """Cut node k after so many tokens; returns the upper part, which takes its place under the parent."""
    state, upper = tree.state[e], take(e, tree)
    above, node = tree.nodes[e, upper], tree.nodes[e, k]
    p, o, parent = int(node.piece), int(node.offset), int(node.parent)
    state.time += 1
    above.time, above.born, above.length, above.children = state.time, node.born, tokens, 1
    above.lock, above.hits, above.listed = node.lock, node.hits, 0
    above.weight = 0
    unlink(e, tree, k)
    link(e, tree, pieces, upper, parent, p, o)
    node.length -= tokens
    p, o = ahead(pieces, p, o, tokens)
    link(e, tree, pieces, k, upper, p, o)
    return upper


@part_kernel
def walk(e, tree, pieces, p, length, known):
    """Follow a text from the root.

    Args:
        e: row of the tree.
        tree: `RadixTree`.
        pieces: `SEGMENT` rows.
        p: where its pieces begin.
        length: of the text, tokens, whole pages.
        known: nodes that end beyond so many tokens get a hit.

    Returns:
        The tokens that the tree has of it, the last node, and the place after those tokens.
    """
    state, k, at, o = tree.state[e], ROOT, 0, 0
    if length == 0:
        return at, k, p, o
    state.time += 1
    time = state.time
    tree.nodes[e, ROOT].time = time
    going = True
    while going and at < length:
        p, o = settled(pieces, p, o)
        child = child_of(e, tree, pieces, k, p, o)
        if child == NONE:
            break
        node = tree.nodes[e, child]
        node.time = time
        same = common(pieces, p, o, int(node.piece), int(node.offset), min(node.length, length - at))
        same -= same % state.page
        at += same
        p, o = ahead(pieces, p, o, same)
        k = child
        if same < node.length:
            k = split(e, tree, pieces, child, same)
            going = False
        if at > known:
            tree.nodes[e, k].hits += 1
    return at, k, p, o


@lean_kernel
def match(e, tree, pieces, p, length):
    """Look up a text; a node that it leaves in the middle is split.

    Args:
        e: row of the tree.
        tree: `RadixTree`.
        pieces: `SEGMENT` rows.
        p: where the pieces of the text begin.
        length: tokens of it that are looked up; only whole pages are.

    Returns:
        The tokens that the tree has of it, and the last node.
    """
    length -= length % tree.state[e].page
    at, k, _, _ = walk(e, tree, pieces, p, length, NEVER)
    return at, k


@lean_kernel
def insert(e, tree, pieces, p, length, known):
    """Put a text into the tree.

    Args:
        e: row of the tree.
        tree: `RadixTree`.
        pieces: `SEGMENT` rows.
        p: where the pieces of the text begin.
        length: tokens of it that are put in; only whole pages are.
        known: tokens that the same request put in before, which count no hits.

    Returns:
        The tokens that are put in, how many of them the tree had, and the last node.
    """
    state = tree.state[e]
    length -= length % state.page
    at, parent, p, o = walk(e, tree, pieces, p, length, known)
    if at == length:
        return length, at, parent
    above = tree.nodes[e, parent]
    if parent != ROOT and above.children == 0 and above.lock == 0:
        state.leaves -= 1
    above.children += 1
    k = take(e, tree)
    node = tree.nodes[e, k]
    state.time += 1
    state.births += 1
    node.time, node.born, node.length, node.children = state.time, state.births, length - at, 0
    node.lock, node.listed, node.weight = 0, 0, 0
    node.hits = 1 if length > known else 0
    link(e, tree, pieces, k, parent, p, o)
    state.evictable += node.length
    enlist(e, tree, k)
    return length, at, k


@part_kernel
def held_tokens(e, tree, pieces, p, length):
    """Return the tokens that the tree has of a text; nothing is changed."""
    page, k, at, o = tree.state[e].page, ROOT, 0, 0
    length -= length % page
    while at < length:
        p, o = settled(pieces, p, o)
        k = child_of(e, tree, pieces, k, p, o)
        if k == NONE:
            break
        node = tree.nodes[e, k]
        same = common(pieces, p, o, int(node.piece), int(node.offset), min(node.length, length - at))
        same -= same % page
        at += same
        if same < node.length:
            break
        p, o = ahead(pieces, p, o, same)
    return at


@lean_kernel
def lock(e, tree, k):
    """Let node k and all above it be needed by one more request."""
    state = tree.state[e]
    while k != ROOT:
        node = tree.nodes[e, k]
        if node.lock == 0:
            state.evictable -= node.length
            state.protected += node.length
            if node.children == 0:
                state.leaves -= 1
        node.lock += 1
        k = int(node.parent)


@lean_kernel
def unlock(e, tree, k):
    """Take back what `lock` did."""
    state = tree.state[e]
    while k != ROOT:
        node = tree.nodes[e, k]
        node.lock -= 1
        if node.lock == 0:
            state.evictable += node.length
            state.protected -= node.length
            if node.children == 0:
                enlist(e, tree, k)
        k = int(node.parent)

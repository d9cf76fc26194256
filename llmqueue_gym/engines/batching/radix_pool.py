"""The KV block pool where memory holds a radix tree: what requests share with it, take from it and leave to it.

Blocks of the tree that nobody has locked count as free, as in SGLang: whoever needs some lets the tree give up leaves.
The other blocks of a request, beyond those of its text that belong to the tree, are its own. A request locks what the
tree has of its text when it is admitted; its prompt becomes part of the tree when it is computed, and its output when
it leaves. A preempted request leaves nothing behind but what the tree has already.
"""

from llmqueue_gym._jit import part_kernel
from llmqueue_gym.engines.batching.radix import held_tokens, insert, lock, match, unlock
from llmqueue_gym.engines.batching.radix_leaves import evict
from llmqueue_gym.engines.batching.radix_order import FCFS, REFRESHED, put_in_order, sort
from llmqueue_gym.engines.batching.radix_tables import ROOT


@part_kernel
def look_up(e, r, i, size):
    """Find what the tree has of waiting request i, all but its last token; it stands until the tree changes."""
    state, request, tree = r.state[e], r.requests[i], r.radix
    if state.looked == i + 1:
        return
    pieces, p = r.cache.pieces, int(r.cache.paths[i].first_piece)
    at, k = match(e, tree, pieces, p, int(request.prompt + request.generated - 1))
    state.looked, state.hits, state.node, idle = i + 1, at // size, k, 0
    while k != ROOT and tree.nodes[e, k].lock == 0:
        idle += tree.nodes[e, k].length
        k = int(tree.nodes[e, k].parent)
    state.idle_hits = idle // size
    request.cached = min(at, request.prompt)


@part_kernel
def use_hits(e, r, i):
    """Let request i lock what was found for it."""
    state, text = r.state[e], r.radix.texts[i]
    lock(e, r.radix, state.node)
    text.node, text.shared, text.inserted = state.node, state.hits, 0
    r.requests[i].blocks = state.hits
    r.system[e].free -= state.idle_hits
    state.looked = 0


@part_kernel
def take_blocks(e, r, count, size):
    """Let the tree give up leaves until so many blocks belong to nobody; enough of them count as free."""
    short = count - (r.system[e].free - r.radix.state[e].evictable // size)
    if short > 0:
        evict(e, r.radix, short * size)
        r.state[e].looked = 0


@part_kernel
def keep(e, r, i, tokens, size):
    """Put so many computed tokens of request i into the tree, and free the blocks of those that it has by now twice."""
    state, text, tree = r.state[e], r.radix.texts[i], r.radix
    idle = tree.state[e].evictable
    pieces, p = r.cache.pieces, int(r.cache.paths[i].first_piece)
    inserted, known, k = insert(e, tree, pieces, p, int(tokens), int(text.inserted))
    unlock(e, tree, int(text.node))
    lock(e, tree, k)
    twice = max(0, known // size - text.shared)
    text.node, text.shared, text.inserted = k, inserted // size, inserted
    r.system[e].free += twice + (tree.state[e].evictable - idle) // size
    state.looked = state.blocked = 0


@part_kernel
def give_back(e, r, i, size):
    """Let request i need its text no more, and return how many blocks are free by that: its own and those unlocked."""
    text, tree = r.radix.texts[i], r.radix
    idle = tree.state[e].evictable
    unlock(e, tree, int(text.node))
    own = r.requests[i].blocks - text.shared
    text.node, text.shared = ROOT, 0
    r.state[e].looked = 0
    return own + (tree.state[e].evictable - idle) // size


@part_kernel
def cached_tokens(e, r, i):
    """Return how many tokens of the prompt of request i the tree has; nothing is changed."""
    pieces, p = r.cache.pieces, int(r.cache.paths[i].first_piece)
    return held_tokens(e, r.radix, pieces, p, int(r.requests[i].prompt - 1))


@part_kernel
def order_queue(e, r, policy):
    """Put the queue in the order of the rule set; places are dealt out anew, so that arrivals join behind."""
    tree = r.radix.state[e]
    if policy == FCFS and (tree.by_hits or tree.unmatched % REFRESHED != 0):
        tree.unmatched += 1
        return
    n, head, ring, entries = r.system[e].waiting, r.state[e].head, r.waiting.shape[1] - 1, r.radix.entries
    for k in range(n):  # the head goes to the beginning of the ring
        entries[0, k].row = r.waiting[e, (head + k) & ring]
    for k in range(n):
        r.waiting[e, k] = entries[0, k].row
    r.state[e].head = r.state[e].looked = 0
    queue = r.waiting[e]
    put_in_order(e, r.radix, r.cache.pieces, r.cache.paths, r.requests, queue, n, policy, False, False)
    for k in range(n):
        entries[0, k].first, entries[0, k].second = r.requests[queue[k]].place, 0
    here = sort(entries, n)
    for k in range(n):
        r.requests[queue[k]].place = entries[here, k].first

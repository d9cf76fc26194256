"""The KV block pool where memory holds a radix tree: what requests share with it, take from it and leave to it.

Blocks of the tree that nobody has locked count as free, as in SGLang: whoever needs some lets the tree give up leaves.
The other blocks of a request, beyond those of its text that belong to the tree, are its own. A request locks what the
tree has of its text when it is admitted; its prompt becomes part of the tree when it is computed, and its output when
it leaves. A preempted request leaves nothing behind but what the tree has already.
"""

from llmqueue_gym._jit import part_kernel
from llmqueue_gym.engines.batching.cache import PATH
from llmqueue_gym.engines.batching.radix import held_tokens, insert, lock, match, unlock
from llmqueue_gym.engines.batching.radix_leaves import evict
from llmqueue_gym.engines.batching.radix_order import FCFS, REFRESHED, put_in_order, sort
from llmqueue_gym.engines.batching.radix_tables import (
    BY_HITS,
    ENTRY,
    EVICTABLE,
    FIRST,
    HEAD,
    INSERTED,
    LOCK,
    LOCKED,
    NONE,
    PARENT,
    ROW,
    SECOND,
    SHARED,
    SPACE,
    TOKENS,
    UNMATCHED,
)


@part_kernel
def find_hits(cells, state, request, path, size):
    """Find what the tree has of a waiting request, all but its last token; it stands until the tree changes."""
    at, k = match(cells, state.tree, path + PATH, request.prompt + request.generated - 1)
    state.hits, state.node, idle = at // size, k, 0
    while k > state.tree + HEAD and cells[k + LOCK] == 0:
        idle += cells[k + TOKENS]
        k = cells[k + PARENT]
    state.idle_hits = idle // size
    request.cached = min(at, request.prompt)


@part_kernel
def use_hits(cells, state, request, path):
    """Let a request lock what was found for it."""
    lock(cells, state.tree, state.node)
    cells[path + LOCKED], cells[path + SHARED], cells[path + INSERTED] = state.node, state.hits, 0
    request.blocks = state.hits
    state.looked = 0


@part_kernel
def make_vacant(cells, state, free, size):
    """Let the tree give up leaves until the blocks that nobody uses are no more than those that count as free.

    Args:
        cells: of `ReplicaTables`.
        state: `REPLICA_STATE` record.
        free: blocks that count as free, those that were just taken no more.
        size: tokens a block.
    """
    short = cells[state.tree + EVICTABLE] // size - free
    if short > 0:
        evict(cells, state.tree, short * size)
        state.looked = 0


@part_kernel
def keep(cells, state, request, path, size):
    """Put the computed tokens of a request into the tree; returns how many more blocks count as free.

    They are those of what others had put in meanwhile, which it has twice, and those that are unlocked.
    """
    tree = state.tree
    idle = cells[tree + EVICTABLE]
    inserted, known, k = insert(cells, tree, path + PATH, request.computed, cells[path + INSERTED])
    unlock(cells, tree, cells[path + LOCKED])
    lock(cells, tree, k)
    twice = max(0, known // size - cells[path + SHARED])
    cells[path + LOCKED], cells[path + SHARED], cells[path + INSERTED] = k, inserted // size, inserted
    state.looked = state.blocked = 0
    return twice + (cells[tree + EVICTABLE] - idle) // size


@part_kernel
def give_back(cells, state, request, path, size):
    """Let a request need its text no more; returns how many blocks are free by that: its own and those unlocked."""
    idle = cells[state.tree + EVICTABLE]
    unlock(cells, state.tree, cells[path + LOCKED])
    own = request.blocks - cells[path + SHARED]
    cells[path + LOCKED], cells[path + SHARED] = NONE, 0
    state.looked = 0
    return own + (cells[state.tree + EVICTABLE] - idle) // size


@part_kernel
def cached_tokens(cells, state, request, path):
    """Return how many tokens of the prompt of a request the tree has; nothing is changed."""
    return held_tokens(cells, state.tree, path + PATH, request.prompt - 1)


@part_kernel
def order_queue(e, r, policy):
    """Put the queue in the order of the rule set; places are dealt out anew, so that arrivals join behind."""
    cells, tree, n = r.cells, r.state[e].tree, r.system[e].waiting
    if policy == FCFS and (cells[tree + BY_HITS] or cells[tree + UNMATCHED] % REFRESHED != 0):
        cells[tree + UNMATCHED] += 1
        return
    queue, space, ring = r.waiting[e], cells[tree + SPACE], r.waiting.shape[1] - 1
    for k in range(n):  # the head goes to the beginning of the ring
        cells[space + ENTRY * k + ROW] = queue[(r.state[e].head + k) & ring]
    for k in range(n):
        queue[k] = cells[space + ENTRY * k + ROW]
    r.state[e].head = r.state[e].looked = 0
    put_in_order(cells, tree, r.requests, r.truth, queue, n, policy, False, False)
    for k in range(n):
        cells[space + ENTRY * k + FIRST], cells[space + ENTRY * k + SECOND] = r.requests[queue[k]].place, 0
    here = sort(cells, tree, n)
    for k in range(n):
        r.requests[queue[k]].place = cells[here + ENTRY * k + FIRST]

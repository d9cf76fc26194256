"""What requests share of the memory, whichever way the rule set caches prefixes: blocks by content, or a radix tree."""

from llmqueue_gym._jit import inner_kernel, part_kernel
from llmqueue_gym.engines.batching import blocks, radix_pool
from llmqueue_gym.engines.batching.cache import TREE
from llmqueue_gym.engines.batching.queue import row_at
from llmqueue_gym.engines.batching.radix_leaves import clear


@inner_kernel
def look_up(e, r, i, size):
    """Find what the cache holds of waiting request i; the numbers stand in `state` until something changes.

    Who holds blocks, as it came with them from elsewhere, needs nothing that is found.
    """
    state = r.state[e]
    if r.requests[i].blocks > 0:
        state.hits = state.idle_hits = state.looked = 0
    elif state.looked != i + 1:
        if state.caching == TREE:
            radix_pool.find_hits(r.cells, state, r.requests[i], r.truth[i].path, size)
        else:
            blocks.find_hits(r.cells, state, r.requests[i], r.truth[i].path, size)
        state.looked = i + 1


@part_kernel
def use_hits(cells, state, system, request, truth):
    """Let a request use what was found for it."""
    if state.caching == TREE:
        radix_pool.use_hits(cells, state, request, truth.path)
    else:
        blocks.use_hits(cells, state, request, truth.path)
    system.free -= state.idle_hits


@inner_kernel
def take_blocks(e, r, i, count, size):
    """Make so many free blocks, which are counted already, those of request i."""
    if r.state[e].caching == TREE:
        radix_pool.make_vacant(r.cells, r.state[e], r.system[e].free, size)
    else:
        blocks.take_blocks(r.cells, r.state[e], r.requests[i], r.truth[i].path, count)


@inner_kernel
def give_back(e, r, i):
    """Let request i use nothing more, and return how many blocks are free by that."""
    return give_back_of(e, r, r.requests[i], r.truth[i].path)


@inner_kernel
def release(e, r, i):
    """Give back all blocks of request i."""
    freed = r.requests[i].blocks
    if r.state[e].caching:
        freed = give_back(e, r, i)
    r.system[e].free += freed
    r.requests[i].blocks = 0


@inner_kernel
def give_back_of(e, r, holder, path):
    """Let whoever holds the blocks of a path, a `REQUEST` or a `FLOW` record, use them no more; see `give_back`."""
    state = r.state[e]
    if state.caching == TREE:
        return radix_pool.give_back(r.cells, state, holder, path, r.cells[state.tree])
    return blocks.give_back(r.cells, state, holder, path)


@inner_kernel
def hold_tokens(e, r, i, tokens, size):
    """Let others find the first tokens of request i while they are computed; a tree has them when they are."""
    if r.state[e].caching != TREE:
        blocks.hold_tokens(r.cells, r.state[e], r.truth[i].path, tokens, size)


@part_kernel
def occupy(cells, state, system, request, truth, count, tokens, size):
    """Do both for a running request, in one call: `take_blocks` if `count` is not 0, and `hold_tokens`."""
    if state.caching == TREE:
        if count > 0:
            radix_pool.make_vacant(cells, state, system.free, size)
    else:
        if count > 0:
            blocks.take_blocks(cells, state, request, truth.path, count)
        blocks.hold_tokens(cells, state, truth.path, tokens, size)


@part_kernel
def keep_tokens(e, r, i):
    """Let the tree have the computed tokens of request i."""
    state = r.state[e]
    r.system[e].free += radix_pool.keep(r.cells, state, r.requests[i], r.truth[i].path, r.cells[state.tree])


@part_kernel
def lose_all(cells, state):
    """Let a replica hold nothing; nobody uses any of it."""
    if state.caching == TREE:
        clear(cells, state.tree)
        state.looked = 0
    else:
        blocks.lose_all(cells, state)


@inner_kernel
def may_appear(e, r, i, size):
    """Whether what is missing of waiting request i may be found before anybody leaves."""
    return r.state[e].caching != TREE and blocks.may_appear(e, r, i, size)


@part_kernel
def cached_tokens(cells, state, request, path, size):
    """Return how many tokens of the prompt of a request the cache of a replica holds; nothing is changed.

    Args:
        cells: of `ReplicaTables`.
        state: `REPLICA_STATE` record of the replica.
        request: `REQUEST` record.
        path: of the request, as in `TRUTH`.
        size: tokens a block.
    """
    if state.caching == TREE:
        return radix_pool.cached_tokens(cells, state, request, path)
    return blocks.cached_tokens(cells, state, request, path, size)


@part_kernel
def note_hits(e, r, size):
    """Write what the cache holds of each waiting request, for policies that read it; nothing else is changed."""
    for k in range(r.system[e].waiting):
        i = row_at(e, r, k)
        r.requests[i].cached = cached_tokens(r.cells, r.state[e], r.requests[i], r.truth[i].path, size)

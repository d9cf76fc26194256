"""What requests share of the memory, whichever way the rule set caches prefixes: blocks by content, or a radix tree.

Where no replica caches, there are no `cells`: then nothing of the caches is compiled. So functions take them by
themselves, as only an argument that is None is known when a function is compiled.
"""

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
    find_hits(r.cells, r.state[e], r.requests[i], r.truth[i].path, i, size)


@inner_kernel
def find_hits(cells, state, request, path, i, size):
    """Find what the cache holds of a path, that of waiting request i; see `look_up`."""
    if cells is not None:
        if request.blocks > 0:
            state.hits = state.idle_hits = state.looked = 0
        elif state.looked != i + 1:
            if state.caching == TREE:
                radix_pool.find_hits(cells, state, request, path, size)
            else:
                blocks.find_hits(cells, state, request, path, size)
            state.looked = i + 1


@part_kernel
def use_hits(cells, state, system, request, truth):
    """Let a request use what was found for it."""
    if cells is not None:
        if state.caching == TREE:
            radix_pool.use_hits(cells, state, request, truth.path)
        else:
            blocks.use_hits(cells, state, request, truth.path)
        system.free -= state.idle_hits


@inner_kernel
def take_blocks(e, r, i, count, size):
    """Make so many free blocks, which are counted already, those of request i."""
    make_its_own(r.cells, r.state[e], r.requests[i], r.truth[i].path, r.system[e].free, count, size)


@inner_kernel
def make_its_own(cells, state, request, path, free, count, size):
    """Make so many free blocks those of a request; see `take_blocks`."""
    if cells is not None:
        if state.caching == TREE:
            radix_pool.make_vacant(cells, state, free, size)
        else:
            blocks.take_blocks(cells, state, request, path, count)


@inner_kernel
def release(e, r, i):
    """Give back all blocks of request i."""
    freed = r.requests[i].blocks
    if r.state[e].caching:
        freed = unused_after(r.cells, r.state[e], r.requests[i], r.truth[i].path)
    r.system[e].free += freed
    r.requests[i].blocks = 0


@part_kernel
def unused_after(cells, state, holder, path):
    """Let who holds the blocks of a path, a `REQUEST` or a `FLOW` record, use none; return how many get free."""
    if cells is None:
        return 0
    else:  # so that it is compiled for a cache alone
        if state.caching == TREE:
            return radix_pool.give_back(cells, state, holder, path, cells[state.tree])
        return blocks.give_back(cells, state, holder, path)


@inner_kernel
def hold_tokens(e, r, i, tokens, size):
    """Let others find the first tokens of request i while they are computed; a tree has them when they are."""
    let_find(r.cells, r.state[e], r.truth[i].path, tokens, size)


@inner_kernel
def let_find(cells, state, path, tokens, size):
    """Let others find the first tokens of a path; see `hold_tokens`."""
    if cells is not None:
        if state.caching != TREE:
            blocks.hold_tokens(cells, state, path, tokens, size)


@part_kernel
def occupy(cells, state, system, request, truth, count, tokens, size):
    """Do both for a running request, in one call: `take_blocks` if `count` is not 0, and `hold_tokens`."""
    if cells is not None:
        if count > 0:
            make_its_own(cells, state, request, truth.path, system.free, count, size)
        let_find(cells, state, truth.path, tokens, size)


@part_kernel
def keep_tokens(e, r, i):
    """Let the tree have the computed tokens of request i."""
    grow(r.cells, r.state[e], r.system[e], r.requests[i], r.truth[i].path)


@inner_kernel
def grow(cells, state, system, request, path):
    """Let the tree have the computed tokens of a path; see `keep_tokens`."""
    if cells is not None:
        system.free += radix_pool.keep(cells, state, request, path, cells[state.tree])


@part_kernel
def lose_all(cells, state):
    """Let a replica hold nothing; nobody uses any of it."""
    if cells is not None:
        if state.caching == TREE:
            clear(cells, state.tree)
            state.looked = 0
        else:
            blocks.lose_all(cells, state)


@inner_kernel
def may_appear(e, r, i, size):
    """Whether what is missing of waiting request i may be found before anybody leaves."""
    return may_come(r.cells, e, r, i, size)


@part_kernel
def may_come(cells, e, r, i, size):
    """Whether what is missing may be found; see `may_appear`."""
    if cells is None:
        return False
    else:
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
    if cells is None:
        return 0
    else:
        if state.caching == TREE:
            return radix_pool.cached_tokens(cells, state, request, path)
        return blocks.cached_tokens(cells, state, request, path, size)


@part_kernel
def note_hits(e, r, size):
    """Write what the cache holds of each waiting request, for policies that read it; nothing else is changed."""
    for k in range(r.system[e].waiting):
        i = row_at(e, r, k)
        r.requests[i].cached = cached_tokens(r.cells, r.state[e], r.requests[i], r.truth[i].path, size)

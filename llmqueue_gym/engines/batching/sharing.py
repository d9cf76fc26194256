"""What requests share of the memory, whichever way the rule set caches prefixes: blocks by content, or a radix tree."""

from llmqueue_gym._jit import inner_kernel
from llmqueue_gym.engines.batching import blocks, radix_pool
from llmqueue_gym.engines.batching.cache import TREE
from llmqueue_gym.engines.batching.queue import row_at


@inner_kernel
def look_up(e, r, i, size):
    """Find what the cache holds of waiting request i; the numbers stand in `state`."""
    if r.state[e].caching == TREE:
        radix_pool.look_up(e, r, i, size)
    else:
        blocks.look_up(e, r, i, size)


@inner_kernel
def use_hits(e, r, i):
    """Let request i use what was found for it."""
    if r.state[e].caching == TREE:
        radix_pool.use_hits(e, r, i)
    else:
        blocks.use_hits(e, r, i)


@inner_kernel
def take_blocks(e, r, i, count, size):
    """Make so many free blocks the own ones of request i."""
    if r.state[e].caching == TREE:
        radix_pool.take_blocks(e, r, count, size)
    else:
        blocks.take_blocks(e, r, i, count)


@inner_kernel
def give_back(e, r, i):
    """Let request i use nothing more, and return how many blocks are free by that."""
    if r.state[e].caching == TREE:
        return radix_pool.give_back(e, r, i, r.radix.state[e].page)
    return blocks.give_back(e, r, i)


@inner_kernel
def hold_tokens(e, r, i, tokens, size):
    """Let others find the first tokens of request i while they are computed; a tree has them when they are."""
    if r.state[e].caching != TREE:
        blocks.hold_tokens(e, r, i, tokens, size)


@inner_kernel
def keep_tokens(e, r, i):
    """Let the tree have the computed tokens of request i."""
    if r.state[e].caching == TREE:
        radix_pool.keep(e, r, i, r.requests[i].computed, r.radix.state[e].page)


@inner_kernel
def may_appear(e, r, i, size):
    """Whether what is missing of waiting request i may be found before anybody leaves."""
    return r.state[e].caching != TREE and blocks.may_appear(e, r, i, size)


@inner_kernel
def note_hits(e, r, size):
    """Write what the cache holds of each waiting request, for policies that read it; nothing else is changed."""
    for k in range(r.system[e].waiting):
        i = row_at(e, r, k)
        if r.state[e].caching == TREE:
            r.requests[i].cached = radix_pool.cached_tokens(e, r, i)
        else:
            r.requests[i].cached = blocks.cached_tokens(e, r, i, size)

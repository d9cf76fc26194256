"""KV blocks with identities: who uses which block, which prefix it holds, and which is forgotten first.

A block that nobody uses is free, and can be found again by what it holds until it is taken for something else [21]. The
numbers in brackets are those of vLLM's decision rules, as they are listed in `rules`; for places see `cache`.

Buckets lie anywhere in memory, so loops over many blocks first ask for all the buckets that they need, and places are
said to be natural numbers, which saves compiled code a look at their sign.
"""

from llmqueue_gym._jit import inner_kernel, natural, part_kernel, prefetch
from llmqueue_gym.engines.batching.cache import (
    AFTER,
    AT,
    BEFORE,
    BLOCK,
    HELD,
    LENGTH,
    NEXT,
    NOTHING,
    OFFSET,
    PAGES,
    PATH,
    PIECE,
    PREFIX,
    SEEN,
    TEXT,
    TEXT_OF_OUTPUT,
    USERS,
)
from llmqueue_gym.engines.batching.prefixes import next_prefix

SOON = 16  # blocks ahead of the one at hand that are asked for


@inner_kernel
def bucket_of(state, prefix):
    """Return the place of the bucket that blocks holding a prefix are in."""
    return natural(state.buckets + (prefix & state.bucket_mask))


@inner_kernel
def holder_of(cells, state, prefix):
    """Return the block that holds a prefix, of several the one that came to hold it first, or 0 [23]."""
    b = natural(cells[bucket_of(state, prefix)])
    while b > 0 and cells[b + PREFIX] != prefix:
        b = natural(cells[b + NEXT])
    return b


@inner_kernel
def enter(cells, bucket, b):
    """Let block b be the last one of a bucket."""
    last = natural(cells[bucket])
    if last == 0:
        cells[bucket] = b
        return
    while cells[last + NEXT] > 0:
        last = natural(cells[last + NEXT])
    cells[last + NEXT] = b


@inner_kernel
def forget(cells, bucket, b):
    """Let block b hold nothing."""
    before = natural(cells[bucket])
    if before == b:
        cells[bucket] = cells[b + NEXT]
    else:
        while cells[before + NEXT] != b:
            before = natural(cells[before + NEXT])
        cells[before + NEXT] = cells[b + NEXT]
    cells[b + PREFIX] = 0


@inner_kernel
def disturb(cells, state, looks, b):
    """Let the last look-up count no more if it found block b; it is the one of number `looks`."""
    if cells[b + SEEN] == looks:
        state.looked = 0


@inner_kernel
def unlink(cells, b):
    """Take block b out of the queue of free blocks."""
    before, after = cells[b + BEFORE], cells[b + AFTER]
    cells[before + AFTER], cells[after + BEFORE] = after, before


@part_kernel
def take_blocks(cells, state, request, path, count):
    """Give a request the next free blocks, which forget what they held; they are counted already [22]."""
    queue, buckets, mask, looks = natural(state.queue), natural(state.buckets), natural(state.bucket_mask), state.looks
    page = natural(path + cells[path + PAGES] + request.blocks - count)
    b = natural(cells[queue + AFTER])
    for k in range(page, page + count):
        cells[k] = b
        prefetch(cells, buckets + (cells[b + PREFIX] & mask), 0)
        b = natural(cells[b + AFTER])
    cells[queue + AFTER], cells[b + BEFORE] = b, queue
    for k in range(page, page + count):
        b = natural(cells[k])
        disturb(cells, state, looks, b)
        prefix = cells[b + PREFIX]
        if prefix != 0:
            forget(cells, buckets + (prefix & mask), b)
        cells[b + USERS] = 1


@part_kernel
def give_back(cells, state, request, path):
    """Let a request use its blocks no more, the last one first, and return how many of them are free now [22]."""
    queue, first, held = natural(state.queue), natural(path + cells[path + PAGES]), cells[path + HELD]
    looks, released_last = state.looks, state.released_last
    last, free = natural(cells[queue + BEFORE]), 0
    for k in range(request.blocks - 1, -1, -1):
        b = natural(cells[first + k])
        prefetch(cells, cells[first + max(k - SOON, 0)], 0)
        users = cells[b + USERS] - 1
        cells[b + USERS] = users
        if users > 0:
            continue
        free += 1
        disturb(cells, state, looks, b)
        if k >= held and not released_last:
            after = natural(cells[queue + AFTER])
            cells[b + BEFORE], cells[b + AFTER] = queue, after
            cells[queue + AFTER] = cells[after + BEFORE] = b
            if last == queue:
                last = b
        else:
            cells[last + AFTER], cells[b + BEFORE] = b, last
            last = b
    cells[last + AFTER], cells[queue + BEFORE] = queue, last
    cells[path + PREFIX], cells[path + HELD], cells[path + AT], cells[path + OFFSET] = NOTHING, 0, PATH, 0
    return free


@inner_kernel
def hold_tokens(cells, state, path, tokens, size):
    """Let the full blocks among the first `tokens` of a request hold them, from now on for everybody [20]."""
    if (cells[path + HELD] + 1) * size <= tokens:
        hold_more(cells, state, path, tokens, size)


@part_kernel
def hold_more(cells, state, path, tokens, size):
    """Do the work of `hold_tokens` where there is some."""
    path, buckets, mask, missing = natural(path), natural(state.buckets), natural(state.bucket_mask), state.missing
    prefix, at, offset = cells[path + PREFIX], cells[path + AT], cells[path + OFFSET]
    first, full = natural(path + cells[path + PAGES]), tokens // size
    held = natural(first + cells[path + HELD])
    for k in range(held, first + full):
        prefix, at, offset = next_prefix(cells, path, size, prefix, at, offset)
        b = natural(cells[k])
        cells[b + PREFIX], cells[b + NEXT] = prefix, 0
        prefetch(cells, buckets + (prefix & mask), 0)
        if prefix == missing:
            state.looked = 0
    for k in range(held, first + full):
        b = natural(cells[k])
        enter(cells, buckets + (cells[b + PREFIX] & mask), b)
    cells[path + PREFIX], cells[path + AT], cells[path + OFFSET], cells[path + HELD] = prefix, at, offset, full


@inner_kernel
def look_up(e, r, i, size):
    """Find the blocks that hold the first tokens of waiting request i, all but one of its tokens at most [19].

    What is found stands in `state` until one of these blocks changes or the first one that is missing appears.
    """
    if r.state[e].looked != i + 1:
        find_hits(r.cells, r.state[e], r.requests[i], r.truth[i].path, size)
        r.state[e].looked = i + 1


@part_kernel
def find_hits(cells, state, request, path, size):
    """Do the work of `look_up` where there is some."""
    state.looks += 1
    path = natural(path)
    most, first = (request.prompt + request.generated - 1) // size, natural(path + cells[path + PAGES])
    hits, idle, missing = 0, 0, 0
    prefix, at, offset = NOTHING, PATH, 0
    cells[path + PREFIX], cells[path + AT], cells[path + OFFSET] = prefix, at, offset
    while hits < most:
        prefix, at, offset = next_prefix(cells, path, size, prefix, at, offset)
        b = holder_of(cells, state, prefix)
        if b == 0:
            missing = prefix
            break
        cells[b + SEEN] = state.looks
        if cells[b + USERS] == 0:
            idle += 1
        cells[first + hits] = b
        hits += 1
        cells[path + PREFIX], cells[path + AT], cells[path + OFFSET] = prefix, at, offset
    cells[path + HELD] = hits
    state.hits, state.idle_hits, state.missing = hits, idle, missing
    request.cached = min(hits * size, request.prompt)


@part_kernel
def use_hits(cells, state, request, path):
    """Let a request use the blocks that were found for it."""
    first = natural(path + cells[path + PAGES])
    for k in range(first, first + state.hits):
        b = natural(cells[k])
        if cells[b + USERS] == 0:
            unlink(cells, b)
        cells[b + USERS] += 1
    request.blocks = state.hits
    state.looked = 0


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
    path, most, hits = natural(path), (request.prompt - 1) // size, 0
    prefix, at, offset = NOTHING, PATH, 0
    while hits < most:
        prefix, at, offset = next_prefix(cells, path, size, prefix, at, offset)
        if holder_of(cells, state, prefix) == 0:
            break
        hits += 1
    return hits * size


@part_kernel
def lose_all(cells, state):
    """Let all blocks of a replica hold nothing; nobody uses one."""
    for b in range(state.queue + BLOCK, state.buckets, BLOCK):
        cells[b + PREFIX] = 0
    for bucket in range(state.buckets, state.buckets + state.bucket_mask + 1):
        cells[bucket] = 0
    state.looked = 0


@part_kernel
def may_appear(e, r, i, size):
    """Whether the first block that is missing of waiting request i has output of a running request in it."""
    cells, path, left = r.cells, r.truth[i].path, size
    at, offset = cells[path + AT], cells[path + OFFSET]
    while left > 0 and at < cells[path + PAGES]:
        for k in range(r.system[e].running):
            if cells[r.truth[r.running[e, k]].path + TEXT_OF_OUTPUT] == cells[path + at + TEXT]:
                return True
        left -= cells[path + at + LENGTH] - offset
        at, offset = at + PIECE, 0
    return False

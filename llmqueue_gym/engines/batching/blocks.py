"""KV blocks with identities: who uses which block, which prefix it holds, and which is forgotten first.

A block that nobody uses is free, and can be found again by what it holds until it is taken for something else [21]. The
numbers in brackets are those of vLLM's decision rules, as they are listed in `rules`.
"""

from llmqueue_gym._jit import inner_kernel, part_kernel
from llmqueue_gym.engines.batching.cache import NOTHING
from llmqueue_gym.engines.batching.prefixes import next_prefix


@inner_kernel
def bucket_of(cache, prefix):
    """Return the bucket that blocks holding a prefix are in."""
    return prefix & (cache.buckets.shape[1] - 1)


@inner_kernel
def holder_of(e, cache, prefix):
    """Return the block that holds a prefix, of several the one that came to hold it first, or -1 [23]."""
    b = cache.buckets[e, bucket_of(cache, prefix)]
    while b >= 0 and cache.blocks[e, b].prefix != prefix:
        b = cache.blocks[e, b].next
    return b


@inner_kernel
def hold(e, r, b, prefix):
    """Let block b hold a prefix."""
    blocks, buckets, k = r.cache.blocks, r.cache.buckets, bucket_of(r.cache, prefix)
    blocks[e, b].prefix, blocks[e, b].next = prefix, -1
    if prefix == r.state[e].missing:
        r.state[e].looked = 0
    last = buckets[e, k]
    if last < 0:
        buckets[e, k] = b
        return
    while blocks[e, last].next >= 0:
        last = blocks[e, last].next
    blocks[e, last].next = b


@inner_kernel
def forget(e, r, b):
    """Let block b hold nothing."""
    blocks, buckets, k = r.cache.blocks, r.cache.buckets, bucket_of(r.cache, r.cache.blocks[e, b].prefix)
    before = buckets[e, k]
    if before == b:
        buckets[e, k] = blocks[e, b].next
    else:
        while blocks[e, before].next != b:
            before = blocks[e, before].next
        blocks[e, before].next = blocks[e, b].next
    blocks[e, b].prefix = 0


@inner_kernel
def disturb(state, block):
    """Let the last look-up count no more if it found this block."""
    if block.seen == state.looks:
        state.looked = 0


@inner_kernel
def unlink(blocks, e, b):
    """Take block b out of the queue of free blocks, whose both ends are the row behind the last block."""
    before, after = blocks[e, b].before, blocks[e, b].after
    blocks[e, before].after, blocks[e, after].before = after, before


@inner_kernel
def link(blocks, e, b, before):
    """Put block b into the queue of free blocks, behind another."""
    after = blocks[e, before].after
    blocks[e, b].before, blocks[e, b].after = before, after
    blocks[e, before].after = blocks[e, after].before = b


@inner_kernel
def rewind(path):
    """Let the path of a request begin anew."""
    path.prefix, path.held, path.piece, path.offset = NOTHING, 0, path.first_piece, 0


@part_kernel
def take_blocks(e, r, i, count):
    """Give request i the next free blocks, which forget what they held [22]."""
    blocks, state, pages = r.cache.blocks, r.state[e], r.cache.pages
    end, page = blocks.shape[1] - 1, r.cache.paths[i].first_page + r.requests[i].blocks
    for k in range(count):
        b = blocks[e, end].after
        block = blocks[e, b]
        unlink(blocks, e, b)
        disturb(state, block)
        if block.prefix != 0:
            forget(e, r, b)
        block.users = 1
        pages[page + k] = b


@part_kernel
def give_back(e, r, i):
    """Let request i use its blocks no more, the last one first, and return how many of them are free now [22]."""
    blocks, state, path = r.cache.blocks, r.state[e], r.cache.paths[i]
    end, free = blocks.shape[1] - 1, 0
    for k in range(path.first_page + r.requests[i].blocks - 1, path.first_page - 1, -1):
        b = r.cache.pages[k]
        block = blocks[e, b]
        block.users -= 1
        if block.users == 0:
            disturb(state, block)
            front = block.prefix == 0 and not state.released_last
            link(blocks, e, b, end if front else blocks[e, end].before)
            free += 1
    rewind(path)
    return free


@inner_kernel
def hold_tokens(e, r, i, tokens, size):
    """Let the full blocks among the first `tokens` of request i hold them, from now on for everybody [20]."""
    if (r.cache.paths[i].held + 1) * size <= tokens:
        hold_more(e, r, i, tokens, size)


@part_kernel
def hold_more(e, r, i, tokens, size):
    """Do the work of `hold_tokens` where there is some."""
    path, pages = r.cache.paths[i], r.cache.pages
    prefix, piece, offset, k = path.prefix, path.piece, path.offset, path.held
    while (k + 1) * size <= tokens:
        prefix, piece, offset = next_prefix(r.cache.pieces, path, size, prefix, piece, offset)
        hold(e, r, pages[path.first_page + k], prefix)
        k += 1
    path.prefix, path.piece, path.offset, path.held = prefix, piece, offset, k


@part_kernel
def look_up(e, r, i, size):
    """Find the blocks that hold the first tokens of waiting request i, all but one of its tokens at most [19].

    What is found stands in `state` until one of these blocks changes or the first one that is missing appears.
    """
    state, request, path, blocks = r.state[e], r.requests[i], r.cache.paths[i], r.cache.blocks
    if state.looked == i + 1:
        return
    state.looks += 1
    most = (request.prompt + request.generated - 1) // size
    hits, idle, missing = 0, 0, 0
    prefix, piece, offset = NOTHING, path.first_piece, 0
    path.prefix, path.piece, path.offset = prefix, piece, offset
    while hits < most:
        prefix, piece, offset = next_prefix(r.cache.pieces, path, size, prefix, piece, offset)
        b = holder_of(e, r.cache, prefix)
        if b < 0:
            missing = prefix
            break
        block = blocks[e, b]
        block.seen = state.looks
        if block.users == 0:
            idle += 1
        r.cache.pages[path.first_page + hits] = b
        hits += 1
        path.prefix, path.piece, path.offset = prefix, piece, offset
    path.held = hits
    state.looked, state.hits, state.idle_hits, state.missing = i + 1, hits, idle, missing
    request.cached = min(hits * size, request.prompt)


@part_kernel
def use_hits(e, r, i):
    """Let request i use the blocks that were found for it."""
    state, blocks, first = r.state[e], r.cache.blocks, r.cache.paths[i].first_page
    for k in range(first, first + state.hits):
        b = r.cache.pages[k]
        if blocks[e, b].users == 0:
            unlink(blocks, e, b)
        blocks[e, b].users += 1
    r.requests[i].blocks = state.hits
    r.system[e].free -= state.idle_hits
    state.looked = 0


@part_kernel
def cached_tokens(e, r, i, size):
    """Return how many tokens of the prompt of request i replica e holds; nothing is changed."""
    path, most, hits = r.cache.paths[i], (r.requests[i].prompt - 1) // size, 0
    prefix, piece, offset = NOTHING, path.first_piece, 0
    while hits < most:
        prefix, piece, offset = next_prefix(r.cache.pieces, path, size, prefix, piece, offset)
        if holder_of(e, r.cache, prefix) < 0:
            break
        hits += 1
    return hits * size


@part_kernel
def may_appear(e, r, i, size):
    """Whether the first block that is missing of waiting request i has output of a running request in it."""
    path, left = r.cache.paths[i], size
    piece, offset = path.piece, path.offset
    while left > 0 and piece < path.end_piece:
        for k in range(r.system[e].running):
            if r.cache.paths[r.running[e, k]].output == r.cache.pieces[piece].text:
                return True
        left -= r.cache.pieces[piece].length - offset
        piece, offset = piece + 1, 0
    return False

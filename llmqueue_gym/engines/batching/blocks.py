"""KV blocks with identities: who uses which block, which prefix it holds, and which is forgotten first.

A block that nobody uses is free, and can be found again by what it holds until it is taken for something else [21]. The
numbers in brackets are those of vLLM's decision rules, as they are listed in `rules`; for places see `cache`.

A block is anywhere in memory, so loops over many blocks ask for those ahead. Buckets are not: those of blocks that
follow one another within a text lie side by side, so that a prompt is looked up, held and forgotten in few cache lines.
Places are said to be natural numbers, which saves compiled code a look at their sign.
"""

from llmqueue_gym._jit import inner_kernel, natural, part_kernel, prefetch
from llmqueue_gym.engines.batching.cache import (
    AT,
    BITS,
    BLOCK,
    END,
    FIRST,
    HELD,
    LENGTH,
    LOOK,
    NEXT,
    NOTHING,
    OFFSET,
    PAGES,
    PATH,
    PIECE,
    PREFIX,
    SEEN,
    SPOT,
    TEXT,
    TEXT_OF_OUTPUT,
    USERS,
    WHERE,
)
from llmqueue_gym.engines.batching.prefixes import next_prefix

SOON = 16  # blocks ahead of the one at hand that are asked for
LAST = (1 << BITS) - 1  # bits of a look-up's number; where they are those of another one there is a look-up too many


@inner_kernel
def next_block(cells, path, size, prefix, at, offset, spot):
    """Go on by one block; see `next_prefix`, and `spot` is the number by which its bucket is found.

    A block follows the one before within a text if all its tokens, and those before, are of one piece. Others have a
    spot by what they hold, so that prompts that part are not found in the same buckets.
    """
    before, begun = at, offset > 0
    prefix, at, offset = next_prefix(cells, path, size, prefix, at, offset)
    follows = begun and (at == before or (offset == 0 and at == before + PIECE))
    return prefix, at, offset, spot + 1 if follows else prefix >> 1


@inner_kernel
def bucket_of(state, spot):
    """Return the place of the bucket that blocks of a spot are in."""
    return natural(state.buckets + (spot & state.bucket_mask))


@inner_kernel
def holder_of(cells, state, spot, prefix):
    """Return the block that holds a prefix, of several the one that came to hold it first, or 0 [23]."""
    b, buckets = natural(cells[bucket_of(state, spot)]), state.buckets
    if b == 0:
        return b
    while cells[b + PREFIX] != prefix:
        b = natural(cells[b + NEXT])
        if b >= buckets:
            return natural(0)
    return b


@inner_kernel
def enter(cells, buckets, bucket, b):
    """Let block b be the last one of a bucket."""
    cells[b + NEXT] = bucket
    last = natural(cells[bucket])
    if last == 0:
        cells[bucket] = b
        return
    while cells[last + NEXT] < buckets:
        last = natural(cells[last + NEXT])
    cells[last + NEXT] = b


@inner_kernel
def forget(cells, buckets, b):
    """Let block b hold nothing."""
    cells[b + PREFIX] = 0
    after = bucket = natural(cells[b + NEXT])
    while bucket < buckets:
        bucket = natural(cells[bucket + NEXT])
    before = natural(cells[bucket])
    if before == b:
        cells[bucket] = after if after < buckets else 0
        return
    while cells[before + NEXT] != b:
        before = natural(cells[before + NEXT])
    cells[before + NEXT] = after


@inner_kernel
def disturb(cells, state, looks, b):
    """Let the last look-up count no more if it found block b; it is the one of number `looks`."""
    if cells[b + SEEN] & LAST == looks & LAST:
        state.looked = 0


@inner_kernel
def note_change(cells, looks, b):
    """Note that block b holds something else now, which the look-up after number `looks` is the first to find."""
    cells[b + SEEN] = (looks + 1) << BITS


@inner_kernel
def note_seen(cells, looks, b):
    """Note that look-up number `looks` found block b."""
    cells[b + SEEN] = (cells[b + SEEN] & ~LAST) | (looks & LAST)


@inner_kernel
def ring_of(state):
    """Return the place of the ring in which the free blocks of a replica stand; it is as long as there are buckets."""
    return natural(state.buckets - state.bucket_mask - 1)


@part_kernel
def close_up(cells, state):
    """Let the queue of free blocks have no gaps where blocks were found and used; their order stays."""
    queue, ring, mask = natural(state.queue), ring_of(state), natural(state.bucket_mask)
    end = cells[queue + FIRST]
    for k in range(end, cells[queue + END]):
        b = natural(cells[ring + (k & mask)])
        if b > 0:
            cells[ring + (end & mask)], cells[b + USERS] = b, -(end & mask)
            end += 1
    cells[queue + END] = end


@part_kernel
def take_blocks(cells, state, request, path, count):
    """Give a request the next free blocks, which forget what they held; they are counted already [22]."""
    queue, buckets, mask, looks = natural(state.queue), natural(state.buckets), natural(state.bucket_mask), state.looks
    ring, k, first = ring_of(state), natural(path + cells[path + PAGES] + request.blocks - count), cells[queue + FIRST]
    end = k + count
    while k < end:
        b = natural(cells[ring + (first & mask)])
        prefetch(cells, cells[ring + ((first + SOON) & mask)], 0)
        first += 1
        if b == 0:
            continue
        cells[k] = b
        k += 1
        disturb(cells, state, looks, b)
        if cells[b + PREFIX] != 0:
            forget(cells, buckets, b)
            note_change(cells, looks, b)
        cells[b + USERS] = 1
    cells[queue + FIRST] = first


@part_kernel
def give_back(cells, state, request, path):
    """Let a request use its blocks no more, the last one first, and return how many of them are free now [22]."""
    queue, first, held = natural(state.queue), natural(path + cells[path + PAGES]), cells[path + HELD]
    ring, mask, looks, released_last = ring_of(state), natural(state.bucket_mask), state.looks, state.released_last
    if cells[queue + END] - cells[queue + FIRST] + request.blocks > mask:
        close_up(cells, state)
    front, end, free = cells[queue + FIRST], cells[queue + END], 0
    for k in range(request.blocks - 1, -1, -1):
        b = natural(cells[first + k])
        prefetch(cells, cells[first + max(k - SOON, 0)], 0)
        users = cells[b + USERS] - 1
        if users > 0:
            cells[b + USERS] = users
            continue
        free += 1
        disturb(cells, state, looks, b)
        if k >= held and not released_last:
            front -= 1
            place = front & mask
        else:
            place = end & mask
            end += 1
        cells[ring + place], cells[b + USERS] = b, -place
    cells[queue + FIRST], cells[queue + END] = front, end
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
    prefix, at, offset, spot = cells[path + PREFIX], cells[path + AT], cells[path + OFFSET], cells[path + SPOT]
    first, full, looks = natural(path + cells[path + PAGES]), tokens // size, state.looks
    for k in range(first + cells[path + HELD], first + full):
        prefix, at, offset, spot = next_block(cells, path, size, prefix, at, offset, spot)
        b = natural(cells[k])
        cells[b + PREFIX] = prefix
        note_change(cells, looks, b)
        enter(cells, buckets, natural(buckets + (spot & mask)), b)
        if prefix == missing:
            state.looked = 0
    cells[path + PREFIX], cells[path + AT], cells[path + OFFSET], cells[path + SPOT] = prefix, at, offset, spot
    cells[path + HELD] = full


@inner_kernel
def known_hits(cells, state, path, first):
    """Return how many blocks the last look-up of a path found, and how many of them nobody uses now; 0 and 0 where one
    of them has changed since, or it was elsewhere.

    Whoever waits is looked up again and again while little changes. A block that still holds what it did is still the
    one to be found, as others that come to hold the same stand behind it.
    """
    hits, idle, last, looks = cells[path + HELD], 0, cells[path + LOOK], state.looks
    if cells[path + WHERE] != state.queue:
        return 0, 0
    for k in range(first, first + hits):
        b = natural(cells[k])
        prefetch(cells, cells[min(k + SOON, first + hits - 1)], 0)
        if cells[b + SEEN] >> BITS > last:
            return 0, 0
        note_seen(cells, looks, b)
        if cells[b + USERS] <= 0:
            idle += 1
    return hits, idle


@part_kernel
def find_hits(cells, state, request, path, size):
    """Find the blocks that hold the first tokens of a waiting request, all but one of its tokens at most [19].

    What is found stands in `state` until one of these blocks changes or the first one that is missing appears.
    """
    state.looks += 1
    path, looks = natural(path), state.looks
    most, first = (request.prompt + request.generated - 1) // size, natural(path + cells[path + PAGES])
    hits, idle = known_hits(cells, state, path, first)
    if hits == 0:
        cells[path + PREFIX], cells[path + AT], cells[path + OFFSET], cells[path + SPOT] = NOTHING, PATH, 0, 0
    prefix, at, offset, spot = cells[path + PREFIX], cells[path + AT], cells[path + OFFSET], cells[path + SPOT]
    missing = 0
    while hits < most:
        prefix, at, offset, spot = next_block(cells, path, size, prefix, at, offset, spot)
        b = holder_of(cells, state, spot, prefix)
        if b == 0:
            missing = prefix
            break
        note_seen(cells, looks, b)
        if cells[b + USERS] <= 0:
            idle += 1
        cells[first + hits] = b
        hits += 1
        cells[path + PREFIX], cells[path + AT], cells[path + OFFSET], cells[path + SPOT] = prefix, at, offset, spot
    cells[path + HELD], cells[path + LOOK], cells[path + WHERE] = hits, looks, state.queue
    state.hits, state.idle_hits, state.missing = hits, idle, missing
    request.cached = min(hits * size, request.prompt)


@part_kernel
def use_hits(cells, state, request, path):
    """Let a request use the blocks that were found for it."""
    ring, first = ring_of(state), natural(path + cells[path + PAGES])
    for k in range(first, first + state.hits):
        b = natural(cells[k])
        if cells[b + USERS] <= 0:
            cells[natural(ring - cells[b + USERS])] = 0
            cells[b + USERS] = 0
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
    prefix, at, offset, spot = NOTHING, PATH, 0, 0
    while hits < most:
        prefix, at, offset, spot = next_block(cells, path, size, prefix, at, offset, spot)
        if holder_of(cells, state, spot, prefix) == 0:
            break
        hits += 1
    return hits * size


@part_kernel
def lose_all(cells, state):
    """Let all blocks of a replica hold nothing; nobody uses one."""
    for b in range(state.queue + BLOCK, ring_of(state), BLOCK):
        cells[b + PREFIX] = 0
        note_change(cells, state.looks, b)
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

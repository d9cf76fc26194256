"""What a router remembers of the prompts that it sent to each replica, as it cannot look into their caches.

A replica has so many places, eight to a row. Each beginning of a prompt, to the end of one of its blocks (of 16 tokens,
where blocks are smaller), stands in the row that its number falls on, the last one that was sent first; who is ninth is
forgotten. So a record is bounded, like the caches that it stands for: by tokens, whatever the size of their blocks.
"""

from llmqueue_gym._jit import natural, part_kernel
from llmqueue_gym.engines.batching.cache import NOTHING, PATH
from llmqueue_gym.engines.batching.prefixes import next_prefix

LEAST = 16  # tokens that it counts by, where blocks are smaller
# Powers of two; llm-d's record has 31,250 blocks of a replica, as so many of 16 tokens fit beside its model.
PLACES, ROW = 1 << 15, 8


@part_kernel
def places_for(places, size):
    """Return how many of the places of a replica are used where a block has so many tokens, a power of two."""
    used = places
    while used > ROW and used * size > places * LEAST:
        used >>= 1
    return used


@part_kernel
def row_of(prefix, places):
    """Return the first place of the row that a prefix falls on."""
    return natural(prefix & (places - ROW))


@part_kernel
def known_blocks(cells, path, record, g, blocks, size):
    """Return how many of the first blocks of a prompt the record of replica g has."""
    if cells is None:
        return 0
    g, path, known, prefix, at, offset = natural(g), natural(path), 0, NOTHING, PATH, 0
    places = places_for(record.shape[1], size)
    while known < blocks:
        prefix, at, offset = next_prefix(cells, path, size, prefix, at, offset)
        k = row_of(prefix, places)
        last = k + ROW - 1
        while k < last and record[g, k] != prefix:
            k += 1
        if record[g, k] != prefix:
            break
        known += 1
    return known


@part_kernel
def note(cells, path, record, g, blocks, size):
    """Let the record of replica g have the first blocks of a prompt."""
    if cells is None:
        return
    g, path, prefix, at, offset = natural(g), natural(path), NOTHING, PATH, 0
    places = places_for(record.shape[1], size)
    for _ in range(blocks):
        prefix, at, offset = next_prefix(cells, path, size, prefix, at, offset)
        row, moved = row_of(prefix, places), prefix
        for k in range(row, row + ROW):  # each by one place, up to where it stood
            moved, record[g, k] = record[g, k], moved
            if moved == prefix:
                break


@part_kernel
def known_tokens(e, f, r, i, q):
    """Return how many tokens of the prompt of request i replica q of run e was sent before, as far as is known."""
    g, size = e * len(f.forms) + q, max(f.rules[q].block_size, LEAST)
    if f.record.shape[1] == 0:
        return 0
    return known_blocks(r.cells, r.truth[i].path, f.record, g, r.requests[i].prompt // size, size) * size


@part_kernel
def remember(e, f, r, i, q):
    """Let the router note that it sent request i to replica q of run e."""
    g, size = e * len(f.forms) + q, max(f.rules[q].block_size, LEAST)
    site, prompt = f.sites[g], r.requests[i].prompt
    site.since += 1
    site.sent += prompt - known_tokens(e, f, r, i, q)
    if f.record.shape[1] > 0:
        note(r.cells, r.truth[i].path, f.record, g, prompt // size, size)


@part_kernel
def forget_replica(e, f, q):
    """Let the router forget what it sent to replica q of run e, which is gone."""
    g = e * len(f.forms) + q
    f.sites[g].sent = 0.0
    for k in range(f.record.shape[1]):
        f.record[g, k] = 0

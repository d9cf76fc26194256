"""What a router remembers of the prompts that it sent to each replica, as it cannot look into their caches.

A replica has so many places, eight to a row. Each beginning of a prompt, to the end of one of its blocks (of 16 tokens,
where blocks are smaller), stands in the row that its number falls on, the last one that was sent first; who is ninth is
forgotten. So a record is bounded, like the caches that it stands for.
"""

from llmqueue_gym._jit import inner_kernel, natural, part_kernel
from llmqueue_gym.engines.batching.cache import NOTHING, PATH
from llmqueue_gym.engines.batching.prefixes import next_prefix

LEAST = 16  # tokens that it counts by, where blocks are smaller
PLACES, ROW = 1 << 15, 8  # powers of two; llm-d's record has 31,250 blocks of a replica


@inner_kernel
def place_of(record, g, prefix):
    """Return where in its row a prefix stands, or the last place of it, and where the row begins."""
    g, row, k = natural(g), natural(prefix & (record.shape[1] - ROW)), 0
    while k < ROW - 1 and record[g, row + k] != prefix:
        k += 1
    return k, row


@part_kernel
def read_or_write(cells, path, record, g, blocks, size, writes):
    """Return how many of the first blocks of a prompt the record of replica g has, or let it have all of them."""
    g, path, known, prefix, at, offset = natural(g), natural(path), 0, NOTHING, PATH, 0
    while known < blocks:
        prefix, at, offset = next_prefix(cells, path, size, prefix, at, offset)
        k, row = place_of(record, g, prefix)
        if writes:
            for j in range(k, 0, -1):
                record[g, row + j] = record[g, row + j - 1]
            record[g, row] = prefix
        elif record[g, row + k] != prefix:
            break
        known += 1
    return known


@inner_kernel
def known_tokens(e, f, r, i, q):
    """Return how many tokens of the prompt of request i replica q of run e was sent before, as far as is known."""
    g, size = e * len(f.forms) + q, max(f.rules[q].block_size, LEAST)
    if f.record.shape[1] == 0:
        return 0
    return read_or_write(r.cells, r.truth[i].path, f.record, g, r.requests[i].prompt // size, size, False) * size


@inner_kernel
def remember(e, f, r, i, q):
    """Let the router note that it sent request i to replica q of run e."""
    g, size = e * len(f.forms) + q, max(f.rules[q].block_size, LEAST)
    site, prompt = f.sites[g], r.requests[i].prompt
    site.since += 1
    site.sent += prompt - known_tokens(e, f, r, i, q)
    if f.record.shape[1] > 0:
        read_or_write(r.cells, r.truth[i].path, f.record, g, prompt // size, size, True)


@inner_kernel
def forget_replica(e, f, q):
    """Let the router forget what it sent to replica q of run e, which is gone."""
    g = e * len(f.forms) + q
    f.sites[g].sent = 0.0
    for k in range(f.record.shape[1]):
        f.record[g, k] = 0

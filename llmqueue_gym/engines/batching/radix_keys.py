"""Keys of a radix tree: places in the pieces of a text, what two texts have in common, and the hash of a first page.

A place is a piece `p` and the tokens `o` of it that lie behind; for `cells` see `radix_tables`.
"""

from llmqueue_gym._jit import inner_kernel, part_kernel
from llmqueue_gym.engines.batching.cache import LENGTH, PIECE, START, TEXT

_31_BITS = (1 << 31) - 1
_FACTOR = 0x5BD1E995


@inner_kernel
def settled(cells, p, o):
    """Return the place of the next token: from the end of a piece on to the next piece."""
    while o >= cells[p + LENGTH]:
        p += PIECE
        o = 0
    return p, o


@part_kernel
def ahead(cells, p, o, tokens):
    """Return the place so many tokens on."""
    while tokens > cells[p + LENGTH] - o:
        tokens -= cells[p + LENGTH] - o
        p += PIECE
        o = 0
    return p, o + tokens


@part_kernel
def common(cells, p, o, q, u, most):
    """Return how many tokens, `most` at the most, are the same from place (p, o) and from place (q, u) on."""
    same = 0
    while same < most:
        p, o = settled(cells, p, o)
        q, u = settled(cells, q, u)
        if cells[p + TEXT] != cells[q + TEXT] or cells[p + START] + o != cells[q + START] + u:
            break
        run = min(cells[p + LENGTH] - o, cells[q + LENGTH] - u, most - same)
        same += run
        o += run
        u += run
    return same


@inner_kernel
def mixed(h, x):
    """Return a hash that takes in one more number; every product fits in 63 bits."""
    return ((((h ^ x ^ (x >> 31)) & _31_BITS) * _FACTOR) >> 17) & _31_BITS


@part_kernel
def hash_of(cells, parent, p, o, page):
    """Return the hash of a child by its parent and by the first and the last token of the first page of its key."""
    p, o = settled(cells, p, o)
    h = mixed(mixed(parent, cells[p + TEXT]), cells[p + START] + o)
    if page > 1:
        p, o = ahead(cells, p, o, page - 1)
        p, o = settled(cells, p, o)
        h = mixed(mixed(h, cells[p + TEXT]), cells[p + START] + o)
    return h

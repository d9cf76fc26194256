"""What the blocks of a request hold: a number for its first tokens, up to the end of each block.

Two requests have the same number where they have the same tokens so far: numbers are chained, and made from the pieces
(text, start, length) that a prompt and the output behind it consist of, not from single tokens [19]. They have 63 bits,
so that among ten million prefixes two that differ have the same number with a chance below 1e-5.
"""

from llmqueue_gym._jit import inner_kernel, natural, product
from llmqueue_gym.engines.batching.cache import LENGTH, PAGES, PIECE, START, TEXT, TEXT_OF_OUTPUT

ENDLESS = 1 << 40  # more tokens than any output has
MASK = (1 << 63) - 1
# Odd numbers without a pattern.
A, B, C = 0x1E3779B97F4A7C15, 0x2545F4914F6CDD1D, 0x27D4EB2F165667C5
D, E = 0x7F51AFD7ED558CCD, 0x44CEB9FE1A85EC53  # of the 64-bit finalizer of MurmurHash3, without the sign


@inner_kernel
def mixed(prefix, text, start, length):
    """Return the number of a prefix with so many tokens of a text behind it."""
    x = prefix ^ product(text, A) ^ product(start, B) ^ product(length, C)
    x = product(x ^ ((x >> 31) & MASK), D)
    x = product(x ^ ((x >> 29) & MASK), E) & MASK
    return x ^ (x >> 32)


@inner_kernel
def next_prefix(cells, path, size, prefix, at, offset):
    """Go on by one block.

    Args:
        cells: of `ReplicaTables`.
        path: of the request.
        size: tokens a block.
        prefix: the number of the tokens so far.
        at: the place of the piece that its next token is of, from the path.
        offset: tokens of that piece before it.

    Returns:
        the last three behind the block.
    """
    left = size
    while left > 0:
        text, start, length = cells[path + TEXT_OF_OUTPUT], 0, ENDLESS
        if at < cells[path + PAGES]:
            piece = natural(path + at)
            text, start, length = cells[piece + TEXT], cells[piece + START], cells[piece + LENGTH]
        tokens = min(left, length - offset)
        prefix = mixed(prefix, text, start + offset, tokens)
        offset += tokens
        left -= tokens
        if offset == length:
            at += PIECE
            offset = 0
    return prefix, at, offset

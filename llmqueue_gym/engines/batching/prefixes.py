"""What the blocks of a request hold: a number for its first tokens, up to the end of each block.

Two requests have the same number where they have the same tokens so far: numbers are chained, and made from the pieces
(text, start, length) that a prompt and the output behind it consist of, not from single tokens [19]. They have 63 bits,
so that among ten million prefixes two that differ have the same number with a chance below 1e-5.
"""

from llmqueue_gym._jit import inner_kernel

ENDLESS = 1 << 40  # more tokens than any output has
MASK = (1 << 63) - 1
# Odd numbers without a pattern; the last two are those of the 64-bit finalizer of MurmurHash3, but for the sign.
TEXT, START, LENGTH, FIRST, SECOND = (
    0x1E3779B97F4A7C15,
    0x2545F4914F6CDD1D,
    0x27D4EB2F165667C5,
    0x7F51AFD7ED558CCD,
    0x44CEB9FE1A85EC53,
)


@inner_kernel
def mixed(prefix, text, start, length):
    """Return the number of a prefix with so many tokens of a text behind it."""
    x = (int(prefix) + int(text) * TEXT + int(start) * START + int(length) * LENGTH) & MASK
    x = ((x ^ (x >> 31)) * FIRST) & MASK
    x = ((x ^ (x >> 29)) * SECOND) & MASK
    return x ^ (x >> 32)


@inner_kernel
def next_prefix(pieces, path, size, prefix, piece, offset):
    """Go on by one block.

    Args:
        pieces: `SEGMENT` rows of all requests.
        path: `PATH` record of the request.
        size: tokens a block.
        prefix: the number of the tokens so far.
        piece: the piece that its next token is of.
        offset: tokens of that piece before it.

    Returns:
        the same three behind the block.
    """
    left = size
    while left > 0:
        text, start, length = path.output, 0, ENDLESS
        if piece < path.end_piece:
            text, start, length = pieces[piece].text, pieces[piece].start, pieces[piece].length
        tokens = min(left, length - offset)
        prefix = mixed(prefix, text, start + offset, tokens)
        offset += tokens
        left -= tokens
        if offset == length:
            piece += 1
            offset = 0
    return prefix, piece, offset

"""What the prompts of calls consist of: tokens of an earlier call's context, or of a shared text, then their own."""

import numpy as np

from llmqueue_gym._jit import kernel, records
from llmqueue_gym.requests import OUTPUT, SEGMENT, Contexts


def of_calls(
    base: np.ndarray, kept: np.ndarray, text: np.ndarray, prompts: np.ndarray, outputs: np.ndarray
) -> Contexts:
    """Return the contexts of calls, whose own tokens and outputs are a text each.

    A context is a prompt and then its output. The row that a prompt goes on from lies above its own.

    Args:
        base: `(n,)`, the row whose context the prompt begins with, or -1.
        kept: `(n,)`, with how many of its tokens; where there is no such row, tokens of a shared text.
        text: `(n,)`, the number of that text, from 0 on.
        prompts: tokens `(n,)`.
        outputs: tokens `(n,)`.
    """
    n = len(prompts)
    own_text = 1 + int(text.max(initial=0))
    first, room, filled = np.zeros(n + 1, np.int64), 16 * n, -1
    while filled < 0:
        pieces = np.zeros(room, SEGMENT)
        filled = _write_pieces(base, kept, text, prompts, outputs, own_text, records(pieces), first)
        room *= 2
    return Contexts(pieces[:filled].copy(), first, OUTPUT + np.arange(n))


@kernel
def _write_pieces(base, kept, text, prompts, outputs, own_text, pieces, first):  # type: ignore[no-untyped-def]
    """Write the pieces of all prompts; return how many there are, -1 where there is no room for them."""
    at = 0
    for i in range(len(prompts)):
        of, left = base[i], kept[i]
        begin = first[of] if of >= 0 else 0
        count = first[of + 1] - begin if of >= 0 else 0
        if at + count + 2 > len(pieces):
            return -1
        for k in range(count):
            if left > 0:
                length = min(left, pieces[begin + k].length)
                pieces[at].text, pieces[at].start, pieces[at].length = pieces[begin + k].text, 0, length
                left -= length
                at += 1
        if left > 0:
            pieces[at].text, pieces[at].length = (OUTPUT + of if of >= 0 else text[i]), left
            at += 1
        if prompts[i] > kept[i]:
            pieces[at].text, pieces[at].length = own_text + i, prompts[i] - kept[i]
            at += 1
        first[i + 1] = at
    return at

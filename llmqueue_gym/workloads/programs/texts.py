"""What the prompts of calls consist of: tokens of an earlier call's context, or of a shared text, then their own."""

import numpy as np

from llmqueue_gym.programs import ranges
from llmqueue_gym.requests import OUTPUT, SEGMENT, Contexts


def of_calls(
    base: np.ndarray, kept: np.ndarray, text: np.ndarray, prompts: np.ndarray, outputs: np.ndarray
) -> Contexts:
    """Return the contexts of calls, whose own tokens and outputs are a text each.

    A context is a prompt and then its output. Calls are treated together that go on from a context equally often.

    Args:
        base: `(n,)`, the row whose context the prompt begins with, or -1.
        kept: `(n,)`, with how many of its tokens; where there is no such row, tokens of a shared text.
        text: `(n,)`, the number of that text, from 0 on.
        prompts: tokens `(n,)`.
        outputs: tokens `(n,)`.
    """
    n = len(prompts)
    own_text = 1 + int(text.max(initial=0)) + np.arange(n)
    begins, counts = np.zeros(n, np.int64), np.zeros(n, np.int64)
    pieces, filled = np.zeros(4 * n, SEGMENT), 0
    waiting = np.arange(n)
    done = np.zeros(n + 1, bool)
    done[-1] = True  # the base of those that have none
    while len(waiting):
        now = done[base[waiting]]
        rows, waiting = waiting[now], waiting[~now]
        taken = np.zeros(len(rows), np.int64)
        if len(waiting) + len(rows) < n:  # somebody has been treated before: these all have a base
            of = base[rows]
            here = ranges(begins[of], counts[of] + 1)
            inner = pieces[np.minimum(here, filled - 1)]  # the last of each is the output, which is put in below
            ends = np.cumsum(counts[of] + 1)
            inner[ends - 1] = 0
            inner["text"][ends - 1], inner["length"][ends - 1] = OUTPUT + of, outputs[of]
            up_to = np.cumsum(inner["length"])
            row = np.repeat(np.arange(len(rows)), counts[of] + 1)
            before = up_to - inner["length"] - np.concatenate([[0], up_to[ends - 1]])[row]
            inner["length"] = np.clip(kept[rows][row] - before, 0, inner["length"])
            row, inner = row[inner["length"] > 0], inner[inner["length"] > 0]
        else:
            shares = kept[rows] > 0
            row, inner = np.flatnonzero(shares), np.zeros(int(shares.sum()), SEGMENT)
            inner["text"], inner["length"] = text[rows][shares], kept[rows][shares]
        taken = np.bincount(row, minlength=len(rows))
        own = prompts[rows] - kept[rows]
        adds = own > 0
        counts[rows] = taken + adds
        begins[rows] = filled + np.cumsum(counts[rows]) - counts[rows]
        end = filled + int(counts[rows].sum())
        if end > len(pieces):
            pieces = np.append(pieces, np.zeros(max(end, 2 * len(pieces)) - len(pieces), SEGMENT))
        pieces[ranges(begins[rows], taken)] = inner
        last = begins[rows][adds] + taken[adds]
        pieces["text"][last], pieces["length"][last] = own_text[rows][adds], own[adds]
        filled = end
        done[rows] = True
    first = np.concatenate([[0], np.cumsum(counts)])
    return Contexts(pieces[ranges(begins, counts)], first, OUTPUT + np.arange(n))

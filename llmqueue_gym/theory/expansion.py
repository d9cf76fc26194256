"""How a tree of reasoning grows: Rebase's shares of the width, and the bounds of UCT and PUCT.

Sources: Wu et al., "Inference Scaling Laws: An Empirical Analysis of Compute-Optimal Inference", ICLR 2025, and its
repository (Rebase); Kocsis, Szepesvari, "Bandit Based Monte-Carlo Planning", ECML 2006 (UCT); Silver et al., "Mastering
the Game of Go without Human Knowledge", Nature 2017 (PUCT).
"""

import numpy as np

from llmqueue_gym._jit import kernel
from llmqueue_gym.errors import BadInput


@kernel
def share_width(scores, width, temperature, widths):
    """Write how many children each leaf gets, the best first: of what is left, its share by exp(score / temperature).

    Shares are rounded up, so the last may get none. What is left of the weights is summed anew and not subtracted: then
    the last share is exactly all that is left, and the widths add up.

    Args:
        scores: `(n,)`, of the leaves that are not finished.
        width: children in all.
        temperature: of the scores.
        widths: `(n,)`, int64, written.
    """
    n, left = len(scores), width
    order = np.argsort(-scores, kind="mergesort")
    best = scores[order[0]] if n > 0 else 0.0
    for i in range(n):
        rest = 0.0
        for j in range(n - 1, i - 1, -1):
            rest += np.exp((scores[order[j]] - best) / temperature)
        share = int(np.ceil(left * np.exp((scores[order[i]] - best) / temperature) / rest)) if rest > 0.0 else left
        widths[order[i]] = min(share, left)
        left -= widths[order[i]]


def rebase_widths(scores: np.ndarray, width: int, finished: int = 0, temperature: float = 0.2) -> np.ndarray:
    """Return how many children each leaf gets under Rebase, int64 `(n,)`; they add up to the width less the finished.

    Args:
        scores: predicted rewards `(n,)` of the leaves that are not finished; equal ones are taken in their order.
        width: leaves in all.
        finished: leaves that have answered, each of which reduces the width by one.
        temperature: of the softmax.
    """
    given = np.ascontiguousarray(scores, np.float64)
    if given.ndim != 1 or not np.isfinite(given).all():
        raise BadInput("scores must be a row of finite numbers")
    if finished < 0 or width < finished:
        raise BadInput(f"finished={finished} leaves must be from 0 to the width, {width}")
    if not temperature > 0:
        raise BadInput(f"temperature={temperature:g} must be positive, for example 0.2")
    widths = np.zeros(len(given), np.int64)
    share_width(given, int(width - finished), float(temperature), widths)
    return widths


def uct(value: float, visits: int, parent_visits: int, c: float = 1.4) -> float:
    """Return Q + c sqrt(ln N / n), the upper bound of a child; infinity before its first visit."""
    return float(value + c * np.sqrt(np.log(parent_visits) / visits)) if visits else float("inf")


def puct(value: float, visits: int, parent_visits: int, prior: float, c: float = 1.4) -> float:
    """Return Q + c p sqrt(N) / (1 + n)."""
    return float(value + c * prior * np.sqrt(parent_visits) / (1 + visits))

"""What is left of a job of an age and a prediction: quantiles of its law, and means beyond them.

With Sbar(a) = P(S > a | Y = y), H(a) = int_a^inf Sbar and t the age that a share 1 - q of those who reach a outlives,
Sbar(t) = (1 - q) Sbar(a),

    quantile: t - a,        mean beyond it (CVaR): t - a + H(t) / Sbar(t),

which for q = 0 is the mean residual size, H(a) / Sbar(a).

Source: Rockafellar and Uryasev, "Optimization of Conditional Value-at-Risk", Journal of Risk 2000.
"""

import numpy as np

from llmqueue_gym.theory.joint import Row

_TAIL = 1e-9  # of a row's jobs: what is left stays what it was where so few are


def residual_quantile(row: Row, q: float) -> tuple[np.ndarray, np.ndarray]:
    """Return ages `(n,)` and the quantile at q of what is left of a job of the row `(n,)`."""
    ages, t = _outlived(row, q)
    return ages, t - ages


def residual_cvar(row: Row, q: float) -> tuple[np.ndarray, np.ndarray]:
    """Return ages `(n,)` and the mean of what is left, if that is at least its quantile at q `(n,)`."""
    ages, t = _outlived(row, q)
    left = np.interp(t, row.ages, row.served[-1] - row.served)
    return ages, t - ages + left / ((1 - q) * row.above[: len(ages)])


def _outlived(row: Row, q: float) -> tuple[np.ndarray, np.ndarray]:
    """Return ages `(n,)`, and those that a share 1 - q of who gets there outlives `(n,)`."""
    n = max(1, int(np.count_nonzero(row.above > _TAIL * row.reached[0])))
    target = (1 - q) * row.above[:n]
    return row.ages[:n], np.maximum(np.interp(target, row.above[::-1], row.ages[::-1]), row.ages[:n])

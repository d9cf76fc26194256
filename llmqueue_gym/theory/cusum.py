"""CUSUM for the spread of normal errors: how many it sees to a false alarm, and to an alarm when there is reason.

With errors Z of mean zero and standard deviation sigma, W <- max(0, W + X), where X = Z^2 (1/good^2 - 1/bad^2) / 2 -
log(bad / good) is the log likelihood ratio of `bad` against `good`. The mean number of errors from W = s to W >= alarm
is the solution of

    L(s) = 1 + L(0) P(s + X <= 0) + int_0^alarm L(u) dP(s + X <= u),

which is solved with W in cells, as a Markov chain.

Source: Page, "Continuous Inspection Schemes", Biometrika 1954; Brook and Evans, "An Approach to the Probability
Distribution of CUSUM Run Length", Biometrika 1972.
"""

import numpy as np
from scipy.special import ndtr

from llmqueue_gym.errors import BadInput

CELLS = 500


def average_run_length(alarm: float, good: float, bad: float, sigma: float) -> float:
    """Return the mean number of errors up to the alarm, from W = 0.

    Args:
        alarm: threshold, nats.
        good: standard deviation of errors as they should be.
        bad: that of errors worth an alarm, above `good`.
        sigma: that of the errors that come: `good` for false alarms, `bad` or another for the delay.

    Raises:
        BadInput: one of them is not positive, or `bad` is not above `good`.
    """
    given = {"alarm": alarm, "good": good, "bad": bad, "sigma": sigma}
    for name, value in given.items():
        if not 0 < value < np.inf:
            raise BadInput(f"{name}={value:g} must be positive and finite")
    if not good < bad:
        raise BadInput(f"bad={bad:g} must be above good={good:g}")
    factor, drift = 0.5 * (good**-2 - bad**-2), np.log(bad / good)

    def at_most(x: np.ndarray) -> np.ndarray:
        return 2 * ndtr(np.sqrt(np.maximum(x + drift, 0.0) / factor) / sigma) - 1

    edges = alarm * np.arange(CELLS + 1) / CELLS
    states = np.concatenate([[0.0], 0.5 * (edges[1:] + edges[:-1])])  # zero has a probability of its own
    below = at_most(edges - states[:, None])
    moves = np.concatenate([below[:, :1], np.diff(below, axis=1)], axis=1)
    return float(np.linalg.solve(np.eye(CELLS + 1) - moves, np.ones(CELLS + 1))[0])

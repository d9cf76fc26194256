"""Gittins index of the remaining output, given the prediction and what is generated, under log-normal errors.

    rank(y, a) = inf over D > 0 of  E[min(L - a, D) | L > a, y] / P(L - a <= D | L > a, y)

for output length L, a of it generated, predicted as y. L / y is taken as log-normal with median 1, the reverse of the
`lognormal` predictor's errors where all orders of magnitude are equally likely beforehand. Then the rank is y times a
function of a / y alone, tabulated here over log(a / y) / sigma: params = [sigma, table (_POINTS,)].

The index is optimal for one server that can be preempted at no cost. In a batch that shares memory it is a heuristic,
so running requests are not displaced unless told otherwise.

Source: Gittins, "Bandit Processes and Dynamic Allocation Indices", 1979.
"""

import numpy as np
from scipy.special import ndtr

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.serving.base import ServingPolicy

# The table: ages from y exp(-8 sigma), before which nothing ends, to y exp(6 sigma), which one in 1e9 requests exceeds.
_LEAST, _MOST, _POINTS = -8.0, 6.0, 281


def rank(request, system, params):
    sigma = params[0]
    predicted = max(request.predicted, request.generated / np.exp(_MOST * sigma), 1e-9)
    age, first = request.generated / predicted, np.exp(_LEAST * sigma)  # `first` is the age of the table's first row
    z = np.log(max(age, first)) / sigma  # the logarithm of no age would be infinite
    at = (min(max(z, _LEAST), _MOST) - _LEAST) / (_MOST - _LEAST) * (_POINTS - 1)
    k = min(int(at), _POINTS - 2)
    # Before the first row hardly anything ends, so the index falls by a token with every token.
    return predicted * (params[1 + k] + (at - k) * (params[2 + k] - params[1 + k]) + max(first - age, 0.0))


def index_table(sigma: float) -> np.ndarray:
    """Return the Gittins index `(_POINTS,)` of a log-normal law of median 1 at ages exp(sigma z), z evenly spaced."""
    z = np.linspace(_LEAST, _MOST, _POINTS)
    ends = np.linspace(_LEAST, _MOST + 2, 8 * (_POINTS - 1) + 1)  # b in the infimum below
    table = np.empty(_POINTS)
    for k in range(_POINTS):
        later = ends[ends > z[k] + 1e-9]
        served = _beyond(z[k], sigma) - _beyond(later, sigma)
        side = np.sign(z[k]) or 1.0  # the tail whose difference keeps its digits
        table[k] = (served / np.abs(ndtr(-side * z[k]) - ndtr(-side * later))).min()
    return table


def _beyond(z, sigma: float):
    """Return E[max(L - a, 0)] for a = exp(sigma z)."""
    return np.exp(sigma**2 / 2) * ndtr(sigma - z) - np.exp(sigma * z) * ndtr(-z)


def gittins_lengths(sigma: float = 0.5, displaces: bool = False) -> ServingPolicy:
    """Gittins index of the remaining output under log-normal errors.

    Args:
        sigma: standard deviation of log(true / predicted), above 0 and at most 2.
        displaces: whether a waiting request takes the place of a running one of larger index.
    """
    if not 0 < sigma <= 2:
        raise BadInput(f"gittins-lengths: sigma={sigma:g} must lie in (0, 2]; exact predictions want srpt")
    params = (sigma, *index_table(sigma).tolist())
    source = "Gittins 1979; Aalto, Ayesta, Righter 2009"
    return ServingPolicy("gittins-lengths", rank, params, displaces=displaces, source=source)

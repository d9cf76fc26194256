"""TIE: expected output length, plus `beta` times its conditional value at risk, minus `alpha` times the time waited.

With log-normal output lengths around the prediction y as median, E = y exp(sigma^2 / 2), and the mean of the worst
tenth is CVaR = E Phi(sigma - 1.2816) / 0.1. The paper fits log-t laws, which have no mean in closed form; the
log-normal forms and the default weights are those of a public re-implementation, at moderate overload. `sigma` should
be that of the predictor.

All waits grow alike, so arrival times order requests as waits do, and no queue is ranked anew.

Source: TIE, arXiv 2604.00499.
"""

import math

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.serving.base import ServingPolicy

_TENTH = 1.2815515655446004  # quantile 0.9 of the standard normal law


def rank(request, system, params):
    return params[0] * request.predicted + params[1] * request.arrival


def tie(alpha: float = 3.0, beta: float = 2.0, sigma: float = 0.5) -> ServingPolicy:
    """TIE with log-normal lengths.

    Args:
        alpha: tokens that a second of waiting is worth.
        beta: weight of the worst tenth.
        sigma: standard deviation of log(true / predicted).
    """
    if not 0 <= sigma < math.inf:
        raise BadInput(f"tie: sigma={sigma:g} must be finite and not negative")
    if not (alpha >= 0 and beta >= 0):
        raise BadInput(f"tie: alpha={alpha:g} and beta={beta:g} must not be negative")
    mean = math.exp(sigma**2 / 2)
    worst = mean * 0.5 * math.erfc((_TENTH - sigma) / math.sqrt(2)) / 0.1
    return ServingPolicy("tie", rank, (mean + beta * worst, alpha), source="TIE, arXiv 2604.00499")

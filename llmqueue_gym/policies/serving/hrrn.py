"""Highest response ratio next, over a cache: longest waited for each token that is to be computed.

The response ratio is 1 plus the time waited over the time that the prefill takes, which is taken in proportion to the
tokens that the cache does not hold. So a small remainder goes first, and a large one once it has waited for its share.

"-like": SGLang measures what a request has waited by the prefill tokens computed since it came, here it is time, which
is the same while prefills are computed at one rate.

Source: Brinch Hansen, "An analysis of response ratio scheduling", IFIP 1971; SGLang 0.5.23, --schedule-policy hrrn.
"""

from llmqueue_gym.policies.serving.base import ServingPolicy


def rank(request, system, params):
    uncached = max(request.prompt + request.generated - request.cached, 1)
    return -(system.clock - request.arrival) / uncached


def hrrn_like() -> ServingPolicy:
    """Longest waited for each prompt token to compute first."""
    return ServingPolicy(
        "hrrn-like", rank, ages=True, source="Brinch Hansen, IFIP 1971; SGLang, --schedule-policy hrrn"
    )

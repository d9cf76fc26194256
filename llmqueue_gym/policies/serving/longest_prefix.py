"""Longest cached prefix first: who has most of its prompt in the cache goes first, plainly or with age against that.

What is reused before it is evicted need not be computed again; whoever shares nothing waits behind everybody that does,
for ever under overload. `longest-prefix-aged` counts every second of waiting as so many cached tokens, so that a
request is passed only by those of more hits than its wait is worth. `longest-prefix-bounded` puts whoever has waited
for longer than a bound before everybody else, the longest waiting first. Where nothing is cached all three are first
come first served.

Source: SGLang's lpm (Zheng et al., NeurIPS 2024), without its holding back of requests that share what is about to be
computed and its limit of 128 requests; the first age is as in Preble (Srivatsa et al., ICLR 2025), which keeps shares
for groups of few hits instead, and the second as in SSJF. The two rules are this library's.
"""

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.serving.base import ServingPolicy

_SOURCE = "SGLang, --schedule-policy lpm; Zheng et al., NeurIPS 2024"
_OVERDUE = -1e12  # tokens; more than any prompt has


def rank(request, system, params):
    return -request.cached


def rank_aged(request, system, params):
    return -request.cached - params[0] * (system.clock - request.arrival)


def rank_bounded(request, system, params):
    if system.clock - request.arrival > params[0]:
        return _OVERDUE + request.arrival
    return -request.cached


def longest_prefix() -> ServingPolicy:
    """Most cached tokens first."""
    return ServingPolicy("longest-prefix", rank, ages=True, source=_SOURCE)


def longest_prefix_aged(rate: float = 1000.0) -> ServingPolicy:
    """Most cached tokens first, a second of waiting counted as tokens.

    Args:
        rate: cached tokens that a second of waiting is worth.
    """
    if not rate >= 0:
        raise BadInput(f"longest-prefix-aged: rate={rate:g} must not be negative, in tokens/s")
    source = f"{_SOURCE}; linear ageing, this library's"
    return ServingPolicy("longest-prefix-aged", rank_aged, (rate,), ages=True, source=source)


def longest_prefix_bounded(longest_wait: float = 10.0) -> ServingPolicy:
    """Most cached tokens first, after those who have waited for too long.

    Args:
        longest_wait: s after which a request goes before all that have not waited for so long.
    """
    if not longest_wait >= 0:
        raise BadInput(f"longest-prefix-bounded: longest_wait={longest_wait:g} must not be negative, in s")
    source = f"{_SOURCE}; a bound as in Qiu et al. (SSJF), 2024, this library's"
    return ServingPolicy("longest-prefix-bounded", rank_bounded, (longest_wait,), ages=True, source=source)

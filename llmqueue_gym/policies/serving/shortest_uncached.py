"""Fewest tokens to compute first: the prompt less what the cache holds of it, and the output so far of the preempted.

By Smith's rule on the prefill alone: what a hit saves counts, and not how long it is. Output lengths are not looked at,
so no prediction is needed. Where nothing is cached it is shortest prompt first.

Source: SGLang 0.5.23, --schedule-policy shortest-prefill-first, without its holding back of requests that share what is
about to be computed.
"""

from llmqueue_gym.policies.serving.base import ServingPolicy


def rank(request, system, params):
    return max(request.prompt + request.generated - request.cached, 1)


def shortest_uncached() -> ServingPolicy:
    """Fewest prompt tokens to compute first."""
    source = "SGLang, --schedule-policy shortest-prefill-first"
    return ServingPolicy("shortest-uncached", rank, ages=True, source=source)

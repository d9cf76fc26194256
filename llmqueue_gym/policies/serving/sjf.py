"""Shortest job first among those that wait, by predicted output or by predicted total length.

The prediction is the present one, so it follows a predictor that is asked again. Nobody is preempted but where memory
is short, and then the request of largest rank.

Source: Fu et al., "Efficient LLM Scheduling by Learning to Rank", NeurIPS 2024, where SJF is a baseline.
"""

from llmqueue_gym.policies.serving.base import ServingPolicy

_SOURCE = "Fu et al., Efficient LLM Scheduling by Learning to Rank, NeurIPS 2024 (baseline)"


def rank(request, system, params):
    return request.predicted


def rank_total(request, system, params):
    return request.prompt + request.predicted


def sjf() -> ServingPolicy:
    """Shortest predicted output first; who runs is not displaced."""
    return ServingPolicy("sjf", rank, source=_SOURCE)


def sjf_total() -> ServingPolicy:
    """Shortest prompt and predicted output together first; who runs is not displaced."""
    return ServingPolicy("sjf-total", rank_total, source=_SOURCE)

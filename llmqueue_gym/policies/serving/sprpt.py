"""Shortest predicted remaining output first, with preemption; `srpt` is told the true length.

A waiting request displaces the running one that has most left, if that is more than its own.

Source: Mitzenmacher, "Scheduling with Predictions and the Price of Misprediction", ITCS 2020, for one server; Shahout
et al. (Trail), ICLR 2025, for batches.
"""

from dataclasses import replace

from llmqueue_gym.policies.serving.base import ServingPolicy

_SOURCE = "Mitzenmacher, ITCS 2020; Shahout et al., Don't Stop Me Now (Trail), ICLR 2025"


def rank(request, system, params):
    return request.predicted - request.generated


def sprpt() -> ServingPolicy:
    """Shortest predicted remaining output first; running requests are displaced."""
    return ServingPolicy("sprpt", rank, displaces=True, source=_SOURCE)


def srpt() -> ServingPolicy:
    """Shortest remaining output first: sprpt that is told the true length."""
    return replace(sprpt(), name="srpt", predictor="exact")

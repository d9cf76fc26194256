"""Least predicted work: output tokens that are predicted to be left, and prompt tokens to be read at their price.

A prompt token takes a share of the time that an output token takes of a request in a batch.
"""

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.routing.base import RoutingPolicy


def score(request, site, params):
    return site.work + params[0] * site.pending


def least_work(prompt: float = 0.1) -> RoutingPolicy:
    """Least predicted work.

    Args:
        prompt: output tokens that a prompt token counts as.
    """
    if not prompt >= 0:
        raise BadInput(f"least-work: prompt={prompt:g} cannot be negative")
    source = "least work left with predictions: Mitzenmacher, Dell'Amico, arXiv 1905.12155, of requests"
    return RoutingPolicy("least-work", score, params=(float(prompt),), source=source)

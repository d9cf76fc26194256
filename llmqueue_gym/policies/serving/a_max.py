"""A_max: MC-SF with the upper ends of predicted intervals; safe where they hold, wasteful where they are wide.

Source: Chen, Ye, Zhou, arXiv 2508.14544.
"""

from llmqueue_gym.policies.serving.base import ServingPolicy


def upper(request, system, params):
    return request.upper


def a_max() -> ServingPolicy:
    """Smallest upper end first, admitted if memory suffices up to the upper ends."""
    return ServingPolicy("a-max", upper, length=upper, admission="peak", source="Chen, Ye, Zhou, arXiv 2508.14544")

"""A_min: MC-SF with the lower ends of predicted intervals, which are raised as generation goes past them.

A request counts as long as its lower end, or as one token more than it has generated if that is more. The smallest is
admitted first; where memory is short the smallest is evicted first and goes back to the queue with what was learned.

"-like": the paper's pseudo-code was not at hand, only its abstract and introduction. How the bound is raised, and that
memory is looked ahead by these bounds, is this library's reading. Evicted requests keep the tokens that they have
generated and recompute the cache.

Source: Chen, Ye, Zhou, arXiv 2508.14544.
"""

from llmqueue_gym.policies.serving.base import ServingPolicy


def learned(request, system, params):
    return max(request.lower, request.generated + 1.0)


def victim(request, system, params):
    return -max(request.lower, request.generated + 1.0)


def a_min_like() -> ServingPolicy:
    """Smallest learned lower end first, admitted if memory suffices up to these; the smallest is evicted first."""
    source = "Chen, Ye, Zhou, arXiv 2508.14544, by its abstract and introduction"
    return ServingPolicy("a-min-like", learned, victim=victim, length=learned, admission="peak", source=source)

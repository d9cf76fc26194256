"""Earliest deadline first; who has no deadline comes after all who have one."""

from llmqueue_gym.policies.serving.base import ServingPolicy


def rank(request, system, params):
    return request.deadline


def edf(displaces: bool = False) -> ServingPolicy:
    """Earliest deadline first.

    Args:
        displaces: whether a waiting request takes the place of a running one of a later deadline.
    """
    source = "Liu, Layland, Scheduling algorithms for multiprogramming in a hard-real-time environment, JACM 1973"
    return ServingPolicy("edf", rank, displaces=displaces, source=source)

"""Strict priority of classes: the smallest class number first, first come first served within a class."""

from llmqueue_gym.policies.serving.base import ServingPolicy


def rank(request, system, params):
    return request.klass


def class_priority(displaces: bool = False) -> ServingPolicy:
    """Smallest class number first.

    Args:
        displaces: whether a waiting request takes the place of a running one of a larger class number.
    """
    source = "Cobham, Priority assignment in waiting line problems, Operations Research 1954"
    return ServingPolicy("class-priority", rank, displaces=displaces, source=source)

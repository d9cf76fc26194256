"""Parrot's task groups: calls that became ready together are served together, the largest groups of a time first.

Whoever waits for a group waits for its last call, so members of one group have one rank. Groups go in order of
their coming, to which each of their calls that is more than one gives `head_start` s.

Source: Lin et al., "Parrot: Efficient Serving of LLM-based Applications with Semantic Variable", OSDI 2024, which
schedules the calls of a group to one end; the head start is this library's.
"""

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.serving.base import ServingPolicy


def rank(request, system, params):
    return request.arrival - params[0] * (request.siblings - 1)


def parrot_groups(head_start: float = 1.0) -> ServingPolicy:
    """Groups of calls, the largest first.

    Args:
        head_start: s by which a group goes before its coming, for each call beyond the first.
    """
    if not head_start >= 0:
        raise BadInput(f"parrot-groups: head_start={head_start:g} s must not be negative")
    return ServingPolicy("parrot-groups", rank, (head_start,), source="Lin et al., Parrot, OSDI 2024")

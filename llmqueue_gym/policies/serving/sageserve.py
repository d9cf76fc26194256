"""SageServe's order of classes with deadlines: class 0 is interactive and fast, class 1 interactive, others are not.

Served first is who has badly missed his deadline, then who is near it, class 0 before class 1, then the others of these
two, class 0 first, then who has just missed his, and those of other classes last, until their deadline is near; then
they count as class 1. Within each of these, the earliest deadline is first.

"-like": the paper gives the order, but not what near and badly are; here they are shares of the time from arrival to
deadline.

Source: Jaiswal et al., "SageServe", POMACS 2025, deadline and priority aware scheduling.
"""

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.serving.base import ServingPolicy

_TIER = 1e12  # s, beyond any clock


def rank(request, system, params):
    if not request.deadline < _TIER:
        return 7.0 * _TIER + request.arrival
    allowed, left = request.deadline - request.arrival, request.deadline - system.clock
    if left < 0.0:
        return (0.0 if -left > params[1] * allowed else 5.0) * _TIER + request.deadline
    if left < params[0] * allowed:
        return (1.0 if request.klass == 0 else 2.0) * _TIER + request.deadline
    if request.klass < 2:
        return (3.0 + request.klass) * _TIER + request.deadline
    return 6.0 * _TIER + request.deadline


def sageserve_like(urgent: float = 0.5, badly: float = 1.0) -> ServingPolicy:
    """SageServe's order of interactive and other requests, by how near their deadlines are.

    Args:
        urgent: share of the time from arrival to deadline that is left when a request becomes urgent.
        badly: share of that time by which a deadline is badly missed.
    """
    if not (0 <= urgent <= 1 and badly >= 0):
        raise BadInput(f"sageserve-like: urgent={urgent:g} must lie between 0 and 1, and badly={badly:g} from 0 on")
    return ServingPolicy(
        "sageserve-like", rank, (urgent, badly), ages=True, source="Jaiswal et al., SageServe, POMACS 2025"
    )

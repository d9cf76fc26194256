"""Fewest requests that were sent there and have not been answered: of all replicas, or of d drawn at random.

The router counts them itself, so they are right however old the replicas' reports are.
"""

from llmqueue_gym.policies.routing.base import RoutingPolicy


def score(request, site, params):
    return site.outstanding


def least_outstanding() -> RoutingPolicy:
    """Fewest outstanding requests among all replicas."""
    return RoutingPolicy("least-outstanding", score, source="Vidur, microsoft/vidur, lor_global_scheduler")


def power_of_d(d: int = 2) -> RoutingPolicy:
    """Fewest outstanding requests among d replicas drawn at random."""
    source = "Mitzenmacher, The Power of Two Choices in Randomized Load Balancing, IEEE TPDS 2001"
    return RoutingPolicy("power-of-d", score, looks="sample", d=d, source=source)

"""Round robin: one replica after another."""

from llmqueue_gym.policies.routing.base import RoutingPolicy


def score(request, site, params):
    return 0.0


def round_robin() -> RoutingPolicy:
    return RoutingPolicy("round-robin", score, looks="turn", source="Vidur, microsoft/vidur, round robin scheduler")

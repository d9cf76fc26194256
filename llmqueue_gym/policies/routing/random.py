"""Random: each request goes to a replica drawn at random, whatever its state."""

from llmqueue_gym.policies.routing.base import RoutingPolicy


def score(request, site, params):
    return 0.0


def random() -> RoutingPolicy:
    return RoutingPolicy("random", score, looks="sample", source="independent replicas, each with its share")

"""Fewest prompt tokens of requests that were sent there and have not been answered, by the router's own count."""

from llmqueue_gym.policies.routing.base import RoutingPolicy


def score(request, site, params):
    return site.tokens


def least_tokens() -> RoutingPolicy:
    return RoutingPolicy("least-tokens", score, source="llm-d inference scheduler, token load scorer")

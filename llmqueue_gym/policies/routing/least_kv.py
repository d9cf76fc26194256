"""Least share of the KV cache in use, as the replicas report it."""

from llmqueue_gym.policies.routing.base import RoutingPolicy


def score(request, site, params):
    return 1.0 - site.free / site.blocks


def least_kv() -> RoutingPolicy:
    return RoutingPolicy("least-kv", score, source="llm-d inference scheduler, KV utilisation scorer")

"""Least pending tokens: those of prompts that are not read yet, and one for each request."""

from llmqueue_gym.policies.routing.base import RoutingPolicy


def score(request, site, params):
    return site.pending + site.outstanding


def token_jsq() -> RoutingPolicy:
    """Least prompt tokens that are not read yet, and one more for each request; Splitwise's junction."""
    return RoutingPolicy(
        "token-jsq", score, ties="first", source="token_jsq of Mutinifni/splitwise-sim (Splitwise, ISCA 2024)"
    )

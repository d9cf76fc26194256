"""vLLM production stack's prefix-aware router: to the replica that was sent the longest beginning of the prompt before.

One of several that know as much is drawn, so that prompts that nobody knows are spread at random. It looks at no load.

"-like": its record is over pieces of 128 letters and forgets nothing; here it is over blocks of tokens, and bounded.

Source: vllm-project/production-stack, routing_logic.py, PrefixAwareRouter.
"""

from llmqueue_gym.policies.routing.base import RoutingPolicy


def score(request, site, params):
    return -site.known


def prefix_aware_like() -> RoutingPolicy:
    """Longest beginning of the prompt that was sent there."""
    return RoutingPolicy("prefix-aware-like", score, source="vllm-project/production-stack, PrefixAwareRouter")

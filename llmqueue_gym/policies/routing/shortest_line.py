"""The shortest line of those who wait for an iteration, as DistServe's dispatchers see it."""

from llmqueue_gym.policies.routing.base import RoutingPolicy

SOURCE = "simdistserve of LLMServe/DistServe 82831f1 (Zhong et al., DistServe, OSDI 2024)"


def prompts(request, site, params):
    return site.reading


def idle(request, site, params):
    return site.idle


def fewest_prompts() -> RoutingPolicy:
    """Fewest requests whose prompt is not read yet."""
    return RoutingPolicy("fewest-prompts", prompts, ties="first", source=SOURCE)


def shortest_line() -> RoutingPolicy:
    """Fewest requests that are not in the iteration under way."""
    return RoutingPolicy("shortest-line", idle, ties="first", source=SOURCE)

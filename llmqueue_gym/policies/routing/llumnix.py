"""Llumnix: to the replica of most freeness, the iterations that its free memory lasts.

freeness = (free blocks - blocks that those who wait need) / (running + waiting), as every request takes about one block
in as many iterations as a block has tokens; larger is freer, and an idle replica is freest. The first of several is
chosen. Requests that move on later are an option of the fleet, not of the router.

Source: Sun et al., "Llumnix: Dynamic Scheduling for Large Language Model Serving", OSDI 2024; AlibabaPAI/llumnix,
remaining_steps.
"""

from llmqueue_gym.policies.routing.base import RoutingPolicy

_IDLE = 1e12  # blocks; more than there are


def score(request, site, params):
    here = site.running + site.waiting
    return -(site.free - site.wanted) / here if here > 0 else -_IDLE


def llumnix() -> RoutingPolicy:
    """Most freeness."""
    return RoutingPolicy("llumnix", score, ties="first", source="Sun et al., Llumnix, OSDI 2024; AlibabaPAI/llumnix")

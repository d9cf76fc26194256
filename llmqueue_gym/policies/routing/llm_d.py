"""llm-d's weighted scorers: short queue, free memory and known beginning of the prompt, each from 0 to 1, added up.

queue: (most - waiting) / (most - least) over the replicas, 1 where they are equal; kv: share of the blocks that are
free; prefix: share of the prompt that was sent there before. The largest sum is chosen, one of several drawn. The
weights are those of llm-d's default profile; BLIS has prefix 2, queue 1, kv 1.

Its prefix scorer keeps a record of what the router sent, as here; the precise one, which follows the caches, reads
`site.cached` (`precise=true`).

Source: llm-d inference scheduler, commit 520af478: queue, kv-cache-utilization and prefix-cache scorers.
"""

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.routing.base import RoutingPolicy


def weighted(waiting, lowest, highest, free, share, params):
    """Return the score, less is better."""
    queue = (highest - waiting) / (highest - lowest) if highest > lowest else 1.0
    return -(params[0] * queue + params[1] * free + params[2] * share)


def score(request, site, params):
    if site.asked == 0:
        return site.waiting
    share = site.known / request.prompt
    return weighted(site.waiting, site.lowest, site.highest, site.free / site.blocks, share, params)


def precise_score(request, site, params):
    if site.asked == 0:
        return site.waiting
    share = site.cached / request.prompt
    return weighted(site.waiting, site.lowest, site.highest, site.free / site.blocks, share, params)


def llm_d(queue: float = 2.0, kv: float = 2.0, prefix: float = 3.0, precise: bool = False) -> RoutingPolicy:
    """llm-d's weighted scorers.

    Args:
        queue: weight of a short queue.
        kv: of free memory.
        prefix: of what is known of the prompt.
        precise: whether that is what the cache holds, not what was sent.
    """
    if not min(queue, kv, prefix) >= 0:
        raise BadInput(f"llm-d: queue={queue:g}, kv={kv:g} and prefix={prefix:g} are weights and cannot be negative")
    chosen, params = precise_score if precise else score, (float(queue), float(kv), float(prefix))
    return RoutingPolicy("llm-d", chosen, params=params, source="llm-d inference scheduler, commit 520af478")

"""Splitwise's pools: replicas for prompts and for tokens, and those that are lent out to do both.

The router looks at prompts that are pending, the handover, `least-reserved`, at memory that is promised; both choose on
arrival. What has too much is passed over, and where all of its kind have, one of the other kind helps out.
"""

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.routing.base import REFUSED, RoutingPolicy

SOURCE = "mixed_pool of Mutinifni/splitwise-sim 8f99e7d (Patel et al., Splitwise, ISCA 2024)"


def pending(request, site, params):
    load = site.pending + site.promised
    return load + params[0] if site.waiting > 0 and load + request.prompt > params[1] else load


def reserved(request, site, params):
    load = float(site.reserved)
    return load + params[0] if load + request.prompt + request.predicted > site.blocks * params[1] else load


def tokens_of_blocks(profile, rules):
    return [REFUSED, rules.block_size]


def mixed_pool(most: int = 8192) -> RoutingPolicy:
    """Least pending tokens; with `--handover least-reserved` the mixed pool of Splitwise.

    Args:
        most: pending tokens beyond which a replica with a queue is passed over.
    """
    if most < 1:
        raise BadInput(f"mixed-pool: most={most} tokens must be at least 1")
    params = (REFUSED, float(most))
    return RoutingPolicy("mixed-pool", pending, params=params, paired=True, borrows=True, source=SOURCE)


def least_reserved() -> RoutingPolicy:
    """Least memory promised, to their ends, to all who were sent there; passed over where the request would not fit."""
    return RoutingPolicy("least-reserved", reserved, prepare=tokens_of_blocks, source=SOURCE)

"""InferCept: a context goes where computing it again wastes less than keeping it for the rest of the predicted time.

It is kept at first. In each iteration those for whom discarding wastes less than preserving are candidates; all but the
worst of them are dropped at once, and the worst (if several are alike, all of these) goes when memory is short, to the
host as far as InferCept's limits for an iteration allow, which are its own fit whatever the costs are.

Source: Abhyankar et al., "InferCept", ICML 2024; WukLab/InferCept 3a1a4da, scheduler_v2.py, api_policy V.
"""

from llmqueue_gym.policies.retention.base import NOBODY, RetentionPolicy
from llmqueue_gym.policies.retention.costs import PUBLISHED, check_costs, costs_of
from llmqueue_gym.policies.retention.waste import preserve_waste, swap_in_blocks, swap_out_blocks, wastes_by
from llmqueue_gym.requests import DISCARD, PRESERVE


def waste(away, system, params):
    context = away.blocks * away.block_size
    again, _ = wastes_by(context, away.scheduled, away.held, params)
    kept = preserve_waste(away.predicted_gap - (away.clock - away.since), context)
    return again if again < kept else NOBODY


def keep(away, system, params):
    mine = waste(away, system, params)
    return DISCARD if NOBODY < mine < away.worst else PRESERVE


def swap_in(away, system, params):
    return swap_in_blocks(away.free * away.block_size, away.block_size)


def swap_out(away, system, params):
    return swap_out_blocks(away.free * away.block_size, away.block_size)


def infercept(costs: str = "infercept") -> RetentionPolicy:
    """Least waste, asked again in each iteration.

    Args:
        costs: "infercept" for the published constants, "profile" for those of the replica.
    """
    check_costs("infercept", costs, "infercept")
    own = costs == "profile"
    return RetentionPolicy(
        "infercept",
        keep,
        waste,
        swap_in=swap_in,
        swap_out=swap_out,
        again=True,
        leaves="swap",
        params=() if own else PUBLISHED["infercept"],
        prepare=costs_of if own else None,
        source="Abhyankar et al., InferCept, ICML 2024; WukLab/InferCept, scheduler_v2.py",
    )

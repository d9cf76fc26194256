"""LAMPS, or MARS: what happens to a context is fixed before its call is scheduled, by the loads of then.

Of preserving, swapping and discarding the one of least waste is fixed, for the context that the call is predicted to
leave behind. In each iteration those away whose waste is below the largest do as was fixed; those of the largest stay,
and go first where memory is short. The rank that goes with it is `policies.serving.lamps`.

With the published constants discarding always wastes less than swapping, so that nobody is ever swapped. With those of
the replica (`costs=profile`) swapping wastes less where the link to the host is fast, or where those who run leave
little of the token budget.

Source: Shahout et al., "Fast Inference for Augmented Large Language Models" (LAMPS, MARS), NeurIPS 2025;
mars-repository/mars-codebase 4cedd10.
"""

import math

from llmqueue_gym.policies.retention.base import RetentionPolicy
from llmqueue_gym.policies.retention.costs import PUBLISHED, check_costs, costs_of
from llmqueue_gym.policies.retention.waste import preserve_waste, wastes_by
from llmqueue_gym.requests import DISCARD, PRESERVE, SWAP


def wastes(away, params):
    """Return what preserving, discarding and swapping waste."""
    context = away.blocks * away.block_size
    again, moved = wastes_by(context, away.scheduled, away.held, params)
    kept = preserve_waste(away.predicted_gap, context)
    return kept, again, moved


def fix(away, system, params):
    kept, again, moved = wastes(away, params)
    if kept <= again and kept <= moved:
        return PRESERVE
    return SWAP if moved <= kept and moved <= again else DISCARD


def waste(away, system, params):
    if not math.isnan(away.stored):
        return away.stored
    kept, again, moved = wastes(away, params)
    return min(kept, again, moved)


def keep(away, system, params):
    if waste(away, system, params) < away.worst:
        return fix(away, system, params) if math.isnan(away.strategy) else away.strategy
    return PRESERVE


def lamps(costs: str = "lamps") -> RetentionPolicy:
    """The least waste, fixed beforehand.

    Args:
        costs: "lamps" for the published constants, "profile" for those of the replica.
    """
    check_costs("lamps", costs, "lamps")
    own = costs == "profile"
    return RetentionPolicy(
        "lamps",
        keep,
        waste,
        fix,
        again=True,
        leaves="swap",
        params=() if own else PUBLISHED["lamps"],
        prepare=costs_of if own else None,
        source="Shahout et al., LAMPS (MARS), NeurIPS 2025; mars-repository/mars-codebase",
    )

"""PUCT: the mean value plus c p sqrt(N) / (1 + n), for a prior p, and n visits of its parent's N."""

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.expansion.base import ExpansionPolicy


def rank(node, params):
    return -(node.value + params[0] * node.prior * np.sqrt(float(node.parent_visits)) / (1.0 + node.visits))


def puct(c: float = 1.4) -> ExpansionPolicy:
    """UCT with a prior, as in AlphaGo Zero.

    Args:
        c: weight of what is unknown, 0 or more.
    """
    if not c >= 0:
        raise BadInput(f"puct: c={c:g} must not be negative, for example 1.4")
    source = "Rosin, Multi-armed Bandits with Episode Context, 2011; Silver et al., AlphaGo Zero, Nature 2017"
    return ExpansionPolicy("puct", rank, descends=True, params=(c,), source=source)

"""UCT: the mean value plus c sqrt(ln N / n) for n visits of its parent's N; who was never visited goes first."""

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.expansion.base import ExpansionPolicy


def rank(node, params):
    if node.visits == 0:
        return -np.inf
    return -(node.value + params[0] * np.sqrt(np.log(float(node.parent_visits)) / node.visits))


def uct(c: float = 1.4) -> ExpansionPolicy:
    """Upper confidence bounds applied to trees.

    Args:
        c: weight of what is unknown, 0 or more.
    """
    if not c >= 0:
        raise BadInput(f"uct: c={c:g} must not be negative, for example 1.4")
    source = "Kocsis, Szepesvari, Bandit Based Monte-Carlo Planning, ECML 2006"
    return ExpansionPolicy("uct", rank, descends=True, params=(c,), source=source)

"""By feedback alone: the model of greatest upper confidence bound (UCB1), of those of its class; first each once."""

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.choice.base import ChoicePolicy


def score(call, model, params):
    if model.trials == 0:
        return -np.inf
    return -(model.reward + params[0] * np.sqrt(np.log(float(max(call.calls, 1))) / model.trials))


def bandit(c: float = 1.4142135623730951) -> ChoicePolicy:
    """A bandit on feedback.

    Args:
        c: weight of what is not known, 0 or more; the root of 2 in UCB1.
    """
    if not c >= 0:
        raise BadInput(f"bandit: c={c:g} must not be negative, for example 1.4")
    source = "Auer, Cesa-Bianchi, Fischer, Finite-time Analysis of the Multiarmed Bandit Problem, Machine Learning 2002"
    return ChoicePolicy("bandit", score, params=(c,), source=source)

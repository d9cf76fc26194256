"""The model of least expected cost, where feedback on calls of the same kind says how often each is right.

What is predicted of the call itself can count as so many pieces of feedback, and what is little known is tried.
"""

from dataclasses import dataclass

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.choice.base import ChoicePolicy


def score(call, model, params):
    known = params[3] + model.trials
    if known == 0:
        return -np.inf
    quality = (params[3] * model.quality + model.trials * model.reward) / known
    quality += params[2] * np.sqrt(np.log(float(max(call.calls, 1))) / known)
    return model.wait + model.service + params[1] * model.price - params[0] * quality


@dataclass(frozen=True)
class Weights:
    """What a wrong answer and a USD are worth, s, and the numbers of the rule."""

    c: float
    prior: float

    def __call__(self, wrong: float, usd: float) -> np.ndarray:
        """Return them in the order of the parameters."""
        return np.array([wrong, usd, self.c, self.prior])


def bandit_cost(c: float = 0.1, prior: float = 0.0) -> ChoicePolicy:
    """Least cost by feedback.

    Args:
        c: weight of what is not known, 0 or more.
        prior: pieces of feedback that a prediction counts as, 0 or more; 0 does without predicted quality.
    """
    for name, value in (("c", c), ("prior", prior)):
        if not 0 <= value < np.inf:
            raise BadInput(f"bandit-cost: {name}={value:g} must be 0 or more and finite")
    source = "ours, for open question 5.2-c of Mitzenmacher and Shahout 2025, with the bonus of UCB1"
    return ChoicePolicy("bandit-cost", score, params=(c, prior), prepare=Weights(c, prior), source=source)

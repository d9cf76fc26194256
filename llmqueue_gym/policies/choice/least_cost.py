"""The model of least expected cost: its time, its price, and the price of a wrong answer, as predicted."""

import numpy as np

from llmqueue_gym.policies.choice.base import ChoicePolicy


def score(call, model, params):
    return model.wait + model.service + params[1] * model.price - params[0] * model.quality


def weights(wrong: float, usd: float) -> np.ndarray:
    """Return what a wrong answer and a USD are worth, s."""
    return np.array([wrong, usd])


def least_cost() -> ChoicePolicy:
    """Least expected cost."""
    source = "ours, for open question 5.2-b of Mitzenmacher and Shahout 2025: one step of the cost that is scored"
    return ChoicePolicy("least-cost", score, prepare=weights, source=source)

"""By quality, price and time: the model of most predicted quality, less what it costs and what it takes.

The price counts the more, the further the mean spending is above what is allowed, and the less below: a dual price of
the budget that follows it.
"""

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.choice.base import ChoicePolicy


def score(call, model, params):
    over = 0.0
    if call.allowed < np.inf and call.calls > 0:
        over = call.spent / call.allowed - 1.0
    price = params[0] * np.exp(min(params[2] * over, 50.0))
    return price * model.price + params[1] * (model.wait + model.service) - model.quality


def budgeted(price: float = 10.0, second: float = 0.01, gain: float = 5.0) -> ChoicePolicy:
    """Assignment within a budget.

    Args:
        price: quality that a USD is worth while the mean spending is what is allowed.
        second: quality that a s is worth.
        gain: how fast that price goes up with relative overspending.
    """
    for name, value in (("price", price), ("second", second), ("gain", gain)):
        if not 0 <= value < np.inf:
            raise BadInput(f"budgeted: {name}={value:g} must be 0 or more and finite")
    source = "ours, for open question 5.2-b of Mitzenmacher and Shahout 2025"
    return ChoicePolicy("budgeted", score, params=(price, second, gain), source=source)

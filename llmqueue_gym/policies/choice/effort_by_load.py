"""The busier the replicas, the weaker the model, or the less the effort: the strongest below `low`, the weakest above.

Between the two loads the strength goes down in even steps.
"""

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.choice.base import ChoicePolicy


def score(call, model, params):
    share = (params[1] - call.load) / (params[1] - params[0])
    wanted = np.rint(min(max(share, 0.0), 1.0) * (model.models - 1))
    return abs(model.strength - wanted)


def effort_by_load(low: float = 0.5, high: float = 0.9) -> ChoicePolicy:
    """Effort by load.

    Args:
        low: share of seats taken up to which the strongest model is asked.
        high: from which on it is the weakest.
    """
    if not 0 <= low < high:
        raise BadInput(f"effort-by-load: low={low:g} must be from 0 to below high={high:g}")
    source = "ours, for open question 5.2-d of Mitzenmacher and Shahout 2025"
    return ChoicePolicy("effort-by-load", score, params=(low, high), source=source)

"""Once the answers agree enough: certaindex, 1 less their entropy over the most that so many could have."""

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.stopping.base import StoppingPolicy


def stops(told, params):
    if told.answers < params[1]:
        return False
    return 1.0 - told.entropy / np.log2(float(told.answers)) >= params[0]


def certaindex(threshold: float = 0.8, least: int = 4) -> StoppingPolicy:
    """A certaindex of at least a threshold.

    Args:
        threshold: in (0, 1]; to be chosen for each task so that the accuracy is kept.
        least: answers before it may stop, 2 or more: one alone is always certain.
    """
    if not 0 < threshold <= 1:
        raise BadInput(f"certaindex: threshold={threshold:g} must lie in (0, 1], for example 0.8")
    if least < 2:
        raise BadInput(f"certaindex: least={least} answers; 2 or more, as one alone is always certain")
    source = "Fu et al., Efficiently Scaling LLM Reasoning with Certaindex, NeurIPS 2025"
    return StoppingPolicy("certaindex", stops, params=(threshold, float(least)), source=source)

"""Once the branches are predicted to be right with at least some probability on average: certaindex of a search."""

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.stopping.base import StoppingPolicy


def stops(told, params):
    return told.answers >= params[1] and told.mean_score >= params[0]


def mean_score(threshold: float = 0.9, least: int = 1) -> StoppingPolicy:
    """A mean score of at least a threshold.

    Args:
        threshold: in (0, 1].
        least: answers before it may stop.
    """
    if not 0 < threshold <= 1:
        raise BadInput(f"mean-score: threshold={threshold:g} must lie in (0, 1], for example 0.9")
    if least < 1:
        raise BadInput(f"mean-score: least={least} answers; 1 or more")
    source = "Fu et al., Efficiently Scaling LLM Reasoning with Certaindex, NeurIPS 2025"
    return StoppingPolicy("mean-score", stops, params=(threshold, float(least)), source=source)

"""After its predicted depth times some slack, where the prediction is trusted; what is not trusted goes on."""

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.stopping.base import StoppingPolicy


def stops(told, params):
    return told.confidence >= params[1] and told.tokens >= params[0] * told.predicted


def predicted_budget(slack: float = 1.5, confidence: float = 0.0, every: int = 64) -> StoppingPolicy:
    """A budget by predicted depth.

    Args:
        slack: times the predicted depth that it may spend.
        confidence: below which a prediction is no reason to stop, in [0, 1].
        every: tokens from one probe to the next, at which it may stop.
    """
    if not slack > 0:
        raise BadInput(f"predicted-budget: slack={slack:g} must be positive, for example 1.5")
    if not 0 <= confidence <= 1:
        raise BadInput(f"predicted-budget: confidence={confidence:g} must lie in [0, 1]")
    if every < 1:
        raise BadInput(f"predicted-budget: every={every} tokens; 1 or more")
    source = "ours, for open question 6-c of Mitzenmacher and Shahout 2025"
    return StoppingPolicy("predicted-budget", stops, every=every, params=(slack, confidence), source=source)

"""Prediction servers with a bypass: who finds a long line in front of them goes to the server unpredicted.

The predicted are served by SPRPT, the others first come first served, as one class before or behind them.
"""

from llmqueue_gym.errors import BadInput
from llmqueue_gym.jobs import EXPENSIVE, SERVE
from llmqueue_gym.policies.predicting.base import PREDICTED, PredictingPolicy
from llmqueue_gym.policies.predicting.selective import blind_first_rank, blind_last_rank


def ask(job, stage, params):
    return EXPENSIVE if stage.predicting < params[0] and not stage.known & PREDICTED else SERVE


def bypass(limit: int = 4, blind_first: bool = True) -> PredictingPolicy:
    """Predicted unless too many wait for their prediction, by SPRPT; the others first come first served.

    Args:
        limit: jobs that wait for a prediction or are being predicted from which on an arrival goes without.
        blind_first: whether jobs that are not predicted go before those that are.
    """
    if limit < 0:
        raise BadInput(f"bypass: limit={limit} must be 0, which predicts nobody, or more")
    rank = blind_first_rank if blind_first else blind_last_rank
    source = "Mitzenmacher, Shahout, Queueing, Predictions, and LLMs, 2025, section 2.4"
    return PredictingPolicy("bypass", rank, ask, params=(float(limit),), shape="falling", source=source)

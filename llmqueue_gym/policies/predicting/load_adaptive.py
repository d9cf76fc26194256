"""Predictions only under load: a job is predicted if it finds enough others in system, and is served by SPRPT then.

Those who are not predicted are served first come first served, as one class before or behind the predicted.
"""

from llmqueue_gym.errors import BadInput
from llmqueue_gym.jobs import EXPENSIVE, SERVE
from llmqueue_gym.policies.predicting.base import PREDICTED, PredictingPolicy
from llmqueue_gym.policies.predicting.selective import blind_first_rank, blind_last_rank


def ask(job, stage, params):
    return EXPENSIVE if stage.in_system >= params[0] and not stage.known & PREDICTED else SERVE


def load_adaptive(at_least: int = 4, blind_first: bool = True) -> PredictingPolicy:
    """Predicted only if so many are in system, by SPRPT; the others first come first served.

    Args:
        at_least: jobs in system on arrival, the arrival included, from which on it is predicted; 1 predicts everybody.
        blind_first: whether jobs that are not predicted go before those that are.
    """
    if at_least < 1:
        raise BadInput(f"load-adaptive: at_least={at_least} must be at least 1, which predicts everybody")
    rank = blind_first_rank if blind_first else blind_last_rank
    source = "Mitzenmacher, Shahout, Queueing, Predictions, and LLMs, 2025, section 2.4"
    return PredictingPolicy("load-adaptive", rank, ask, params=(float(at_least),), shape="falling", source=source)

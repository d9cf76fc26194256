"""Selective prediction: a share of the jobs is predicted and served by SPRPT, the others first come first served.

One of the two classes goes before the other. With p = 0 it is first come first served, with p = 1 SPRPT that pays for
everybody. The coin of each job is drawn beforehand, so runs at another p toss the same ones.
"""

from llmqueue_gym.errors import BadInput
from llmqueue_gym.jobs import EXPENSIVE, SERVE
from llmqueue_gym.policies.predicting.base import FIRST, LAST, PREDICTED, SECOND, PredictingPolicy


def blind_first_rank(job, stage, params):
    if stage.kind == EXPENSIVE:
        return SECOND
    return job.predicted - job.age if stage.known & PREDICTED else FIRST


def blind_last_rank(job, stage, params):
    if stage.kind == EXPENSIVE:
        return SECOND
    return job.predicted - job.age if stage.known & PREDICTED else LAST


def ask(job, stage, params):
    return EXPENSIVE if stage.coin < params[0] and not stage.known & PREDICTED else SERVE


def selective(p: float = 0.5, blind_first: bool = True) -> PredictingPolicy:
    """A share of the jobs predicted and served by SPRPT, the others first come first served.

    Args:
        p: the share, from 0 to 1.
        blind_first: whether jobs that are not predicted go before those that are.
    """
    if not 0 <= p <= 1:
        raise BadInput(f"selective: p={p:g} must lie in [0, 1]")
    rank = blind_first_rank if blind_first else blind_last_rank
    source = "Mitzenmacher, Shahout, Queueing, Predictions, and LLMs, 2025, section 2.4"
    return PredictingPolicy("selective", rank, ask, params=(p,), shape="falling", source=source)

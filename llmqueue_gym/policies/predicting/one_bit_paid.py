"""Everybody gets the cheap prediction of one bit: short jobs go before long ones, each by order of arrival.

Where predictions take the server's time the order is short jobs, predictions, long jobs.
"""

from llmqueue_gym.errors import BadInput
from llmqueue_gym.jobs import CHEAP, SERVE
from llmqueue_gym.policies.predicting.base import FIRST, LAST, SECOND, PredictingPolicy


def rank(job, stage, params):
    if stage.kind == CHEAP:
        return SECOND
    return FIRST if job.klass == 0 else LAST


def ask(job, stage, params):
    return CHEAP if stage.known == 0 else SERVE


def one_bit_paid(threshold: float = 1.0) -> PredictingPolicy:
    """Predicted short before predicted long, by the cheap prediction alone.

    Args:
        threshold: s; a cheap prediction of at most this is short.
    """
    if not threshold > 0:
        raise BadInput(f"one-bit-paid: threshold={threshold:g} must be positive, as in one-bit-paid:threshold=1")
    source = "Shahout, Mitzenmacher, SkipPredict, NeurIPS 2024"
    return PredictingPolicy("one-bit-paid", rank, ask, edges=(threshold,), shape="constant", source=source)

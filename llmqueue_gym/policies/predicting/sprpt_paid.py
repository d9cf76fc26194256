"""Everybody's size is predicted on arrival, and the shortest predicted remaining time is served first.

Where predictions take the server's time they go before all jobs.
"""

from llmqueue_gym.jobs import EXPENSIVE
from llmqueue_gym.policies.predicting.base import FIRST, PredictingPolicy, everybody


def rank(job, stage, params):
    return FIRST if stage.kind == EXPENSIVE else job.predicted - job.age


def sprpt_paid() -> PredictingPolicy:
    """SPRPT that pays for the prediction of every job."""
    source = "Shahout, Mitzenmacher, SkipPredict, NeurIPS 2024"
    return PredictingPolicy("sprpt-paid", rank, everybody, shape="falling", source=source)

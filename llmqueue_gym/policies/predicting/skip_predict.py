"""SkipPredict: a cheap prediction of one bit for everybody, and that of the size for those alone whom it calls long.

Short jobs are served first come first served, before all others; long ones by shortest predicted remaining time. Where
predictions take the server's time the order is short jobs, cheap predictions, expensive predictions, long jobs.

Source: Shahout, Mitzenmacher, "SkipPredict: When to Invest in Predictions for Scheduling", NeurIPS 2024.
"""

from llmqueue_gym.errors import BadInput
from llmqueue_gym.jobs import CHEAP, EXPENSIVE, SERVE
from llmqueue_gym.policies.predicting.base import FIRST, SECOND, THIRD, PredictingPolicy


def rank(job, stage, params):
    if stage.kind == CHEAP:
        return SECOND
    if stage.kind == EXPENSIVE:
        return THIRD
    return FIRST if job.klass == 0 else job.predicted - job.age


def ask(job, stage, params):
    if stage.known == 0:
        return CHEAP
    return EXPENSIVE if stage.known == 1 and job.klass > 0 else SERVE


def skip_predict(threshold: float = 1.0) -> PredictingPolicy:
    """Short by the cheap prediction first come first served, the others predicted and by SPRPT behind them.

    Args:
        threshold: s; a cheap prediction of at most this is short.
    """
    if not threshold > 0:
        raise BadInput(f"skip-predict: threshold={threshold:g} must be positive, as in skip-predict:threshold=1")
    source = "Shahout, Mitzenmacher, SkipPredict, NeurIPS 2024"
    return PredictingPolicy("skip-predict", rank, ask, edges=(threshold,), shape="falling", source=source)

"""DelayPredict: first come first served up to a limit of service, and a prediction for those alone who are not done.

They are served behind all who are below the limit, by shortest predicted remaining time. Where predictions take the
server's time the order is jobs below the limit, predictions, the others.

Source: Shahout, Mitzenmacher, "SkipPredict: When to Invest in Predictions for Scheduling", NeurIPS 2024.
"""

from llmqueue_gym.errors import BadInput
from llmqueue_gym.jobs import EXPENSIVE, SERVE
from llmqueue_gym.policies.predicting.base import FIRST, SECOND, PredictingPolicy


def rank(job, stage, params):
    if stage.kind == EXPENSIVE:
        return SECOND
    return FIRST if stage.known == 0 else job.predicted - job.age


def ask(job, stage, params):
    return EXPENSIVE if job.age >= params[0] else SERVE


def delay_predict(limit: float = 1.0) -> PredictingPolicy:
    """First come first served up to an age, then predicted and by SPRPT behind the others.

    Args:
        limit: s of service after which a job is predicted.
    """
    if not limit > 0:
        raise BadInput(f"delay-predict: limit={limit:g} must be positive, as in delay-predict:limit=1")
    source = "Shahout, Mitzenmacher, SkipPredict, NeurIPS 2024"
    return PredictingPolicy("delay-predict", rank, ask, pause=limit, params=(limit,), shape="falling", source=source)

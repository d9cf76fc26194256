"""Profiling: a job runs at a lower speed for a while, which tells its size; then it is served by SPRPT.

Jobs in their profile go first, by order of arrival; the short ones are done before it ends.
"""

from llmqueue_gym.jobs import PROFILE, SERVE
from llmqueue_gym.policies.predicting.base import FIRST, PREDICTED, PredictingPolicy


def rank(job, stage, params):
    return job.predicted - job.age if stage.known & PREDICTED else FIRST


def ask(job, stage, params):
    return SERVE if stage.known & PREDICTED else PROFILE


def profile() -> PredictingPolicy:
    """Everybody is profiled first and then served by SPRPT; needs `profile=` in the predictor's cost."""
    source = "Mitzenmacher, Shahout, Queueing, Predictions, and LLMs, 2025, section 2.4"
    return PredictingPolicy("profile", rank, ask, shape="falling", source=source)

"""First come first served, which predicts nobody and pays nothing."""

from llmqueue_gym.policies.predicting.base import PredictingPolicy


def rank(job, stage, params):
    return job.arrival


def fcfs() -> PredictingPolicy:
    """First come first served; nobody is predicted."""
    return PredictingPolicy("fcfs", rank, shape="constant", source="classical")

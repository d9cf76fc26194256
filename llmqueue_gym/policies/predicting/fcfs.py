"""First come first served, which predicts nobody and pays nothing; every job has the same rank."""

from llmqueue_gym.policies.predicting.base import PredictingPolicy


def rank(job, stage, params):
    return 0.0


def fcfs() -> PredictingPolicy:
    """First come first served; nobody is predicted."""
    return PredictingPolicy("fcfs", rank, shape="constant", source="classical")

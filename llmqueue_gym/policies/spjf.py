"""Shortest predicted job first, without preemption; `sjf` is told the true size."""

from llmqueue_gym.policies.base import Policy


def rank(job, params):
    return job.predicted


def spjf() -> Policy:
    """Shortest predicted job first, without preemption."""
    source = "Mitzenmacher, Scheduling with Predictions and the Price of Misprediction, ITCS 2020"
    return Policy("spjf", rank, preemptive=False, shape="constant", formula="spjf", source=source)


def sjf() -> Policy:
    """Shortest job first: spjf that is told the true size."""
    return spjf().with_exact_sizes("sjf")

"""Shortest predicted job first, without preemption; `sjf` is told the true size."""

from llmqueue_gym.policies.base import Policy


def rank(job, params):
    return job.predicted


def spjf() -> Policy:
    source = "Mitzenmacher, Scheduling with Predictions and the Price of Misprediction, ITCS 2020"
    return Policy("spjf", rank, preemptive=False, shape="constant", formula="spjf", source=source)


def sjf() -> Policy:
    return spjf().with_exact_sizes("sjf")

"""Preemptive shortest predicted job first, by the original prediction; `psjf` is told the true size."""

from llmqueue_gym.policies.base import Policy


def rank(job, params):
    return job.predicted


def pspjf() -> Policy:
    """Preemptive shortest predicted job first, by the original prediction."""
    source = "Mitzenmacher, Scheduling with Predictions and the Price of Misprediction, ITCS 2020"
    return Policy("pspjf", rank, shape="constant", formula="pspjf", source=source)


def psjf() -> Policy:
    """Preemptive shortest job first: pspjf that is told the true size."""
    return pspjf().with_exact_sizes("psjf")

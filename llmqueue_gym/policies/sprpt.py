"""Shortest predicted remaining processing time; `srpt` is told the true size and is optimal for mean response.

A job that outlives its prediction has a negative rank, so nothing can preempt it.
"""

from llmqueue_gym.policies.base import Policy


def rank(job, params):
    return job.predicted - job.age


def sprpt() -> Policy:
    source = "Mitzenmacher, Scheduling with Predictions and the Price of Misprediction, ITCS 2020"
    return Policy("sprpt", rank, shape="falling", formula="sprpt", source=source)


def srpt() -> Policy:
    return sprpt().with_exact_sizes("srpt")

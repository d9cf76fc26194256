"""Shortest predicted remaining processing time; `srpt` is told the true size and is optimal for mean response.

A job that outlives its prediction has a negative rank, so nothing can preempt it.
"""

from llmqueue_gym.policies.base import Policy


def rank(job, params):
    return job.predicted - job.age


def sprpt() -> Policy:
    """Shortest predicted remaining processing time."""
    source = "Mitzenmacher, Scheduling with Predictions and the Price of Misprediction, ITCS 2020"
    return Policy("sprpt", rank, shape="falling", formula="sprpt", source=source)


def srpt() -> Policy:
    """Shortest remaining processing time: sprpt that is told the true size; optimal for mean response."""
    return sprpt().with_exact_sizes("srpt")

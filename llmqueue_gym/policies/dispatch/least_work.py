"""Least predicted work: by the predicted sizes of the jobs in a queue, or by what is left of them.

With d = 0 it looks at all queues, which is known as least loaded. Exact predictions make the second least work left.

Source: Mitzenmacher, Dell'Amico, The Supermarket Model with Known and Predicted Service Times, arXiv 1905.12155.
"""

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.dispatch.base import DispatchPolicy

_SOURCE = "Mitzenmacher, Dell'Amico, arXiv 1905.12155"


def score(job, queue, params):
    return queue.work / queue.speed


def score_left(job, queue, params):
    return queue.left / queue.speed


def least_work(d: int = 2) -> DispatchPolicy:
    """Least sum of predicted sizes."""
    return _least("least-work", score, d)


def least_work_left(d: int = 2) -> DispatchPolicy:
    """Least predicted work left."""
    return _least("least-work-left", score_left, d)


def _least(name, score, d):
    if d < 0:
        raise BadInput(f"{name}: d={d} queues cannot be looked at; 0 looks at all")
    return DispatchPolicy(name, score, looks="sample" if d else "all", d=max(d, 1), source=_SOURCE)

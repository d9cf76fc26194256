"""A learned way of sending a job to one of several queues: the least score is joined.

Features of the arriving job and one queue, times in units of `scale`: jobs in the queue, log(1 + jobs), predicted work,
log(w + 0.01) of it, predicted work left, log(l + 0.01) of it, waiting jobs of the arrival's kind (its side of the
split), log(p + 0.01) of the job's prediction; all but the last two over the server's speed.
"""

import math

import numpy as np

from llmqueue_gym.policies.dispatch.base import DispatchPolicy
from llmqueue_gym.policies.learned.network import checked, value

FEATURES = ("jobs", "log jobs", "work", "log work", "work left", "log work left", "waiting alike", "log predicted")


def score(job, queue, params):
    n = queue.jobs / queue.speed
    w = queue.work / (params[1] * queue.speed)
    left = queue.left / (params[1] * queue.speed)
    own = math.log(job.predicted / params[1] + 0.01)
    x = (n, math.log(1.0 + n), w, math.log(w + 0.01), left, math.log(left + 0.01), float(queue.alike), own)
    return value(x, params)


def dispatch_score(name: str, params: np.ndarray, source: str, **traits: object) -> DispatchPolicy:
    """Return a network as a dispatcher; it samples one queue unless told otherwise."""
    numbers = checked(params, len(FEATURES))
    return DispatchPolicy(name, score, params=numbers, source=source, **traits)  # type: ignore[arg-type]

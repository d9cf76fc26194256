"""A learned order for several servers that share a queue, for impatient jobs too.

Features, times in units of `scale`: log(p + 0.01) of the predicted size, p, log(d + 0.01) of the time from arrival to
deadline (0 where there is none), and the arrival time. A weight on the arrival ages jobs: whoever waits comes nearer to
the front, and no rank has to be taken anew for it.
"""

import math

import numpy as np

from llmqueue_gym.policies.base import Policy
from llmqueue_gym.policies.learned.network import checked, value

FEATURES = ("log predicted", "predicted", "log time to deadline", "arrival")


def rank(job, params):
    p = job.predicted / params[1]
    d = 0.0
    if job.deadline < math.inf:
        d = math.log((job.deadline - job.arrival) / params[1] + 0.01)
    # The arrival grows without bound, so it goes past the hidden units.
    return value((math.log(p + 0.01), p, d), params) + params[len(params) - 1] * (job.arrival / params[1])


def cluster_order(name: str, params: np.ndarray, source: str, **traits: object) -> Policy:
    """Return a network as the order of a queue that several servers share; without preemption unless told otherwise."""
    numbers = checked(params, len(FEATURES) - 1, direct=1)  # the weight of the arrival
    told = {"preemptive": False, "shape": "constant", **traits}
    return Policy(name, rank, numbers, source=source, **told)  # type: ignore[arg-type]

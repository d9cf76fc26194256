"""A learned order in which jobs of several needs are packed.

Features, times in units of `scale`: log(l + 0.01) of what is left of the predicted size, l, log2 of the servers needed,
and the arrival time, whose weight ages jobs. A job that outlives its prediction has l = 0.
"""

import math

import numpy as np

from llmqueue_gym.policies.learned.network import checked, value
from llmqueue_gym.policies.packing.base import PackingPolicy

FEATURES = ("log left", "left", "log need", "arrival")


def rank(job, params):
    left = max(job.predicted - job.age, 0.0) / params[1]
    need = math.log(job.need) / 0.6931471805599453
    # The arrival grows without bound, so it goes past the hidden units.
    return value((math.log(left + 0.01), left, need), params) + params[len(params) - 1] * (job.arrival / params[1])


def packing_order(name: str, params: np.ndarray, source: str, **traits: object) -> PackingPolicy:
    """Return a network as the order of packing; the rule and whether it preempts are traits."""
    numbers = checked(params, len(FEATURES) - 1, direct=1)  # the weight of the arrival
    return PackingPolicy(name, rank, numbers, source=source, **traits)  # type: ignore[arg-type]

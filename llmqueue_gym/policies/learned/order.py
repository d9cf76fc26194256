"""A learned order of the jobs of one queue, from the prediction and the age alone; the theory applies to it.

Features, with p the predicted size and a the age in units of `scale`: log(p + 0.01), log(a + 0.01), p, a.
"""

import math

import numpy as np

from llmqueue_gym.policies.base import Policy
from llmqueue_gym.policies.learned.network import checked, value

FEATURES = ("log predicted", "log age", "predicted", "age")
NEAR = 0.01  # of a unit; logarithms are flat below


def rank(job, params):
    p = job.predicted / params[1]
    a = job.age / params[1]
    return value((math.log(p + 0.01), math.log(a + 0.01), p, a), params)


def features(predicted: np.ndarray, age: np.ndarray, scale: float) -> np.ndarray:
    """Return the features `(..., 4)` of predicted sizes and ages of one shape, as `rank` takes them."""
    p, a = np.asarray(predicted) / scale, np.asarray(age) / scale
    return np.stack([np.log(p + NEAR), np.log(a + NEAR), p, a], axis=-1)


def order(name: str, params: np.ndarray, source: str, **traits: object) -> Policy:
    """Return a network as a queue's order; preemptive and of general shape unless told otherwise."""
    numbers = checked(params, len(FEATURES))
    return Policy(name, rank, numbers, source=source, **traits)  # type: ignore[arg-type]

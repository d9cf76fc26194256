"""A learned order of the requests of a serving engine.

Features, with lengths in units of `scale` tokens: log(1 + y) of the predicted output that is left, log(1 + k) of the
tokens known so far (prompt and output), y, k, and the arrival time, s. A weight on the arrival ages requests: whoever
waits comes nearer to the front, and no queue has to be ranked anew for it.
"""

import math

import numpy as np

from llmqueue_gym.policies.learned.network import checked, value
from llmqueue_gym.policies.serving.base import ServingPolicy

FEATURES = ("log left", "log known", "left", "known", "arrival")


def rank(request, system, params):
    left = max(request.predicted - request.generated, 1.0) / params[1]
    known = (request.prompt + request.generated) / params[1]
    # The arrival grows without bound, so it goes past the hidden units.
    return (
        value((math.log(1.0 + left), math.log(1.0 + known), left, known), params)
        + params[len(params) - 1] * request.arrival
    )


def serving_rank(name: str, params: np.ndarray, source: str, **traits: object) -> ServingPolicy:
    """Return a network as the order of a replica's queue."""
    numbers = checked(params, len(FEATURES) - 1, direct=1)  # the weight of the arrival
    return ServingPolicy(name, rank, params=numbers, source=source, **traits)  # type: ignore[arg-type]

"""A learned order of the requests of a replica that caches prefixes.

Features, tokens in units of `scale`: log(1 + y) of the predicted output that is left, log(1 + u) of the known tokens
that the cache does not hold, y, u, the share of the known tokens that it does hold, log(1 + s) of the seconds waited,
and the arrival time, s. What the cache holds changes while a request waits, so the queue is ranked in every iteration.
"""

import math

import numpy as np

from llmqueue_gym.policies.learned.network import checked, value
from llmqueue_gym.policies.serving.base import ServingPolicy

FEATURES = ("log left", "log uncached", "left", "uncached", "cached share", "log waited", "arrival")


def rank(request, system, params):
    known = request.prompt + request.generated
    cached = max(request.computed, request.cached)
    left = max(request.predicted - request.generated, 1.0) / params[1]
    uncached = max(known - cached, 1.0) / params[1]
    waited = max(system.clock - request.arrival, 0.0)
    x = (math.log(1.0 + left), math.log(1.0 + uncached), left, uncached, cached / known, math.log(1.0 + waited))
    # The arrival grows without bound, so it goes past the hidden units.
    return value(x, params) + params[len(params) - 1] * request.arrival


def prefix_rank(name: str, params: np.ndarray, source: str, **traits: object) -> ServingPolicy:
    """Return a network as the order of a replica's queue."""
    numbers = checked(params, len(FEATURES) - 1, direct=1)  # the weight of the arrival
    return ServingPolicy(name, rank, params=numbers, ages=True, source=source, **traits)  # type: ignore[arg-type]

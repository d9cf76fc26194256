"""Size interval task assignment (SITA): each server takes the jobs of an interval of predicted sizes.

The intervals give every server predicted work in proportion to its speed (SITA-E), so shorts never wait behind longs.

Source: Harchol-Balter, Crovella, Murta, On Choosing a Task Assignment Policy for a Distributed Server System,
J. Parallel and Distributed Computing 1999.
"""

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.dispatch.base import DispatchPolicy

_DRAWS = 200_000
_SOURCE = "Harchol-Balter, Crovella, Murta, JPDC 1999"


def score(job, queue, params):
    low = params[queue.index]
    high = params[queue.index + 1]
    return 0.0 if low < job.predicted <= high else 1.0


def bounds(size, predictor, speeds):
    """Return the ends of the intervals `(k + 1,)`, s, from draws of the two laws with a seed of their own."""
    if size is None:
        raise BadInput("size-interval computes its intervals from the laws: pass the size law and the predictor")
    rng = np.random.default_rng(0)
    sizes = size.sample(_DRAWS, rng)
    predicted = predictor.predict(sizes, rng) if predictor is not None else sizes
    order = np.argsort(predicted, kind="stable")
    work = np.cumsum(sizes[order])
    shares = np.cumsum(speeds)[:-1] / np.sum(speeds)
    inner = predicted[order][np.searchsorted(work, shares * work[-1])]
    return np.concatenate([[-np.inf], inner, [np.inf]])


def size_interval() -> DispatchPolicy:
    return DispatchPolicy("size-interval", score, looks="all", prepare=bounds, source=_SOURCE)

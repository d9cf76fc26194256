"""Size estimate hedging, or like it: SPRPT until little of the prediction is left, then a rank that is frozen.

    rank(a) = max(z - a, k z)

A job of which less than the share k of its prediction z is left, or that outlives it, is not taken for a short one:
its rank stays at k z. With k = 1 it is PSPJF; with k near 0 a job that outlives its prediction has rank 0, where under
SPRPT its rank falls on and on.

The heuristic of Akbari-Moghaddam and Down freezes the rank once it decides that a job was underestimated. Its exact
index was not at hand, so that this is of its shape and no more.
"""

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.base import Policy


def rank(job, params):
    return max(job.predicted - job.age, params[0] * job.predicted)


def seh_like(k: float = 0.5) -> Policy:
    """Shortest predicted remaining processing time, frozen at the share k of the prediction.

    Args:
        k: share, above 0 and at most 1.
    """
    if not 0 < k <= 1:
        raise BadInput(f"seh-like: k={k:g} must be above 0 and at most 1")
    source = "after Akbari-Moghaddam and Down, SEH: Size Estimate Hedging Scheduling of Queues, ACM TOMACS 2023"
    return Policy("seh-like", rank, (k,), shape="falling", source=source)

"""An equal share of all servers, among the jobs in system when it starts; fewer where fewer are free.

EQUI shares anew whenever a job comes or goes; here a job keeps its first share.
"""

import numpy as np

from llmqueue_gym.policies.moldable.base import MoldablePolicy, ordered


def score(job, offer, params):
    share = max(1, offer.total // (offer.waiting + offer.running))
    return 0.0 if offer.servers <= min(share, offer.free) else np.inf


def shortest(job, offer, params):
    return job.predicted + score(job, offer, params)


def equal_share(shortest_first: bool = False) -> MoldablePolicy:
    """An equal share of the servers, fixed at the start.

    Args:
        shortest_first: the least predicted work first, rather than the first to come.
    """
    source = "EQUI, of malleable jobs: Edmonds, Scheduling in the Dark, STOC 1999"
    return MoldablePolicy("equal-share", **ordered(score, shortest, shortest_first), source=source)

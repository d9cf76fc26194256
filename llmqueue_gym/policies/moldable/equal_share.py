"""An equal share of all servers, among the jobs in system when it starts; fewer where fewer are free.

EQUI shares anew whenever a job comes or goes; here a job keeps its first share.
"""

import numpy as np

from llmqueue_gym.policies.moldable.base import MoldablePolicy, looks


def score(job, offer, params):
    share = max(1, offer.total // (offer.waiting + offer.running))
    return job.predicted if offer.servers <= min(share, offer.free) else np.inf


def equal_share(shortest_first: bool = False) -> MoldablePolicy:
    """An equal share of the servers, fixed at the start.

    Args:
        shortest_first: the least predicted work first, rather than the first to come.
    """
    source = "EQUI, of malleable jobs: Edmonds, Scheduling in the Dark, STOC 1999"
    return MoldablePolicy("equal-share", score, window=looks(shortest_first), source=source)

"""One server for each job: no server-second is wasted, and no job is sped up. In order of arrival it is the M/G/k."""

import numpy as np

from llmqueue_gym.policies.moldable.base import MoldablePolicy, looks


def score(job, offer, params):
    return job.predicted if offer.servers == 1 else np.inf


def one_server(shortest_first: bool = False) -> MoldablePolicy:
    """One server each.

    Args:
        shortest_first: the least predicted time first, rather than the first to come.
    """
    return MoldablePolicy("one-server", score, window=looks(shortest_first), source="Kendall 1953")

"""One server for each job: no server-second is wasted, and no job is sped up. In order of arrival it is the M/G/k."""

import numpy as np

from llmqueue_gym.policies.moldable.base import MoldablePolicy, ordered


def score(job, offer, params):
    return 0.0 if offer.servers == 1 else np.inf


def shortest(job, offer, params):
    return job.predicted + score(job, offer, params)


def one_server(shortest_first: bool = False) -> MoldablePolicy:
    """One server each.

    Args:
        shortest_first: the least predicted time first, rather than the first to come.
    """
    return MoldablePolicy("one-server", **ordered(score, shortest, shortest_first), source="Kendall 1953")

"""The same number of servers for every job, whatever it gains from them."""

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.moldable.base import MoldablePolicy, ordered


def score(job, offer, params):
    return 0.0 if offer.servers == params[0] else np.inf


def shortest(job, offer, params):
    return job.predicted + score(job, offer, params)


def fixed_width(servers: int = 2, shortest_first: bool = False) -> MoldablePolicy:
    """A fixed number of servers each.

    Args:
        servers: of each job, no more than there are.
        shortest_first: the least predicted work first, rather than the first to come.
    """
    if servers < 1:
        raise BadInput(f"fixed-width: servers={servers} must be at least 1")
    source = "Berg, Dorsman, Harchol-Balter, Towards Optimality in Parallel Scheduling, SIGMETRICS 2018"
    traits = ordered(score, shortest, shortest_first)
    return MoldablePolicy("fixed-width", params=(float(servers),), **traits, source=source)

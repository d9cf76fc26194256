"""All servers for one job after another: each is as fast as can be, and what does not scale is wasted."""

import numpy as np

from llmqueue_gym.policies.moldable.base import MoldablePolicy, ordered


def score(job, offer, params):
    return 0.0 if offer.servers == offer.total else np.inf


def shortest(job, offer, params):
    return offer.time + score(job, offer, params)


def all_servers(shortest_first: bool = False) -> MoldablePolicy:
    """All servers for one job at a time.

    Args:
        shortest_first: the least predicted time on all servers first, rather than the first to come.
    """
    source = "Berg, Vesilo, Harchol-Balter, heSRPT, Performance Evaluation 2020, where it is SRPT, with preemption"
    return MoldablePolicy("all-servers", **ordered(score, shortest, shortest_first), source=source)

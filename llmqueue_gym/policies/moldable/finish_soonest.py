"""The number of servers on which the job is predicted to finish soonest, the wait for them included.

A job waits for servers that are not free if by prediction that pays, and whoever is behind it waits too.
"""

from llmqueue_gym.policies.moldable.base import MoldablePolicy, ordered


def score(job, offer, params):
    return offer.wait + offer.time


def finish_soonest(shortest_first: bool = False) -> MoldablePolicy:
    """The least predicted completion.

    Args:
        shortest_first: of all waiting jobs and all numbers (min-min, of Ibarra and Kim, JACM 1977), rather than of the
            first to come.
    """
    source = "Cirne, Berman, Using Moldability to Improve the Performance of Supercomputer Jobs, JPDC 2002"
    return MoldablePolicy("finish-soonest", **ordered(score, score, shortest_first), source=source)

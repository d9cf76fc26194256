"""Policies of moldable jobs. Most take the first to come, or with `shortest_first` whom they predict to be shortest."""

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.moldable.base import MoldablePolicy, ordered


def on_one(job, offer, params):
    return 0.0 if offer.servers == 1 else np.inf


def shortest_on_one(job, offer, params):
    return job.predicted if offer.servers == 1 else np.inf


def one_server(shortest_first: bool = False) -> MoldablePolicy:
    """One server each.

    No server-second is wasted, and no job is sped up. In order of arrival it is the M/G/k.

    Args:
        shortest_first: the least predicted time first, rather than the first to come.
    """
    return MoldablePolicy("one-server", **ordered(on_one, shortest_on_one, shortest_first), source="Kendall 1953")


def on_all(job, offer, params):
    return 0.0 if offer.servers == offer.total else np.inf


def shortest_on_all(job, offer, params):
    return offer.time if offer.servers == offer.total else np.inf


def all_servers(shortest_first: bool = False) -> MoldablePolicy:
    """All servers for one job at a time.

    Each is as fast as can be, and what does not scale is wasted.

    Args:
        shortest_first: the least predicted time on all servers first, rather than the first to come.
    """
    source = "Berg, Vesilo, Harchol-Balter, heSRPT, Performance Evaluation 2020, where it is SRPT, with preemption"
    return MoldablePolicy("all-servers", **ordered(on_all, shortest_on_all, shortest_first), source=source)


def on_so_many(job, offer, params):
    return 0.0 if offer.servers == params[0] else np.inf


def shortest_on_so_many(job, offer, params):
    return job.predicted if offer.servers == params[0] else np.inf


def fixed_width(servers: int = 2, shortest_first: bool = False) -> MoldablePolicy:
    """A fixed number of servers each.

    Args:
        servers: of each job, whatever it gains from them; no more than there are.
        shortest_first: the least predicted work first, rather than the first to come.
    """
    if servers < 1:
        raise BadInput(f"fixed-width: servers={servers} must be at least 1")
    source = "Berg, Dorsman, Harchol-Balter, Towards Optimality in Parallel Scheduling, SIGMETRICS 2018"
    traits = ordered(on_so_many, shortest_on_so_many, shortest_first)
    return MoldablePolicy("fixed-width", params=(float(servers),), **traits, source=source)


def on_share(job, offer, params):
    share = max(1, offer.total // (offer.waiting + offer.running))
    return 0.0 if offer.servers <= min(share, offer.free) else np.inf


def shortest_on_share(job, offer, params):
    share = max(1, offer.total // (offer.waiting + offer.running))
    return job.predicted if offer.servers <= min(share, offer.free) else np.inf


def equal_share(shortest_first: bool = False) -> MoldablePolicy:
    """An equal share of the servers, fixed at the start.

    Among the jobs in system when it starts; fewer where fewer are free. EQUI shares anew whenever a job comes or goes.

    Args:
        shortest_first: the least predicted work first, rather than the first to come.
    """
    source = "EQUI, of malleable jobs: Edmonds, Scheduling in the Dark, STOC 1999"
    return MoldablePolicy("equal-share", **ordered(on_share, shortest_on_share, shortest_first), source=source)


def used_well(job, offer, params):
    if offer.servers > offer.free or job.predicted < params[0] * offer.servers * offer.time:
        return np.inf
    return job.predicted


def efficiency(theta: float = 0.5, shortest_first: bool = False) -> MoldablePolicy:
    """The most servers of a predicted efficiency of at least theta.

    Efficiency is speed-up over servers; only free servers count. Theta of 1/2 is near the knee of Eager, Zahorjan and
    Lazowska, the number of most speed-up times efficiency.

    Args:
        theta: in (0, 1]; one server has efficiency 1.
        shortest_first: the least predicted work first, rather than the first to come.
    """
    if not 0 < theta <= 1:
        raise BadInput(f"efficiency: theta={theta:g} must lie in (0, 1], for example 0.5")
    source = "Eager, Zahorjan, Lazowska, Speedup versus Efficiency in Parallel Systems, IEEE Trans. Computers 1989"
    return MoldablePolicy("efficiency", params=(theta,), **ordered(used_well, used_well, shortest_first), source=source)


def completion(job, offer, params):
    return offer.wait + offer.time


def finish_soonest(shortest_first: bool = False) -> MoldablePolicy:
    """The least predicted completion.

    A job waits for servers that are not free if by prediction that pays, and whoever is behind it waits too.

    Args:
        shortest_first: of all waiting jobs and all numbers (min-min, of Ibarra and Kim, JACM 1977), rather than of the
            first to come.
    """
    source = "Cirne, Berman, Using Moldability to Improve the Performance of Supercomputer Jobs, JPDC 2002"
    return MoldablePolicy("finish-soonest", **ordered(completion, completion, shortest_first), source=source)


def delay_of_all(job, offer, params):
    if offer.servers > offer.free:
        return np.inf
    behind = offer.waiting - 1 + params[0]
    return offer.time * (1 + behind * offer.servers / offer.total)


def least_delay(others: float = 1.0) -> MoldablePolicy:
    """The least predicted delay of all.

    A job on j servers for t seconds takes j t of the k server-seconds there are each second, which delays everybody
    behind it by about j t / k. Alone, a job takes all it gains from; in a crowd, only what it uses well. So the number
    follows the predicted speed-up and the load alike.

    Args:
        others: jobs yet to come that are counted with those who wait; 0 is short-sighted.
    """
    if not 0 <= others < np.inf:
        raise BadInput(f"least-delay: others={others:g} must be finite and not negative, for example 1")
    return MoldablePolicy("least-delay", delay_of_all, (others,), source="ours")

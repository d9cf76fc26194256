"""The packing policies of the literature: by arrival, by need, and by the work that is left, servers times seconds."""

from llmqueue_gym.policies.blind import equal
from llmqueue_gym.policies.packing.base import PackingPolicy

_SIMULATOR = "isaacg1/msj-simulator"


def least_need(job, params):
    return float(job.need)


def most_need(job, params):
    return -float(job.need)


def least_work(job, params):
    return (job.predicted - job.age) * job.need


def fcfs() -> PackingPolicy:
    """First come first served.

    A job that does not fit blocks all behind it.
    """
    source = "Brill and Green, Queues in Which Customers Receive Simultaneous Service, Management Science 1984"
    return PackingPolicy("fcfs", equal, packing="prefix", preemptive=False, source=source)


def first_fit() -> PackingPolicy:
    """First fit.

    In order of arrival, every job starts that fits.
    """
    return PackingPolicy("first-fit", equal, preemptive=False, source=_SIMULATOR)


def preemptive_first_fit() -> PackingPolicy:
    """First fit that moves a later job out for an earlier one, as soon as that fits."""
    return PackingPolicy("preemptive-first-fit", equal, source=_SIMULATOR)


def least_servers_first(preemptive: bool = False) -> PackingPolicy:
    """Least servers first.

    Args:
        preemptive: whether jobs in service give way.
    """
    return PackingPolicy("least-servers-first", least_need, preemptive=preemptive, source=_SIMULATOR)


def most_servers_first(preemptive: bool = False) -> PackingPolicy:
    """Most servers first.

    Args:
        preemptive: whether jobs in service give way.
    """
    return PackingPolicy("most-servers-first", most_need, preemptive=preemptive, source=_SIMULATOR)


def max_weight() -> PackingPolicy:
    """Preemptive MaxWeight.

    At every event, the packing of the greatest sum over needs of jobs in system times jobs served. Stable wherever any
    policy is. Of packings of equal weight it takes the one with more jobs of the largest need.
    """
    source = "Maguluri, Srikant, Ying, Stochastic Models of Load Balancing and Scheduling in Cloud Computing, 2012"
    return PackingPolicy("max-weight", equal, packing="max-weight", source=source)


def easy(quantum: float = 0.0) -> PackingPolicy:
    """EASY backfilling.

    First come first served, but the first job that does not fit reserves the earliest time at which, by the predicted
    ends of those in service, enough servers are free. A later job that fits now starts if its predicted end is not
    after that time, or if it takes only servers that the reservation leaves over. A job that outlives its prediction is
    taken to end now.

    Args:
        quantum: predicted durations are rounded up to a power of it, above 1; 0 takes predictions as they are.
    """
    source = "Lifka, The ANL/IBM SP Scheduling System, JSSPP 1995; isaacg1/msj-simulator"
    return PackingPolicy("easy", equal, packing="backfill", preemptive=False, quantum=quantum, source=source)


def server_filling() -> PackingPolicy:
    """ServerFilling.

    The oldest jobs that together need all servers, placed by need, largest first. Where needs and servers are powers of
    two, no server idles while the jobs in system need them all. The mean response time then goes to that of one server
    of k-fold speed, first come first served, as the load goes to one.
    """
    source = "Grosof, Harchol-Balter, Scheller-Wolf, WCFS: A New Framework for Analyzing Multiserver Systems, 2022"
    return PackingPolicy("server-filling", equal, packing="filling", source=source)


def server_filling_sprpt() -> PackingPolicy:
    """ServerFilling-SRPT by predicted durations.

    The jobs of least remaining work that together need all servers, placed by need. With exact durations, and needs and
    servers powers of two, no policy has a smaller mean response time in the limit of load one.
    """
    source = "Grosof, Scully, Harchol-Balter, Scheller-Wolf, Optimal Scheduling in the Multiserver-job Model, 2022"
    return PackingPolicy("server-filling-sprpt", least_work, packing="filling", source=source)


def server_filling_srpt() -> PackingPolicy:
    """ServerFilling-SRPT, told the true durations."""
    return server_filling_sprpt().with_exact_sizes("server-filling-srpt")


def greedy_sprpt() -> PackingPolicy:
    """GreedySRPT by predicted durations.

    Jobs by least remaining work, up to the first that does not fit.
    """
    return PackingPolicy("greedy-sprpt", least_work, packing="prefix", source=_SIMULATOR)


def greedy_srpt() -> PackingPolicy:
    """GreedySRPT, told the true durations."""
    return greedy_sprpt().with_exact_sizes("greedy-srpt")


def first_fit_sprpt() -> PackingPolicy:
    """FirstFitSRPT by predicted durations.

    Jobs by least remaining work, each that fits beside those before it.
    """
    return PackingPolicy("first-fit-sprpt", least_work, source=_SIMULATOR)


def first_fit_srpt() -> PackingPolicy:
    """FirstFitSRPT, told the true durations."""
    return first_fit_sprpt().with_exact_sizes("first-fit-srpt")


def msfq(threshold: int = 0) -> PackingPolicy:
    """Most servers first with quickswap.

    For jobs of one server (light) and of all servers (heavy). Light phase: light jobs start in order of arrival while
    servers are free; once a heavy job waits and at most `threshold` light jobs are in system, it ends. Draining:
    nothing starts until all servers are free. Heavy: heavy jobs run one by one until none is left, also those that
    arrive meanwhile; then light again. The published rule is known here by its description alone, so that details may
    differ.

    Args:
        threshold: light jobs in system at which a waiting heavy job gets its turn, at most servers - 1. 0 is most
            servers first, which waits until the light jobs run out by chance.
    """
    source = "Improving Multiserver Job Scheduling with Quickswap, arXiv 2509.01893"
    return PackingPolicy("msfq", equal, packing="quickswap", preemptive=False, threshold=threshold, source=source)

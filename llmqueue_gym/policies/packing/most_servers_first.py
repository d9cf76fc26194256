"""Most servers first: jobs start in descending order of need; one that does not fit blocks nobody."""

from llmqueue_gym.policies.packing.base import PackingPolicy


def rank(job, params):
    return -float(job.need)


def most_servers_first(preemptive: bool = False) -> PackingPolicy:
    """Most servers first.

    Args:
        preemptive: whether jobs in service give way.
    """
    return PackingPolicy("most-servers-first", rank, preemptive=preemptive, source="isaacg1/msj-simulator")

"""Least servers first: jobs start in ascending order of need."""

from llmqueue_gym.policies.packing.base import PackingPolicy


def rank(job, params):
    return float(job.need)


def least_servers_first(preemptive: bool = False) -> PackingPolicy:
    """Least servers first.

    Args:
        preemptive: whether jobs in service give way.
    """
    return PackingPolicy("least-servers-first", rank, preemptive=preemptive, source="isaacg1/msj-simulator")

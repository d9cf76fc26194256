"""EASY backfilling: first come first served, but a later job may start if by prediction it does not delay the first.

The first job that does not fit reserves the earliest time at which, by the predicted ends of those in service, enough
servers are free. A later job that fits now starts if its predicted end is not after that time, or if it takes only
servers that the reservation leaves over. A job that outlives its prediction is taken to end now. With a quantum q,
every predicted duration is rounded up to a power of q before.
"""

from llmqueue_gym.policies.fcfs import rank
from llmqueue_gym.policies.packing.base import PackingPolicy


def easy(quantum: float = 0.0) -> PackingPolicy:
    """EASY backfilling.

    Args:
        quantum: q above 1, or 0 for predictions as they are.
    """
    source = "Lifka, The ANL/IBM SP Scheduling System, JSSPP 1995; isaacg1/msj-simulator"
    return PackingPolicy("easy", rank, packing="backfill", preemptive=False, quantum=quantum, source=source)

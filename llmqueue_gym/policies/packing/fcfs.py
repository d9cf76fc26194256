"""First come first served: a job that does not fit blocks all behind it."""

from llmqueue_gym.policies.fcfs import rank
from llmqueue_gym.policies.packing.base import PackingPolicy


def fcfs() -> PackingPolicy:
    """First come first served."""
    source = "Brill and Green, Queues in Which Customers Receive Simultaneous Service, Management Science 1984"
    return PackingPolicy("fcfs", rank, packing="prefix", preemptive=False, source=source)

"""MSFQ: most servers first with quickswap, for jobs of one server (light) and of all servers (heavy), not preemptive.

The rule here, in three phases. Light: light jobs start in order of arrival while servers are free; once a heavy job
waits and at most `threshold` light jobs are in system, it ends. Draining: nothing starts until all servers are free.
Heavy: heavy jobs run one by one until none is left, also those that arrive meanwhile; then light again.

A threshold of 0 is most servers first, which waits until the light jobs run out by chance. The published rule is known
here by its description alone, so that details may differ.
"""

from llmqueue_gym.policies.fcfs import rank
from llmqueue_gym.policies.packing.base import PackingPolicy


def msfq(threshold: int = 0) -> PackingPolicy:
    """Most servers first with quickswap.

    Args:
        threshold: light jobs in system at which a waiting heavy job gets its turn, at most servers - 1.
    """
    source = "Improving Multiserver Job Scheduling with Quickswap, arXiv 2509.01893"
    return PackingPolicy("msfq", rank, packing="quickswap", preemptive=False, threshold=threshold, source=source)

"""MaxWeight: at every event, the packing of the greatest sum over needs of jobs in system times jobs served.

Stable wherever any policy is. Of packings of equal weight it takes the one with more jobs of the largest need.
"""

from llmqueue_gym.policies.fcfs import rank
from llmqueue_gym.policies.packing.base import PackingPolicy


def max_weight() -> PackingPolicy:
    """Preemptive MaxWeight."""
    source = "Maguluri, Srikant, Ying, Stochastic Models of Load Balancing and Scheduling in Cloud Computing, 2012"
    return PackingPolicy("max-weight", rank, packing="max-weight", source=source)

"""ServerFilling: the oldest jobs that together need all servers, placed by need, largest first.

Where needs and servers are powers of two, no server idles while the jobs in system need them all. The mean response
time then goes to that of one server of k-fold speed, first come first served, as the load goes to one.
"""

from llmqueue_gym.policies.fcfs import rank
from llmqueue_gym.policies.packing.base import PackingPolicy


def server_filling() -> PackingPolicy:
    """ServerFilling."""
    source = "Grosof, Harchol-Balter, Scheller-Wolf, WCFS: A New Framework for Analyzing Multiserver Systems, 2022"
    return PackingPolicy("server-filling", rank, packing="filling", source=source)

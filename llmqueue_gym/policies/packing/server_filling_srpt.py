"""ServerFilling-SRPT: the jobs of least remaining work that together need all servers, placed by need.

Work is servers times seconds. With exact durations, and needs and servers powers of two, no policy has a smaller mean
response time in the limit of load one.
"""

from llmqueue_gym.policies.packing.base import PackingPolicy


def rank(job, params):
    return (job.predicted - job.age) * job.need


def server_filling_sprpt() -> PackingPolicy:
    """ServerFilling-SRPT by predicted durations."""
    source = "Grosof, Scully, Harchol-Balter, Scheller-Wolf, Optimal Scheduling in the Multiserver-job Model, 2022"
    return PackingPolicy("server-filling-sprpt", rank, packing="filling", source=source)


def server_filling_srpt() -> PackingPolicy:
    """ServerFilling-SRPT, told the true durations."""
    return server_filling_sprpt().with_exact_sizes("server-filling-srpt")

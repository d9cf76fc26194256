"""GreedySRPT: jobs by least remaining work, up to the first that does not fit."""

from llmqueue_gym.policies.packing.base import PackingPolicy
from llmqueue_gym.policies.packing.server_filling_srpt import rank


def greedy_sprpt() -> PackingPolicy:
    """GreedySRPT by predicted durations."""
    return PackingPolicy("greedy-sprpt", rank, packing="prefix", source="isaacg1/msj-simulator")


def greedy_srpt() -> PackingPolicy:
    """GreedySRPT, told the true durations."""
    return greedy_sprpt().with_exact_sizes("greedy-srpt")

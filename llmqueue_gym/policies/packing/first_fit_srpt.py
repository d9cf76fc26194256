"""FirstFitSRPT: jobs by least remaining work, each that fits beside those before it."""

from llmqueue_gym.policies.packing.base import PackingPolicy
from llmqueue_gym.policies.packing.server_filling_srpt import rank


def first_fit_sprpt() -> PackingPolicy:
    """FirstFitSRPT by predicted durations."""
    return PackingPolicy("first-fit-sprpt", rank, packing="skip", source="isaacg1/msj-simulator")


def first_fit_srpt() -> PackingPolicy:
    """FirstFitSRPT, told the true durations."""
    return first_fit_sprpt().with_exact_sizes("first-fit-srpt")

"""Ways of sending a request to a replica, one file each. To add one: write the file and add its line here."""

from functools import partial

from llmqueue_gym.policies.base import Policies
from llmqueue_gym.policies.learned import stored
from llmqueue_gym.policies.routing.base import RoutingPolicy

__all__ = ["ROUTING_POLICIES", "RoutingPolicy", "routing_policy"]

_HERE = "llmqueue_gym.policies.routing"

ROUTING_POLICIES = Policies(
    RoutingPolicy,
    {
        "random": f"{_HERE}.random:random",
        "round-robin": f"{_HERE}.round_robin:round_robin",
        "least-outstanding": f"{_HERE}.least_outstanding:least_outstanding",
        "power-of-d": f"{_HERE}.least_outstanding:power_of_d",
        "least-tokens": f"{_HERE}.least_tokens:least_tokens",
        "least-kv": f"{_HERE}.least_kv:least_kv",
        "least-work": f"{_HERE}.least_work:least_work",
    },
    partial(stored, "routing"),
)
routing_policy = ROUTING_POLICIES.__call__

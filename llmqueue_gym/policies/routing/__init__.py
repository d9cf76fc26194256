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
        "token-jsq": f"{_HERE}.token_jsq:token_jsq",
        "mixed-pool": f"{_HERE}.mixed_pool:mixed_pool",
        "least-reserved": f"{_HERE}.mixed_pool:least_reserved",
        "fewest-prompts": f"{_HERE}.shortest_line:fewest_prompts",
        "shortest-line": f"{_HERE}.shortest_line:shortest_line",
        "least-ttft": f"{_HERE}.least_ttft:least_ttft",
        "cache-aware-like": f"{_HERE}.cache_aware:cache_aware_like",
        "prefix-aware-like": f"{_HERE}.prefix_aware:prefix_aware_like",
        "consistent-hash": f"{_HERE}.consistent_hash:consistent_hash",
        "preble-like": f"{_HERE}.preble:preble_like",
        "llm-d": f"{_HERE}.llm_d:llm_d",
        "dynamo": f"{_HERE}.dynamo:dynamo",
        "llumnix": f"{_HERE}.llumnix:llumnix",
        "vllm-dp": f"{_HERE}.vllm_dp:vllm_dp",
    },
    partial(stored, "routing"),
)
routing_policy = ROUTING_POLICIES.__call__

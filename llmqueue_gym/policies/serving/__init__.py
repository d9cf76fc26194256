"""Serving policies, one file each. To add one: write the file and add its line here."""

from typing import Any

from llmqueue_gym.policies.serving.base import ServingPolicy, from_function
from llmqueue_gym.registry import Registry

__all__ = ["SERVING_POLICIES", "ServingPolicy", "serving_policy"]

_HERE = "llmqueue_gym.policies.serving"

SERVING_POLICIES = Registry(
    "serving policy",
    {
        "fcfs": f"{_HERE}.fcfs:fcfs",
        "vllm-priority": f"{_HERE}.vllm_priority:vllm_priority",
    },
)


def serving_policy(given: Any) -> ServingPolicy:
    """Return a policy from a spec such as `trail:c=0.8`, a ServingPolicy, or a function rank(request, system, params)."""
    if isinstance(given, ServingPolicy):
        return given
    return SERVING_POLICIES.make(given) if isinstance(given, str) else from_function(given)

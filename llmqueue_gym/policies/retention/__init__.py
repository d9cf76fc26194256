"""What happens to a context while its program is away, one way a file. To add one: write the file and its line here."""

from llmqueue_gym.policies.base import Policies
from llmqueue_gym.policies.retention.base import RetentionPolicy

__all__ = ["RETENTION_POLICIES", "RetentionPolicy", "retention_policy"]

_HERE = "llmqueue_gym.policies.retention"

RETENTION_POLICIES = Policies(
    RetentionPolicy,
    {
        "preserve": f"{_HERE}.preserve:preserve",
        "discard": f"{_HERE}.discard:discard",
        "swap": f"{_HERE}.swap:swap",
        "infercept": f"{_HERE}.infercept:infercept",
        "infercept-h-s": f"{_HERE}.thresholds:threshold_swap",
        "infercept-h-d": f"{_HERE}.thresholds:threshold_discard",
        "infercept-h-b": f"{_HERE}.thresholds:threshold_both",
        "lamps": f"{_HERE}.lamps:lamps",
        "ttl": f"{_HERE}.ttl:ttl",
        "ttl-optimal": f"{_HERE}.ttl_optimal:ttl_optimal",
        "thunder-agent-like": f"{_HERE}.thunder_agent:thunder_agent_like",
    },
)
retention_policy = RETENTION_POLICIES.__call__

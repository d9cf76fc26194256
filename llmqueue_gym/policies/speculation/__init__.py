"""How many tokens a request drafts next, one rule a file. To add one: write the file and add its line here."""

from llmqueue_gym.policies.base import Policies
from llmqueue_gym.policies.speculation.base import SpeculationPolicy

__all__ = ["SPECULATION_POLICIES", "SpeculationPolicy", "speculation_policy"]

_HERE = "llmqueue_gym.policies.speculation"

SPECULATION_POLICIES = Policies(
    SpeculationPolicy,
    {
        "no-drafts": f"{_HERE}.fixed:no_drafts",
        "fixed": f"{_HERE}.fixed:fixed",
        "to-the-end": f"{_HERE}.to_the_end:to_the_end",
        "by-acceptance": f"{_HERE}.by_acceptance:by_acceptance",
        "by-load": f"{_HERE}.by_load:by_load",
        "per-request": f"{_HERE}.per_request:per_request",
    },
)
speculation_policy = SPECULATION_POLICIES.__call__

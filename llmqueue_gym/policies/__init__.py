"""Scheduling disciplines, one file each. To add one: write the file and add its line here."""

from collections.abc import Callable
from typing import Any

from llmqueue_gym.policies.base import Policy, from_function
from llmqueue_gym.policies.learned import stored
from llmqueue_gym.registry import Registry

__all__ = ["IMPATIENT_POLICIES", "POLICIES", "Policy", "policy"]

_HERE = "llmqueue_gym.policies"

POLICIES = Registry(
    "policy",
    {
        "fcfs": f"{_HERE}.fcfs:fcfs",
        "lcfs": f"{_HERE}.lcfs:lcfs",
        "spjf": f"{_HERE}.spjf:spjf",
        "pspjf": f"{_HERE}.pspjf:pspjf",
        "sprpt": f"{_HERE}.sprpt:sprpt",
        "sprpt-bounce": f"{_HERE}.sprpt_bounce:sprpt_bounce",
        "las": f"{_HERE}.las:las",
        "gittins-blind": f"{_HERE}.gittins:gittins_blind",
        "gittins": f"{_HERE}.gittins:gittins",
        "one-bit": f"{_HERE}.one_bit:one_bit",
        "one-bit-lcfs": f"{_HERE}.one_bit:one_bit_lcfs",
        "one-bit-fcfs": f"{_HERE}.one_bit:one_bit_fcfs",
        "limited-preemption": f"{_HERE}.limited_preemption:limited_preemption",
        "sjf": f"{_HERE}.spjf:sjf",
        "psjf": f"{_HERE}.pspjf:psjf",
        "srpt": f"{_HERE}.sprpt:srpt",
        **stored("order"),
    },
)

# Orders for jobs that give up waiting or are of use for a time only; a single queue without them has better ones.
IMPATIENT_POLICIES = Registry(
    "policy",
    {
        "two-class": f"{_HERE}.two_class:two_class",
        "edf": f"{_HERE}.edf:edf",
        "least-slack": f"{_HERE}.edf:least_slack",
        **stored("cluster-order"),
    },
)


def policy(given: "str | Policy | Callable[[Any, Any], float]") -> Policy:
    """Return a policy from a spec such as `limited-preemption:c=0.8`, a Policy, or a function rank(job, params)."""
    if isinstance(given, Policy):
        return given
    if not isinstance(given, str):
        return from_function(given)
    return (IMPATIENT_POLICIES if given.partition(":")[0] in IMPATIENT_POLICIES else POLICIES).make(given)

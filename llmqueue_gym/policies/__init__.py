"""Scheduling disciplines, one file each. To add one: write the file and add its line here."""

from functools import partial

from llmqueue_gym.policies.base import NOTHING, PREDICTION, TOLD, TRUTH, Policies, Policy
from llmqueue_gym.policies.learned import stored
from llmqueue_gym.policies.sharing import OrderOrSharing, Orders

__all__ = ["NOTHING", "ONE_SERVER", "POLICIES", "PREDICTION", "TOLD", "TRUTH", "Policies", "Policy", "policy"]

_HERE = "llmqueue_gym.policies"

POLICIES = Orders(
    Policy,
    {
        "fcfs": f"{_HERE}.fcfs:fcfs",
        "lcfs": f"{_HERE}.lcfs:lcfs",
        "spjf": f"{_HERE}.spjf:spjf",
        "pspjf": f"{_HERE}.pspjf:pspjf",
        "sprpt": f"{_HERE}.sprpt:sprpt",
        "sprpt-bounce": f"{_HERE}.sprpt_bounce:sprpt_bounce",
        "seh-like": f"{_HERE}.seh_like:seh_like",
        "las": f"{_HERE}.las:las",
        "gittins-blind": f"{_HERE}.gittins:gittins_blind",
        "gittins": f"{_HERE}.gittins:gittins",
        "serpt": f"{_HERE}.residual:serpt",
        "quantile": f"{_HERE}.residual:quantile",
        "cvar": f"{_HERE}.residual:cvar",
        "one-bit": f"{_HERE}.one_bit:one_bit",
        "one-bit-lcfs": f"{_HERE}.one_bit:one_bit_lcfs",
        "one-bit-fcfs": f"{_HERE}.one_bit:one_bit_fcfs",
        "classes": f"{_HERE}.classes:classes",
        "preemptive-classes": f"{_HERE}.classes:preemptive_classes",
        "limited-preemption": f"{_HERE}.limited_preemption:limited_preemption",
        "sjf": f"{_HERE}.spjf:sjf",
        "psjf": f"{_HERE}.pspjf:psjf",
        "srpt": f"{_HERE}.sprpt:srpt",
        "blind-trust": f"{_HERE}.blind_trust:blind_trust",
        "measured-trust": f"{_HERE}.measured_trust:measured_trust",
        # Orders for jobs that give up waiting or are of use for a time only.
        "two-class": f"{_HERE}.two_class:two_class",
        "edf": f"{_HERE}.edf:edf",
        "least-slack": f"{_HERE}.edf:least_slack",
        "drop-if-late": f"{_HERE}.deadline:drop_if_late",
        "short-first-edf": f"{_HERE}.deadline:short_first_edf",
    },
    partial(stored, "order", "cluster-order"),
)
policy = POLICIES.__call__  # a policy from its spec, the policy itself, or a function rank(job, params)
ONE_SERVER = OrderOrSharing(POLICIES)  # what one server can do

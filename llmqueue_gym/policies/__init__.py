"""Scheduling disciplines, a file for each family. To add one: write its builder and add its name here."""

from functools import partial

from llmqueue_gym.policies.base import NOTHING, PREDICTION, TOLD, TRUTH, Policies, Policy
from llmqueue_gym.policies.families import places
from llmqueue_gym.policies.learned import stored

__all__ = ["NOTHING", "POLICIES", "PREDICTION", "TOLD", "TRUTH", "Policies", "Policy", "policy"]

_PLACES = places(
    __name__,
    blind="fcfs lcfs las",
    shortest="spjf pspjf sprpt sprpt-bounce limited-preemption sjf psjf srpt",
    gittins="gittins-blind gittins",
    one_bit="one-bit one-bit-lcfs one-bit-fcfs two-class",
    deadline="edf least-slack drop-if-late short-first-edf",
)
POLICIES = Policies(Policy, _PLACES, partial(stored, "order", "cluster-order"))
policy = POLICIES.__call__  # a policy from its spec, the policy itself, or a function rank(job, params)

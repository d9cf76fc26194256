"""The policy that is exported: what was asked for, its numbers where it plays, and what its functions read.

A spec is a name of `llmqueue policies` or the folder of a trained policy; a plain function is a policy as well. It is
compiled and tried on a few requests as in any simulation, so what that refuses is not exported.
"""

import os
from dataclasses import dataclass

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.base import TRUTH
from llmqueue_gym.policies.learned import load
from llmqueue_gym.policies.reading import columns_read
from llmqueue_gym.policies.serving import SERVING_POLICIES
from llmqueue_gym.policies.serving.base import PREDICTIONS, ServingPolicy
from llmqueue_gym.systems.replica import Replica
from llmqueue_gym.systems.scenario import Scenario

TRIED = 200  # requests that functions of a user are shown before they are exported


@dataclass(frozen=True)
class Chosen:
    """A policy to export.

    Attributes:
        spec: as it was asked for.
        policy: itself.
        params: numbers of its functions.
        profile: spec of the cost profile by which they were computed; empty where they do not depend on it.
    """

    spec: str
    policy: ServingPolicy
    params: tuple[float, ...]
    profile: str

    def reads(self, *fields: str, of: str = "request") -> set[str]:
        """Return the columns that some of its functions read.

        Args:
            fields: "rank", "victim", "length" or "progress".
            of: "request" or "system".
        """
        position = ["request", "system"].index(of)
        readable = self.policy.shown[position].readable
        functions = [one for field in fields if (one := getattr(self.policy, field)) is not None]
        return set().union(*(columns_read(function, readable, position) for function in functions))

    @property
    def predictions(self) -> list[str]:
        """The columns of predictions that rank and victim read."""
        return sorted(self.reads("rank", "victim") & PREDICTIONS)


def chosen(given: str | ServingPolicy, profile: str = "a100-llama3-8b", rules: str = "vllm-v1") -> Chosen:
    """Return a policy as it is exported.

    Args:
        given: name or spec, folder of a trained policy, or the policy itself.
        profile: cost profile, for policies that compute their numbers from it.
        rules: rule set, likewise.

    Raises:
        BadInput: there is no such policy, it is no serving policy, it is told what nobody knows, or it fails.
    """
    policy = load(given) if isinstance(given, str) and os.path.isdir(given) else SERVING_POLICIES(given)
    spec = given if isinstance(given, str) else policy.name
    if not isinstance(policy, ServingPolicy):
        raise BadInput(f"{spec} is a {policy.kind}; an engine takes a serving policy: see llmqueue policies")
    _refuse_what_fails(policy, profile, rules)
    if policy.told == TRUTH:
        raise BadInput(f"{spec} is told the true lengths, which nobody knows; export one that takes predictions")
    if policy.prepare is None:
        numbers = policy.params_for()
    else:
        replica = Replica(profile, rules)
        numbers = policy.params_for(profile=replica.cost_profile, rules=replica.bound_rules)
    if np.isnan(numbers).any():
        raise BadInput(f"{spec}: parameter {int(np.isnan(numbers).argmax())} of its functions is NaN; give a number")
    return Chosen(spec, policy, tuple(numbers.tolist()), profile if policy.prepare else "")


def _refuse_what_fails(policy: ServingPolicy, profile: str, rules: str) -> None:
    """Compile the functions of a user, and let them play a little, which says what is wrong with them."""
    functions = [function for field in policy.functions if (function := getattr(policy, field)) is not None]
    if any(not str(function.__module__).startswith("llmqueue_gym.") for function in functions):
        where = Scenario("replica", profile=profile, rules=rules, lengths="azure-conv", load=0.95, n_requests=TRIED)
        where.simulate(policy, seed=0)

"""Serving a table of requests that is made by hand, without a scenario."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from llmqueue_gym.engines.batching.rule_sets import rule_set
from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.policies.serving import SERVING_POLICIES, ServingPolicy
from llmqueue_gym.requests import Requests
from llmqueue_gym.systems.base import Drawn
from llmqueue_gym.systems.replica import Replica
from llmqueue_gym.systems.run import Run


def serve(
    given: Requests | Drawn,
    policy: Any = "fcfs",
    profile: Any = "a100-llama3-8b",
    rules: Any = "vllm-v1",
    **changes: Any,
) -> Run:
    """Serve a table of requests to its end: `Replica.simulate` without a scenario.

    Args:
        given: requests, true output lengths and refreshed predictions; not changed.
        policy: serving policy, its spec or a function `rank(request, system, params)`.
        profile: cost profile or its spec.
        rules: rule set or its spec.
        changes: fields of the rule set to change, such as `max_seqs=64`; they go before those that the policy changes.

    Raises:
        BadInput: a request could never be served, or a function cannot be compiled or gives NaN.
    """
    replica, chosen = placed(policy, profile, rules, changes)
    return replica.simulate(as_drawn(given), chosen)


def placed(policy: Any, profile: Any, rules: Any, changes: Mapping[str, Any]) -> tuple[Replica, ServingPolicy]:
    """Return the replica and the policy of `serve`, which wants no rule changed that is told."""
    made, chosen = rule_set(rules), SERVING_POLICIES(policy)
    names = [field.name for field in fields(made)]
    for key in changes:
        if key not in names:
            raise BadInput(f"rule set {made.name!r} has no field {key!r}; {nearest(key, names)}")
    left = {key: value for key, value in chosen.rules.items() if key not in changes}
    return Replica(profile, replace(made, **changes)), replace(chosen, rules=left)


def as_drawn(given: Requests | Drawn) -> Drawn:
    """Return a table of requests as systems take it."""
    if isinstance(given, Drawn):
        return given
    shared = {} if given.contexts is None else {"contexts": given.contexts}
    return Drawn(given.requests, {"sizes": given.outputs, "refreshed": given.refreshed, **shared})

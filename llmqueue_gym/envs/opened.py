"""A scenario and a view from the keyword arguments of an environment, and the agents that play in it."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import gymnasium

from llmqueue_gym.envs import ENVIRONMENTS
from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.systems import SYSTEMS, Scenario, System
from llmqueue_gym.systems.agents.base import Agent
from llmqueue_gym.systems.scenario import scenario_fields
from llmqueue_gym.systems.view import View


def opened(system: str | System | Scenario, given: dict[str, Any]) -> tuple[Scenario, View]:
    """Return the scenario and the view of an environment.

    Args:
        system: kind of system, the system, or the whole scenario.
        given: fields of scenario and view; and `fixed`, the kind of system that an id stands for.

    Raises:
        BadInput: it is of another kind, a field does not exist, or a value is out of range; the message names it.
    """
    kind: Any = _kind(system)
    fixed = given.get("fixed", kind.name)
    if kind.name != fixed:
        raise BadInput(f"system={kind.name!r}: this id is of system {fixed!r}; make llmqueue/Scenario-v0 for any other")
    given = {key: value for key, value in given.items() if key != "fixed"}
    if kind.view is None:
        raise BadInput(f"system {kind.name!r} has no decisions for an agent")
    seen = {field.name for field in fields(kind.view)}
    told = {**scenario_fields(kind), **kind.spelled}
    for key in given:
        if key not in seen and key not in told:
            raise BadInput(
                f"an environment of system {kind.name!r} has no argument {key!r}; {nearest(key, [*told, *seen])}"
            )
    rest = {key: value for key, value in given.items() if key not in seen}
    if isinstance(system, Scenario):
        scenario = replace(system, **rest) if rest else system
    else:
        scenario = Scenario(system, **rest)
    view = kind.view(**{key: value for key, value in given.items() if key in seen})
    view.check(scenario)
    if wrong := scenario.overload():
        gymnasium.logger.warn(wrong)
    return scenario, view


def options_of(options: Any) -> dict[str, Any]:
    """Return the options of a reset as a dictionary of one's own, empty for None; BadInput where it is none."""
    if options is not None and not isinstance(options, Mapping):
        raise BadInput(f"options={options!r} must be a dictionary, for example {{'load': 0.9}}")
    return dict(options or {})


def baseline_agent(given: Any, env: Any) -> Agent:
    """Return an agent that plays a policy in an environment by `act(observation)` or `act_env(env)`.

    Args:
        given: a policy that belongs there, its spec, or a plain function.
        env: a scalar or vector environment, wrapped or not.

    Raises:
        BadInput: the policy is unknown or cannot be played in this environment, or `env` is none of this library.
    """
    inner: Any = getattr(env, "unwrapped", None)
    if not isinstance(getattr(inner, "scenario", None), Scenario):
        raise BadInput(f"env={env!r} must be an environment of this library, as gymnasium.make returns it")
    scenario: Scenario = inner.scenario
    return scenario.system.agent(inner.view.policies(scenario)(given), scenario, inner.view)


def order_of(env_id: str, system: str | System | Scenario | None = None) -> str:
    """Return the policy by hand from which a standard learner departs: that of an id, or the first of another system.

    Args:
        env_id: such as "llmqueue/MG1-v0"; "" for none.
        system: what the id was made with, where that is not its own.
    """
    named = ENVIRONMENTS.get(env_id)
    kind = _kind(system if system is not None else named.system if named is not None else "mg1")
    return named.order if named is not None and named.order and named.system == kind.name else kind.base


def _kind(system: str | System | Scenario) -> type[System]:
    if isinstance(system, str):
        kind: Any = SYSTEMS.builder(system.partition(":")[0])
        return kind
    return type(system.system if isinstance(system, Scenario) else system)

"""What the promises of systems and of environments are tested with. Only the registries are named."""

from dataclasses import fields

import gymnasium as gym
import pytest

import llmqueue_gym  # noqa: F401 (registers the environments)
from llmqueue_gym.envs import ENVIRONMENTS
from llmqueue_gym.envs.opened import baseline_agent
from llmqueue_gym.errors import BadInput
from llmqueue_gym.systems import SYSTEMS

N = 60  # jobs
NOISY = "lognormal:sigma=0.5"
SYSTEM = pytest.mark.parametrize("kind", list(SYSTEMS))
ANY = "llmqueue/Scenario-v0"  # the id of any scenario; systems without an id of their own are tested by it
NAMED = {environment.system for name, environment in ENVIRONMENTS.items() if name != ANY}
UNNAMED = [kind for kind in SYSTEMS if kind not in NAMED and SYSTEMS.builder(kind).view is not None]
ENVIRONMENT = pytest.mark.parametrize("name", [*ENVIRONMENTS, *(f"{ANY} {kind}" for kind in UNNAMED)])


def told(name, given):
    """The id behind a name, and its arguments."""
    name, _, kind = name.partition(" ")
    return name, {**({"system": kind} if kind else {}), **given}


def made(name, **given):
    name, given = told(name, {"n_jobs": N, **given})
    return gym.make(name, **given)


def wide(view):
    """Fields with which an agent sees all jobs."""
    return {field.name: N for field in fields(view) if type(field.default) is int}


def playable(scenario, env):
    """The policy with score 0, or else the first in the table, of those that can be played in the environment."""
    view = env.unwrapped.view
    for name in [scenario.system.base, *view.policies(scenario)]:
        try:
            return name, baseline_agent(name, env)
        except BadInput:
            continue
    pytest.skip("no policy is an agent here")

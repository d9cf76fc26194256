"""What the promises of systems and of environments are tested with. Only the registries are named."""

from dataclasses import fields

import gymnasium as gym
import numpy as np
import pytest

import llmqueue_gym  # noqa: F401 (registers the environments)
from llmqueue_gym.envs import ENVIRONMENTS
from llmqueue_gym.envs.opened import baseline_agent
from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.serving.base import PREDICTIONS as REQUEST_PREDICTIONS
from llmqueue_gym.requests import REQUEST, Programs
from llmqueue_gym.systems import SYSTEMS, Drawn

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


def same(a, b):
    """Whether two tables are alike, arrays or tuples of them, of any depth."""
    if isinstance(a, tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return np.array_equal(a, b, equal_nan=np.issubdtype(np.asarray(a).dtype, np.floating))


def jobs_of(drawn):
    """Which job each row of the work is part of `(n,)`: itself, or where there are programs, its program."""
    programs = drawn.truth.get("programs")
    return np.arange(len(drawn.work)) if programs is None else programs.program


def predictions_of(kind, work):
    """The columns of the work that hold what is predicted: those of requests, or those that policies are told so."""
    told = REQUEST_PREDICTIONS if work.dtype == REQUEST else SYSTEMS.builder(kind).policies.made.shown[0].predictions
    return {"predicted", *told} & set(work.dtype.names)


def alone(drawn, job):
    """What is drawn of one job alone."""
    rows = np.flatnonzero(jobs_of(drawn) == job)
    cut = {
        name: table[rows] if isinstance(table, np.ndarray) and len(table) == len(drawn.work) else table
        for name, table in drawn.truth.items()
    }
    if "programs" in cut:
        program, parents, first, gap, *_ = drawn.truth["programs"]
        mine = [np.searchsorted(rows, parents[first[row] : first[row + 1]]) for row in rows]
        begins = np.concatenate([[0], np.cumsum([len(one) for one in mine])])
        cut["programs"] = Programs(program[rows] - job, np.concatenate(mine), begins, gap[rows], np.full(len(rows), -1))
        cut.pop("answers", None)
    return Drawn(drawn.work[rows], cut)


def playable(scenario, env):
    """The policy with score 0, or else the first in the table, of those that can be played in the environment."""
    view = env.unwrapped.view
    for name in [scenario.system.base, *view.policies(scenario)]:
        try:
            return name, baseline_agent(name, env)
        except BadInput:
            continue
    pytest.skip("no policy is an agent here")

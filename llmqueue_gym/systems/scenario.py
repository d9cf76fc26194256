"""A scenario: what comes, what is predicted of it, what serves, and how much. With a seed it fixes a run entirely.

It is what the command line builds, what a board holds, and the configuration of an environment.
"""

import importlib
import inspect
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from llmqueue_gym import systems
from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.systems.base import Drawn, Row, System
from llmqueue_gym.systems.run import Run
from llmqueue_gym.workloads.arrivals import FASTEST, SLOWEST

MOST_JOBS = 10**9
BYTES = 200  # that a job takes in all tables of a run, about
_ENVIRONMENT = "llmqueue_gym.envs.scalar:QueueEnv"  # resolved when one is opened: this layer lies below environments


@dataclass(frozen=True, init=False)
class Scenario:
    """Jobs at a load, with predictions, and a system. Each part is a spec, such as `weibull:shape=0.5`, or the object.

    The fields of the system may be given along with the others, as in `Scenario("central", servers=10, load=0.9)` or
    `Scenario("central:servers=10,load=0.9")`; `dataclasses.replace` takes them, too.

    Attributes:
        system: what serves.
        size: law of what a job is: of its size in s, or of the lengths of a request; see `llmqueue workloads`.
        predictor: prediction model; `srpt` and others bring their own.
        load: share of what the system can do at most; see `overload`.
        rate: arrivals per s, in place of the load.
        arrivals: arrival process.
        workload: anything with `sample(n, arrival_rng, size_rng)`, such as a `TraceWorkload`, in place of size and
            arrivals, and of the load, unless it is one of those that are stretched to it.
        n_jobs: jobs or requests in a run, or as many as the workload has.

    Raises:
        BadInput: a field does not exist, or a value is out of range; the message names it.
    """

    system: System
    size: Any
    predictor: Any
    load: float | None
    rate: float | None
    arrivals: Any
    workload: Any
    n_jobs: int

    def __init__(self, system: "str | System" = "mg1", **given: Any):
        if not isinstance(system, (str, System)):
            raise BadInput(f"system={system!r} must be a name or a System; {nearest('', systems.SYSTEMS)}")
        kind: Any = type(system)
        if isinstance(system, str):
            name, _, rest = system.partition(":")
            kind = systems.SYSTEMS.builder(name)
            given = {**_read(kind, rest), **given}
        own = {field.name for field in fields(kind)}
        common, parts = dict.fromkeys(_COMMON), {}
        common |= {"arrivals": "poisson", **kind.defaults}
        if given.get("rate") is not None:
            if given.get("load") is not None:
                raise BadInput(f"load={given['load']:g} and rate={given['rate']:g} both set the rate; give one of them")
            common["load"] = None
        if given.get("workload") is not None and "load" not in given:
            common["load"] = None  # it comes at its own rate
        for key, value in given.items():
            name = kind.spelled.get(key, key)
            if name in own:
                parts[name] = value
            elif name in _COMMON:
                common[name] = value
            else:
                known = [*own, *_COMMON, *kind.spelled]
                raise BadInput(f"system {kind.name!r} has no field {key!r}; {nearest(key, known)}")
        made = kind(**parts) if isinstance(system, str) else _changed(system, parts)
        if made.closed and "load" not in given:
            common["load"] = None
        for name, value in {"system": made, **common}.items():
            object.__setattr__(self, name, value)
        if (
            not isinstance(self.n_jobs, (int, np.integer))
            or isinstance(self.n_jobs, bool)
            or not (1 <= self.n_jobs <= MOST_JOBS)
        ):
            raise BadInput(f"n_jobs={self.n_jobs!r} must be a whole number from 1 to {MOST_JOBS:,}")
        for name in ("load", "rate"):
            value = getattr(self, name)
            number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
            if value is not None and not (number and SLOWEST <= value <= FASTEST):
                raise BadInput(
                    f"{name}={value!r} must be positive and finite, from {SLOWEST:g} to {FASTEST:g}, for example 0.8"
                )
        made.check(self)

    def overload(self, policy: Any = None) -> str | None:
        """Return what is wrong with a load that the servers cannot carry, or None; recorded work has an end.

        Args:
            policy: a policy of the system, where its own work may be too much.
        """
        load = self.load
        if load is None and self.rate is not None:
            load = getattr(self.source, "load", 0.0) / getattr(self.system, "capacity", 1.0)
        if load is None or self.workload is not None or self.system.lossy:
            return None
        if load < 1:
            return None if policy is None else self.system.overload(self, policy)
        return (
            f"load {load:g} is unstable: the queue grows without end from load 1 on; try 0.95, or jobs that leave "
            "(central with patience) or are recorded (a workload)"
        )

    def policy(self, given: Any) -> Any:
        """Return a policy of this system from its spec, the policy itself, or a plain function."""
        return self.system.policies(given)

    def draw(self, seed: int, policy: Any = None) -> Drawn:
        """Return work and truth of a seed; all but the predictions is the same for every policy and predictor.

        Args:
            seed: not negative.
            policy: for its own predictor, if it brings one along.
        """
        if self.workload is None:
            _refuse_too_many(int(self.n_jobs))
        return self.system.draw(self, seed, policy if policy is None else self.policy(policy))

    def simulate(self, policy: Any = "fcfs", seed: int = 0) -> Run:
        """Play a policy on the work of a seed.

        Args:
            policy: its spec, the policy itself, or a plain function.
            seed: the same seed gives every policy the same jobs.

        Raises:
            BadInput: the policy is unknown, cannot be compiled or gives NaN, or there is work that can never be done.
        """
        made = self.policy(policy)
        if told := self.overload(made):
            warnings.warn(told, stacklevel=2)
        return self.system.simulate(self.draw(seed, made), made, **self.facts(made))

    def bound(self, seed: int) -> float:
        """Return a cost that no policy undercuts on the work of a seed."""
        return self.system.bound(self.draw(seed))

    def facts(self, policy: Any = None) -> dict[str, Any]:
        """Return what a policy may be computed from; see `BasePolicy.params_for`."""
        return self.system.facts(self, policy)

    def known(self, policy: Any) -> list[Row]:
        """Return what theory knows of a policy here."""
        return self.system.known(self, self.policy(policy))

    def env(self, **view: Any) -> Any:
        """Return an environment in which the decisions that the view names are the agent's.

        Args:
            view: fields of the system's view, such as `slots`; and `render_mode`.
        """
        module, name = _ENVIRONMENT.split(":")
        return getattr(importlib.import_module(module), name)(self, **view)

    @cached_property
    def source(self) -> Any:
        """What the work is sampled from."""
        return self.system.source(self)  # type: ignore[attr-defined]

    @cached_property
    def law(self) -> Any:
        """The law of sizes that predictors and policies are fitted to."""
        return self.system.law(self)  # type: ignore[attr-defined]

    @cached_property
    def fitted(self) -> Any:
        """The predictor, fitted to what it is to predict; it is the same in every run."""
        return self.system.predictor(self)  # type: ignore[attr-defined]

    def to_dict(self) -> dict[str, Any]:
        """Return the scenario in words, for the record."""
        words: dict[str, Any] = {"system": self.system.name, **self.system.to_dict()}
        if self.workload is not None:
            words["workload"] = _described(self.workload)
        else:
            words |= {"size": str(self.size), "arrivals": str(self.arrivals)}
        words |= {name: getattr(self, name) for name in ("load", "rate") if getattr(self, name) is not None}
        return {**words, "predictor": str(self.predictor), "n_jobs": int(self.n_jobs)}


_COMMON = tuple(field.name for field in fields(Scenario) if field.name != "system")


def scenario_fields(kind: type[System]) -> dict[str, Any]:
    """Return the fields that a scenario of a kind of system takes, with their defaults."""
    own = {field.name: field.default for field in fields(kind)}
    common = {**dict.fromkeys(_COMMON), "arrivals": "poisson", **kind.defaults}
    return {**own, **common}


def _refuse_too_many(n_jobs: int) -> None:
    """Refuse jobs that the memory of this machine could not hold, where it says how much that is."""
    names = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" in names and n_jobs * BYTES > (
        memory := os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    ):
        raise BadInput(
            f"n_jobs={n_jobs} take about {n_jobs * BYTES / 1e9:.0f} GB, and this machine has {memory / 1e9:.0f} GB; "
            f"choose {memory // BYTES // 10**6 * 10**6:,} at most"
        )


def _changed(system: System, parts: Mapping[str, Any]) -> System:
    return type(system)(**{**{f.name: getattr(system, f.name) for f in fields(system)}, **parts}) if parts else system


def _read(kind: type[System], rest: str) -> dict[str, Any]:
    """Return the fields that the text behind the name of a system tells; within a value a comma is written `;`."""
    types = {f.name: f.type for f in fields(kind)} | {f.name: f.type for f in fields(Scenario)}
    given: dict[str, Any] = {}
    for part in rest.split(",") if rest else []:
        key, equals, text = part.partition("=")
        name = kind.spelled.get(key, key)
        if not equals or name not in types:
            known = [*scenario_fields(kind), *kind.spelled]
            raise BadInput(f"system {kind.name!r} has no field {key!r}; {nearest(key, known)}")
        if name in given:
            raise BadInput(f"system {kind.name!r} is given {key!r} twice; give it once")
        parameter = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=types[name])
        value = systems.SYSTEMS.read(kind.name, name, text, parameter)
        given[name] = value.replace(";", ",") if isinstance(value, str) else value
    return given


def _described(workload: Any) -> str:
    """Return a workload in words: its class and what was set, long arrays as the number of rows."""
    known = getattr(workload, "__dataclass_fields__", {})
    values = {key: getattr(workload, key) for key in known if known[key].repr}
    words = [f"{key}={f'{len(v)} rows' if isinstance(v, np.ndarray) else v}" for key, v in values.items()]
    return workload if isinstance(workload, str) else f"{type(workload).__name__}({', '.join(words)})"

"""Lets the models answer that a rule asks."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from llmqueue_gym._jit import records
from llmqueue_gym.engines.choosing_steps import choose
from llmqueue_gym.errors import BadInput
from llmqueue_gym.requests import CALL, MODEL
from llmqueue_gym.systems.agents.base import Agent
from llmqueue_gym.systems.view import columns_of

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario


class ChoiceAgent(Agent):
    """Asks whom a rule asks, and one more where the rule says so."""

    def __init__(self, policy: Any, scenario: "Scenario", view: Any):
        super().__init__(policy, scenario, view)
        self._at_once = min(policy.at_once, view.n_slots(scenario))
        if view.at_once < self._at_once:
            raise BadInput(
                f"{policy.kind} {policy.name!r} asks {self._at_once} models at once: it needs an environment with "
                f"at_once={self._at_once}, not {view.at_once}"
            )

    def read(self, observation: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Return the call and the models from observations."""
        columns = {name: np.atleast_2d(c) for name, c in columns_of(observation, "jobs", self.view.jobs).items()}
        system = {name: np.atleast_1d(c) for name, c in columns_of(observation, "system", self.view.system).items()}
        runs, count = columns["asked"].shape[:2]
        calls, models = np.zeros(runs, CALL), np.zeros((runs, count), MODEL)
        for name in ("verified", "win", "luck", "load", "spent"):
            calls[name] = system[name]
        for name in ("asked", "prompt", "klass", "calls"):
            calls[name] = np.rint(system[name])
        calls["allowed"] = self.scenario.system.budget  # type: ignore[attr-defined]
        for name in ("quality", "tokens", "price", "wait", "service", "reward"):
            models[name] = columns[name]
        for name in ("asked", "trials"):
            models[name] = np.rint(columns[name])
        models["index"] = models["strength"] = np.arange(count)
        models["models"] = count
        return {"call": calls, "models": models, "answered": system["answered"] > 0}

    def look(self, seen: Mapping[str, Any]) -> dict[str, Any]:
        """Return the call and the models."""
        return dict(seen)

    def choose(self, seen: dict[str, Any]) -> np.ndarray:
        """Return the actions `(E,)`."""
        return self._decided(seen)[0]

    def preferences(self, seen: dict[str, Any]) -> list[np.ndarray]:
        """Return the scores of the models."""
        return [self._decided(seen)[1]]

    def _decided(self, seen: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        calls, models = (np.ascontiguousarray(seen[name]) for name in ("call", "models"))
        actions, scores = np.zeros(len(calls), np.int64), np.zeros(models.shape)
        tables = records(calls), records(models), seen["answered"]
        choose(*tables, *self.pointers, self.params, self._at_once, actions, scores)
        self.policy.refuse_failure(self.params)
        return actions, scores

"""Lets a request draft what the rule says."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from llmqueue_gym._jit import kernel, records
from llmqueue_gym.jobs import JOB
from llmqueue_gym.requests import DRAFT
from llmqueue_gym.systems.agents.base import Agent
from llmqueue_gym.systems.view import columns_of


@kernel
def drafts_of(jobs, seen, draft, params, drafts):
    """Write the drafts `(E,)` of requests `(E,)`, tokens, by a compiled rule and its parameters."""
    for e in range(jobs.shape[0]):
        drafts[e] = draft(jobs[e], seen[e], params)


class SpeculativeAgent(Agent):
    """Drafts as a rule says."""

    def read(self, observation: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Return the request in question and its drafts so far, from observations."""
        columns = {name: np.atleast_2d(c) for name, c in columns_of(observation, "jobs", self.view.jobs).items()}
        system = {name: np.atleast_1d(c) for name, c in columns_of(observation, "system", self.view.system).items()}
        jobs, seen = np.zeros(len(columns["present"]), JOB), np.zeros(len(columns["present"]), DRAFT)
        for name in ("predicted", "age", "weight"):
            jobs[name] = columns[name][:, 0]
        jobs["arrival"] = -columns["time_in_system"][:, 0]
        for name in ("told", "tried", "accepted"):
            seen[name] = columns[name][:, 0]
        for name, column in (("all_tried", "tried"), ("all_accepted", "accepted"), ("batch", "batch")):
            seen[name] = np.rint(system[column])
        seen["waiting"] = np.rint(system["waiting"])
        fixed = self.scenario.system.seen  # type: ignore[attr-defined]
        seen["seats"], seen["most"] = fixed["seats"], fixed["most"]
        return {"job": jobs, "draft": seen}

    def look(self, seen: Mapping[str, Any]) -> dict[str, Any]:
        """Return the request in question and its drafts so far."""
        return dict(seen)

    def choose(self, seen: dict[str, Any]) -> np.ndarray:
        """Return the drafts `(E,)`, tokens."""
        drafts = np.zeros(len(seen["job"]))
        seen["draft"]["batch"] = np.maximum(seen["draft"]["batch"], 1)  # also where nobody is asked any more
        drafts_of(records(seen["job"]), records(seen["draft"]), self.pointers[0], self.params, drafts)
        self.policy.refuse_failure(self.params)
        return np.clip(np.rint(drafts), 0, self.view.n_actions(self.scenario) - 1).astype(np.int64)

    def preferences(self, seen: dict[str, Any]) -> list[np.ndarray]:
        """Return one number, as there is one request."""
        return [np.zeros((len(seen["job"]), 1))]

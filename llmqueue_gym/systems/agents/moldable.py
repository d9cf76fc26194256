"""Takes the offer of least score among those in sight, as the engine does among all."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from llmqueue_gym._jit import kernel, records
from llmqueue_gym.jobs import JOB, OFFER
from llmqueue_gym.systems.agents.base import Agent
from llmqueue_gym.systems.view import columns_of


@kernel
def least_offer(jobs, offers, present, servers, score, params, window, actions):
    """Choose the offer of least score in each of E decisions, or the action behind all offers.

    Args:
        jobs: `JOB` rows `(E, slots)`, by order of arrival.
        offers: `OFFER` rows `(E, slots * k)`: those of the first job on 1, 2, ... k servers come first.
        present: `(E, slots)`, whether the slot holds a job; those that do come first.
        servers: k.
        score: compiled score function.
        params: its parameters.
        window: slots that it looks at.
        actions: `(E,)`, written.
    """
    for e in range(jobs.shape[0]):
        least, actions[e] = np.inf, offers.shape[1]
        for slot in range(min(window, jobs.shape[1])):
            if not present[e, slot]:
                break
            for at in range((slot + 1) * servers - 1, slot * servers - 1, -1):
                value = score(jobs[e, slot], offers[e, at], params)
                if value < least:
                    least, actions[e] = value, at
        if actions[e] < offers.shape[1] and offers[e, actions[e]].servers > offers[e, actions[e]].free:
            actions[e] = offers.shape[1]


@kernel
def scores_of(jobs, offers, present, servers, score, params, scores):
    """Write the scores `(E, slots * k)` of the offers that there are; the arguments are as in `least_offer`."""
    for e in range(jobs.shape[0]):
        for at in range(offers.shape[1]):
            if present[e, at // servers]:
                scores[e, at] = score(jobs[e, at // servers], offers[e, at], params)


class MoldableAgent(Agent):
    """Takes the offer of least score, and passes where so many servers are not free."""

    def read(self, observation: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Return jobs and offers from observations."""
        columns = {name: np.atleast_2d(c) for name, c in columns_of(observation, "jobs", self.view.jobs).items()}
        system = {name: np.atleast_1d(c) for name, c in columns_of(observation, "system", self.view.system).items()}
        k = self._servers
        jobs = np.zeros((len(columns["present"]), int(self.view.slots)), JOB)
        for name in ("predicted", "weight", "klass"):
            jobs[name] = columns[name][:, ::k]
        jobs["arrival"], jobs["deadline"] = -columns["time_in_system"][:, ::k], np.inf
        offers = np.zeros(columns["present"].shape, OFFER)
        for name in ("servers", "time", "wait"):
            offers[name] = columns[name]
        for name in ("free", "waiting", "running"):
            offers[name] = system[name][:, None]
        return {"jobs": jobs, "offers": offers, "present": columns["present"][:, ::k] > 0}

    def look(self, seen: Mapping[str, Any]) -> dict[str, Any]:
        """Return the jobs in sight and their offers."""
        jobs, times, k = seen["jobs"], seen["times"], self._servers
        offers = np.zeros((1, times.size), OFFER)
        offers["servers"], offers["wait"] = np.tile(np.arange(1, k + 1), len(jobs)), np.tile(seen["waits"], len(jobs))
        offers["time"] = times.ravel()
        for name in ("clock", "free", "waiting", "running"):
            offers[name] = seen[name]
        return {"jobs": jobs[None], "offers": offers, "present": np.ones((1, len(jobs)), bool)}

    def choose(self, seen: dict[str, Any]) -> np.ndarray:
        """Return the actions."""
        jobs, offers, passes = seen["jobs"], seen["offers"], self.view.n_actions(self.scenario) - 1
        offers["total"] = self._servers
        actions = np.zeros(len(jobs), np.int64)
        window = self.policy.window or jobs.shape[1]
        tables = records(jobs), records(offers), seen["present"], self._servers
        least_offer(*tables, self.pointers[0], self.params, window, actions)
        self.policy.refuse_failure(self.params)
        return np.where(actions < offers.shape[1], actions, passes)

    def preferences(self, seen: dict[str, Any]) -> list[np.ndarray]:
        """Return the scores of the offers."""
        seen["offers"]["total"] = self._servers
        scores = np.full(seen["offers"].shape, np.inf)
        offers_of = records(seen["jobs"]), records(seen["offers"]), seen["present"], self._servers
        scores_of(*offers_of, self.pointers[0], self.params, scores)
        return [scores]

    @property
    def _servers(self) -> int:
        return int(self.scenario.system.servers)  # type: ignore[attr-defined]

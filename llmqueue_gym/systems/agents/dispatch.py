"""Sends each job to the visible queue of least score, as the engine does."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from llmqueue_gym._jit import kernel, records
from llmqueue_gym.engines.dispatch_steps import least_score
from llmqueue_gym.errors import BadInput
from llmqueue_gym.jobs import JOB, QUEUE, job_table
from llmqueue_gym.systems.agents.base import Agent
from llmqueue_gym.systems.view import columns_of

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario


class DispatchAgent(Agent):
    """Sends each job to the visible queue of least score.

    Of the job an observation has its predicted size and weight alone. Ties are broken as in the closed loop.
    """

    def __init__(self, policy: Any, scenario: "Scenario", view: Any):
        super().__init__(policy, scenario, view)
        if policy.looks == "turn":
            servers = scenario.system.servers  # type: ignore[attr-defined]
            hint = f"with sees=None job i takes action i % {servers}"
            raise BadInput(f"dispatch policy {policy.name!r} does not look: {hint}")
        sees = None if policy.looks == "all" else policy.d
        for name, wanted in (("sees", sees), ("split", policy.split)):
            shown = getattr(view, name)
            if wanted != shown and wanted != np.inf:
                needs = f"needs an environment with {name}={wanted}, not {shown}"
                raise BadInput(f"dispatch policy {policy.name!r} {needs}")

    def read(self, observation: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Return arrivals and queues from observations."""
        columns = columns_of(observation, "jobs", self.view.jobs)
        queues = np.zeros(columns["present"].shape, QUEUE)
        for name in QUEUE.names or ():
            queues[name] = columns[name]
        system = columns_of(observation, "system", self.view.system)
        predicted, weight = np.atleast_1d(system["predicted"]), np.atleast_1d(system["weight"])
        jobs = job_table(np.zeros(len(predicted)), predicted, weight)
        ties = np.atleast_1d(system["tie"]).astype(np.float64)
        return {"jobs": jobs, "queues": np.atleast_2d(queues), "ties": ties}

    def look(self, seen: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arrival and the queues that it sees."""
        return {"jobs": seen["job"], "queues": np.atleast_2d(seen["queues"]), "ties": np.atleast_1d(seen["tie"])}

    def choose(self, seen: dict[str, Any]) -> np.ndarray:
        """Return the rows of the queues."""
        jobs, queues = self._tables(seen)
        actions, scores = np.zeros(len(jobs), np.int64), np.zeros(queues.shape[1])
        tables = records(jobs), records(queues)
        least_score(*tables, seen["ties"], self.pointers[0], self.params, scores, actions)
        self.policy.refuse_failure(self.params)
        return actions

    def preferences(self, seen: dict[str, Any]) -> list[np.ndarray]:
        """Return the scores of the queues."""
        jobs, queues = self._tables(seen)
        scores = np.zeros(queues.shape)
        scores_of(records(jobs), records(queues), self.pointers[0], self.params, scores)
        return [scores]

    def _tables(self, seen: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        return np.ascontiguousarray(seen["jobs"], JOB), np.ascontiguousarray(seen["queues"], QUEUE)


@kernel
def scores_of(jobs, queues, score, params, scores):
    """Write the scores `(E, k)` of the queues `(E, k)` for each of E arrivals."""
    for e in range(jobs.shape[0]):
        for c in range(queues.shape[1]):
            scores[e, c] = score(jobs[e], queues[e, c], params)

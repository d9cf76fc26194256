"""Serves the visible job of least rank, as the engine does among all."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from llmqueue_gym._jit import kernel, records
from llmqueue_gym.errors import BadInput
from llmqueue_gym.jobs import JOB, RUNNING
from llmqueue_gym.systems.agents.base import Agent, ranks_of
from llmqueue_gym.systems.view import columns_of

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario


@kernel
def least_rank(rows, present, stays, rank, params, lcfs_up_to, actions):
    """Choose the slot of least rank in each of E decisions.

    Args:
        rows: `JOB` rows `(E, slots)`.
        present: `(E, slots)`, whether the slot holds a job; those that do come first.
        stays: `(E, slots)`, whether the job keeps the server whatever its rank.
        rank: compiled rank function.
        params: its parameters `(k,)`.
        lcfs_up_to: equal ranks up to this number go to the later arrival, others to the earlier.
        actions: `(E,)`, written.
    """
    for e in range(rows.shape[0]):
        best, least = 0, np.inf
        for k in range(rows.shape[1]):
            if not present[e, k]:
                break
            if stays[e, k]:
                best = k
                break
            value = rank(rows[e, k], params)
            if value < least or (value == least and value <= lcfs_up_to):
                best, least = k, value
        actions[e] = best


class RankAgent(Agent):
    """Serves the job of least rank among those in the slots.

    In a preemptive environment a policy without preemption stays with the job in service. Of the observation it reads
    the columns that have the names of those of the job table, so it plays wherever an action is the slot of a job.
    """

    def __init__(self, policy: Any, scenario: "Scenario", view: Any):
        super().__init__(policy, scenario, view)
        if policy.drops:
            raise BadInput(f"policy {policy.name!r} sends jobs away, which no action does here")

    def read(self, observation: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Return rows of the job table from observations."""
        columns = columns_of(observation, "jobs", self.view.jobs)
        rows = np.zeros(columns["present"].shape, JOB)
        for name in JOB.names or ():
            if name in columns:
                rows[name] = columns[name]
        rows["arrival"] = -columns["time_in_system"]
        present, running = columns["present"] > 0, columns.get("in_service", np.zeros(rows.shape)) > 0
        return {
            name: np.atleast_2d(part) for name, part in (("rows", rows), ("present", present), ("running", running))
        }

    def look(self, seen: Mapping[str, Any]) -> dict[str, Any]:
        """Return rows of the job table behind the slots."""
        rows = np.atleast_2d(seen["jobs"])
        return {"rows": rows, "present": np.ones(rows.shape, bool), "running": rows["status"] == RUNNING}

    def choose(self, seen: dict[str, Any]) -> np.ndarray:
        """Return the slots."""
        rows, actions = np.ascontiguousarray(seen["rows"]), np.zeros(len(seen["rows"]), np.int64)
        stays = seen["running"] & (not self.policy.preemptive)
        least_rank(
            records(rows), seen["present"], stays, self.pointers[0], self.params, self.policy.lcfs_up_to, actions
        )
        self.policy.refuse_failure(self.params)
        return actions

    def preferences(self, seen: dict[str, Any]) -> list[np.ndarray]:
        """Return the ranks."""
        ranks = np.zeros(seen["rows"].shape)
        ranks_of(records(np.ascontiguousarray(seen["rows"])), self.pointers[0], self.params, ranks)
        return [ranks]

"""Asks for the predictions that a policy asks for, and serves the visible job of least rank, as the engine does."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from llmqueue_gym._jit import kernel, records
from llmqueue_gym.errors import BadInput
from llmqueue_gym.jobs import CHEAP, CHEAP_KNOWN, JOB, SIZE_KNOWN, STAGE
from llmqueue_gym.systems.agents.base import Agent
from llmqueue_gym.systems.view import columns_of

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario


@kernel
def decide(jobs, stages, present, asked, asked_stage, is_asked, rank, ask, params, kinds, actions):
    """Choose the slot of least rank, or what comes next for the job that is asked about, in each of E decisions.

    Args:
        jobs: `JOB` rows `(E, slots)`, by order of arrival.
        stages: `STAGE` rows `(E, slots)`.
        present: `(E, slots)`, whether the slot holds a job; those that do come first.
        asked: `JOB` rows `(E,)`.
        asked_stage: `STAGE` rows `(E,)`.
        is_asked: `(E,)`, whether a job is asked about.
        rank: compiled rank function.
        ask: compiled function that says what comes next.
        params: their parameters.
        kinds: how many stages can come next.
        actions: `(E,)`, written: a slot, or -1 less the code of the next stage.
    """
    for e in range(jobs.shape[0]):
        if is_asked[e]:
            code = ask(asked[e], asked_stage[e], params)
            actions[e] = -1
            for kind in range(kinds):
                known = asked_stage[e].known & (CHEAP_KNOWN if kind == CHEAP else SIZE_KNOWN)
                if code == kind and kind > 0 and known == 0:
                    actions[e] = -1 - kind
            continue
        least = np.inf
        actions[e] = 0
        for k in range(jobs.shape[1]):
            if not present[e, k]:
                break
            value = rank(jobs[e, k], stages[e, k], params)
            if value < least:
                least, actions[e] = value, k


@kernel
def ranks_in_stages(jobs, stages, present, rank, params, ranks):
    """Write the ranks `(E, slots)` of the jobs that there are; the arguments are as in `decide`."""
    for e in range(jobs.shape[0]):
        for k in range(jobs.shape[1]):
            if present[e, k]:
                ranks[e, k] = rank(jobs[e, k], stages[e, k], params)


class PredictAgent(Agent):
    """Buys what the policy asks for, and serves the job of least rank among those in the slots."""

    def __init__(self, policy: Any, scenario: "Scenario", view: Any):
        super().__init__(policy, scenario, view)
        what = f"{policy.kind} {policy.name!r} needs an environment with"
        if policy.pause != view.pause:
            raise BadInput(f"{what} pause={policy.pause:g}, and this one has pause={view.pause:g}")
        if policy.edges and tuple(policy.edges) != tuple(view.edges):
            raise BadInput(f"{what} edges={tuple(policy.edges)}, and this one has edges={tuple(view.edges)}")

    def read(self, observation: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Return jobs and stages from observations."""
        columns = {name: np.atleast_2d(c) for name, c in columns_of(observation, "jobs", self.view.jobs).items()}
        system = {name: np.atleast_1d(c) for name, c in columns_of(observation, "system", self.view.system).items()}
        jobs, stages = self._tables(columns, system["in_system"][:, None], system["predicting"][:, None])
        about = {name.removeprefix("asked_"): c for name, c in system.items() if name.startswith("asked_")}
        asked, stage = self._tables(about, system["in_system"], system["predicting"])
        present = columns["present"] > 0
        return {
            **{"jobs": jobs, "stages": stages, "present": present},
            **{"asked": asked, "asked_stage": stage, "is_asked": system["asked"] > 0},
        }

    def look(self, seen: Mapping[str, Any]) -> dict[str, Any]:
        """Return jobs and stages of those in the slots."""
        count, is_asked = len(seen["jobs"]), len(seen["asked"]) > 0
        none = np.zeros(1, JOB), np.zeros(1, STAGE)
        asked, stage = (seen["asked"], seen["asked_stage"]) if is_asked else none
        return {
            **{"jobs": seen["jobs"][None], "stages": seen["stages"][None], "present": np.ones((1, count), bool)},
            **{"asked": asked, "asked_stage": stage, "is_asked": np.array([is_asked])},
        }

    def choose(self, seen: dict[str, Any]) -> np.ndarray:
        """Return the actions."""
        tables = [np.ascontiguousarray(seen[name]) for name in ("jobs", "stages", "present", "asked", "asked_stage")]
        jobs, stages, present, asked, stage = tables
        slots = self.view.n_slots(self.scenario)
        kinds, actions = self.view.n_actions(self.scenario) - slots, np.zeros(len(jobs), np.int64)
        rows = records(jobs), records(stages), present, records(asked), records(stage), seen["is_asked"]
        decide(*rows, *self.pointers, self.params, kinds, actions)
        self.policy.refuse_failure(self.params)
        return np.where(actions < 0, slots - 1 - actions, actions)

    def preferences(self, seen: dict[str, Any]) -> list[np.ndarray]:
        """Return the ranks."""
        jobs, stages = np.ascontiguousarray(seen["jobs"]), np.ascontiguousarray(seen["stages"])
        ranks = np.full(jobs.shape, np.inf)
        ranks_in_stages(records(jobs), records(stages), seen["present"], self.pointers[0], self.params, ranks)
        return [ranks]

    def _tables(
        self, columns: Mapping[str, np.ndarray], in_system: np.ndarray, predicting: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return `JOB` and `STAGE` rows of columns."""
        jobs, stages = np.zeros(columns["age"].shape, JOB), np.zeros(columns["age"].shape, STAGE)
        for name in ("predicted", "age", "weight"):
            jobs[name] = columns[name]
        jobs["arrival"], jobs["klass"] = -columns["time_in_system"], columns["cheap"] - 1
        stages["known"] = CHEAP_KNOWN * (columns["cheap"] > 0) + SIZE_KNOWN * (columns["sized"] > 0)
        for name in ("kind", "done", "coin"):
            stages[name] = columns.get(name, 0)
        stages["in_system"], stages["predicting"] = in_system, predicting
        return jobs, stages

"""E runs of the single server side by side: the tables that the kernel advances, and their reading for Gymnasium.

The scalar environment is a batch of one, so scalar and vector cannot differ.
"""

from typing import Any

import numpy as np

from llmqueue_gym._jit import records
from llmqueue_gym.engines.single_server import step_batch
from llmqueue_gym.engines.state import SKIP, START, STEP, fresh_state
from llmqueue_gym.envs.config import MG1Config
from llmqueue_gym.envs.observation import FEATURES, SYSTEM
from llmqueue_gym.errors import BadInput
from llmqueue_gym.jobs import JOB, Instance, outcome_table

Report = tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]


class MG1Batch:
    """The state of E runs. No attribute is a view of another, so copies and pickles keep working.

    Attributes:
        config: the keyword arguments of the environment.
        states, steps, jobs, outcome, live, actions: as in `step_batch`.
        observation: the buffers of the observation, each with E as its first axis.
    """

    def __init__(self, config: MG1Config, size: int):
        n, slots = int(config.n_jobs), int(config.slots)
        self.config = config
        self.states = records(fresh_state(size))
        self.steps = records(np.zeros(size, STEP))
        self.n_jobs = np.zeros(size, np.int64)
        self.jobs = records(np.zeros((size, n), JOB))
        self.truth = np.zeros((size, n, 2))
        self.outcome = records(np.tile(outcome_table(n), (size, 1)))
        self.live = np.zeros((size, n), np.int64)
        self.actions = np.full(size, SKIP, np.int64)
        self.observation: dict[str, np.ndarray] = {
            "jobs": np.zeros((size, slots, len(FEATURES)), np.float32),
            "system": np.zeros((size, len(SYSTEM)), np.float32),
            "action_mask": np.zeros((size, slots), np.int8),
        }
        self._arguments = (
            *(self.states, self.steps, self.n_jobs, self.jobs, self.truth, self.outcome, self.live, self.actions),
            *self.observation.values(),
            *(bool(config.preemptive), float(config.quantum), float(config.horizon)),
        )

    def begin(self, e: int, seed: int) -> None:
        """Lay out the episode of a seed in row `e`; the next `advance` goes to its first arrival."""
        instance = self._checked(self.config.draw(seed))
        jobs, sizes = instance
        n = len(sizes)
        self.n_jobs[e] = n
        self.jobs[e, :n].view(np.int64)[:] = jobs.view(np.int64)  # records would be copied column by column
        self.truth[e, :n, 0] = sizes
        self.truth[e, :n, 1] = self.config.cost(instance)
        outcome = self.outcome[e]
        outcome["start"] = outcome["completion"] = np.nan
        outcome["preemptions"] = 0
        self.states[e] = _FRESH
        self.actions[e] = START

    def _checked(self, instance: Instance) -> Instance:
        jobs, sizes = instance
        if not 1 <= len(jobs) == len(sizes) <= self.config.n_jobs:
            name = type(self.config.source).__name__
            raise BadInput(
                f"workload {name} returned {len(jobs)} jobs and {len(sizes)} sizes, not 1 to {self.config.n_jobs}"
            )
        return Instance(np.ascontiguousarray(jobs, JOB), sizes)

    def advance(self) -> None:
        """Carry out `actions` in every run, up to its next decision."""
        step_batch(*self._arguments)

    def report(self, e: int) -> Report:
        """Return what `Env.step` returns of run `e`, in fresh arrays."""
        reward, dt, clock, in_system, illegal, terminated, truncated = self.steps.item(e)
        observation = {name: buffer[e].copy() for name, buffer in self.observation.items()}
        info = {"dt": dt, "clock": clock, "n_in_system": in_system, "action_mask": observation["action_mask"]}
        if illegal:
            info["illegal_action"] = True
        if terminated or truncated:
            info["episode_metrics"] = self.metrics(e)
        return observation, reward, terminated, truncated, info

    def response_times(self) -> np.ndarray:
        """Return completion minus arrival `(E, n)`, s; NaN for a job that has not left or does not exist."""
        return self.outcome["completion"] - self.jobs["arrival"]

    def metrics(self, e: int) -> dict[str, Any]:
        """Return the mean response time (s; NaN if no job has left) and the number of the jobs that have left."""
        n, done = int(self.n_jobs[e]), int(self.states["done"][e])
        response = self.outcome["completion"][e, :n] - self.jobs["arrival"][e, :n]
        total = response.sum() if done == n else np.nansum(response)  # NaN where the job has not left
        return {"mean_response_time": float(total) / done if done else float("nan"), "jobs": done}


_FRESH = fresh_state()[0]

"""E episodes of jobs on servers: the tables that all engines of the queue share."""

from typing import Any

import numpy as np

from llmqueue_gym._jit import records
from llmqueue_gym.envs.episodes import Episodes
from llmqueue_gym.envs.job_config import JobConfig
from llmqueue_gym.errors import BadInput
from llmqueue_gym.jobs import JOB, outcome_table


class JobEpisodes(Episodes):
    """Jobs, their truth and what happens to them.

    A subclass adds the state of its engine in `__init__` and `give`, and writes `advance`.

    Attributes:
        n_jobs: `(E,)`, jobs of each episode; the tables below have room for n.
        jobs: `JOB` rows `(E, n)`.
        truth: `(E, n, 2)`, true size (s) and cost per second in system of each job, side by side in memory.
        outcome: `OUTCOME` rows `(E, n)`.
    """

    config: JobConfig

    def __init__(self, config: JobConfig, size: int):
        super().__init__(config, size)
        n = int(config.n_jobs)
        self.n_jobs = np.zeros(size, np.int64)
        self.jobs = records(np.zeros((size, n), JOB))
        self.truth = np.zeros((size, n, 2))
        self.outcome = records(np.tile(outcome_table(n), (size, 1)))

    def lay_out(self, e: int, seed: int) -> None:
        """Draw the jobs of a seed and write them to the tables of run `e`."""
        self.give(e, self.config.draw(seed))

    def give(self, e: int, instance: Any) -> None:
        """Let run `e` begin with these jobs; a subclass adds what its engine keeps beside them.

        Args:
            e: the run.
            instance: has `jobs`, `JOB` rows `(n,)`, and `sizes` `(n,)`, s.

        Raises:
            BadInput: there are none, or more than there is room for.
        """
        jobs, sizes = instance.jobs, instance.sizes
        if not 1 <= len(jobs) == len(sizes) <= self.config.n_jobs:
            name = type(self.config.source).__name__
            raise BadInput(
                f"workload {name} returned {len(jobs)} jobs and {len(sizes)} sizes, not 1 to {self.config.n_jobs}"
            )
        n = len(sizes)
        self.n_jobs[e] = n
        # Records would be copied column by column.
        self.jobs[e, :n].view(np.int64)[:] = np.ascontiguousarray(jobs, JOB).view(np.int64)
        self.truth[e, :n, 0] = sizes
        self.truth[e, :n, 1] = self.config.cost(instance)
        outcome = self.outcome[e]
        outcome["start"] = outcome["completion"] = np.nan
        outcome["preemptions"] = 0

    def count(self, e: int) -> int:
        """Return the number of jobs in the episode of run `e`."""
        return int(self.n_jobs[e])

    def response_times(self) -> np.ndarray:
        """Return completion minus arrival `(E, n)`, s; NaN for a job that has not left or does not exist."""
        return self.outcome["completion"] - self.jobs["arrival"]

    def metrics(self, e: int) -> dict[str, Any]:
        """Return the mean response time (s; NaN if no job has left) and the number of the jobs that have left."""
        n = self.count(e)
        response = self.outcome["completion"][e, :n] - self.jobs["arrival"][e, :n]
        done = n - int(np.count_nonzero(np.isnan(response)))
        total = response.sum() if done == n else np.nansum(response)
        return {"mean_response_time": float(total) / done if done else float("nan"), "jobs": done}

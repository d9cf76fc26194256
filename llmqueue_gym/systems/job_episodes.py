"""Runs of jobs on servers that stop where an agent decides: what all systems of jobs keep of them."""

from typing import TYPE_CHECKING, Any

import numpy as np

from llmqueue_gym._jit import records
from llmqueue_gym.engines.state import fresh_state
from llmqueue_gym.jobs import JOB, outcome_table
from llmqueue_gym.systems.base import Drawn
from llmqueue_gym.systems.episodes import Episodes, summary
from llmqueue_gym.systems.run import Run

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario
    from llmqueue_gym.systems.view import View


class JobEpisodes(Episodes):
    """Jobs on servers, their truth and what happens to them.

    Attributes:
        n_jobs: `(E,)`, jobs of each episode; the tables below have room for n.
        jobs: `JOB` rows `(E, n)`.
        truth: `(E, n, 2)`, true size (s) and cost per second in system of each job, side by side in memory.
        outcome: `OUTCOME` rows `(E, n)`.
    """

    def __init__(self, scenario: "Scenario", view: "View", size: int):
        super().__init__(scenario, view, size)
        n = int(scenario.n_jobs)
        self.n_jobs = np.zeros(size, np.int64)
        self.jobs = records(np.zeros((size, n), JOB))
        self.truth = np.zeros((size, n, 2))
        self.outcome = records(np.tile(outcome_table(n), (size, 1)))
        self._nothing = outcome_table(n).view(np.int64)

    def give(self, e: Any, drawn: Drawn) -> None:
        """Let run `e`, or several, begin with these jobs; a subclass adds what its engine keeps beside them."""
        work = drawn.work
        n = self.n_jobs[e] = work.shape[-1]
        # Records would be copied column by column.
        words = np.ascontiguousarray(work, JOB).view(np.int64)
        self.jobs.view(np.int64)[e, : words.shape[-1]] = words
        self.truth[e, :n, 0] = drawn.sizes
        self.truth[e, :n, 1] = self.view.costs(drawn)
        self.outcome.view(np.int64)[e] = self._nothing

    def run(self, e: int = 0, player: str = "agent", elapsed: float = 0.0) -> Run:
        """Return what has come of run `e` so far."""
        n = int(self.n_jobs[e])
        jobs, outcome = (np.array(table[e, :n]) for table in (self.jobs, self.outcome))
        reason = "horizon" if self.steps["truncated"][e] else "drained"
        return Run(player, jobs, self.truth[e, :n, 0].copy(), outcome, elapsed, self.scenario.system, reason)

    def completions(self) -> np.ndarray:
        """Return when each job left `(E, n)`, s; NaN for one that has not."""
        return self.outcome["completion"]

    def response_times(self) -> np.ndarray:
        """Return completion minus arrival `(E, n)`, s; NaN for a job that has not left or does not exist."""
        return self.outcome["completion"] - self.jobs["arrival"]

    def metrics(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the mean response time (s; NaN if nobody has left) and how many have left, `(rows,)` each."""
        return summary(self.outcome["completion"][rows] - self.jobs["arrival"][rows])


class SlotEpisodes(JobEpisodes):
    """Jobs in one list by order of arrival, of which a `SlotView` shows the first.

    Attributes:
        states: `QUEUE_STATE` rows `(E,)`.
        live: `(E, n)`, rows of the jobs in system, the earliest first; `states.in_system` of them count.
    """

    def __init__(self, scenario: "Scenario", view: "View", size: int):
        super().__init__(scenario, view, size)
        self.states = records(fresh_state(size))
        self.live = np.zeros((size, int(scenario.n_jobs)), np.int64)
        self._fresh = fresh_state()[0]

    def give(self, e: Any, drawn: Drawn) -> None:
        """Let run `e`, or several, begin with these jobs, in an empty system."""
        super().give(e, drawn)
        self.states[e] = self._fresh

    def seen(self, e: int = 0) -> dict[str, Any]:
        """Return the `JOB` rows behind the slots."""
        count = min(self.view.slots, int(self.states["in_system"][e]))
        return {"jobs": self.jobs[e, self.live[e, :count]]}

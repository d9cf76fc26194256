"""Moldable jobs opened for an agent: the offers that it sees and takes, and the state of E clusters."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from llmqueue_gym._jit import records
from llmqueue_gym.engines import moldable
from llmqueue_gym.engines.moldable_steps import step_batch
from llmqueue_gym.systems.base import Drawn
from llmqueue_gym.systems.job_episodes import JobEpisodes
from llmqueue_gym.systems.run import Run
from llmqueue_gym.systems.scene import Scene
from llmqueue_gym.systems.scenes import moldable_scene
from llmqueue_gym.systems.view import Column, Columns, View, check_counts

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario


@dataclass(frozen=True, kw_only=True)
class MoldableView(View):
    """What an agent sees and decides: the offers that can be made to the first who wait.

    Attributes:
        slots: waiting jobs that the agent can see and choose from.
    """

    jobs: ClassVar[Columns] = {  # the offers of the first that wait, by order of arrival, each on 1, 2, ... servers
        "present": Column("1 where the row holds an offer"),
        "predicted": Column("predicted time of the job on one server, s", "s"),
        "time_in_system": Column("of the job, since its arrival, s", "s"),
        "weight": Column("its cost per second in system"),
        "klass": Column("its class"),
        "servers": Column("that it would be given", "servers"),
        "time": Column("its predicted time on them, s", "s"),
        "wait": Column("until so many are free, predicted, s", "s"),
    }
    system: ClassVar[Columns] = {
        "waiting": Column("jobs that wait", "slots"),
        "unseen": Column("how many of them are beyond the last slot", "slots"),
        "running": Column("jobs in service", "servers"),
        "free": Column("free servers", "servers"),
        "since_decision": Column("since the last decision, s", "s"),
    }
    actions: ClassVar[str] = (
        "the row of the offer to take, open where so many servers are free; the last starts nothing until a job comes "
        "or goes. One that is not open stands for the first that is"
    )

    slots: int = 8

    def check(self, scenario: "Scenario") -> None:
        """Refuse values out of range."""
        super().check(scenario)
        check_counts(self, "slots")

    def scales(self, scenario: "Scenario") -> dict[str, float]:
        """Return what one of each unit of a column is in raw numbers."""
        return {**super().scales(scenario), "slots": float(self.slots)}

    def n_slots(self, scenario: "Scenario") -> int:
        """Return the rows of the observation's `jobs`: the offers in sight."""
        return int(self.slots) * int(scenario.system.servers)  # type: ignore[attr-defined]

    def n_actions(self, scenario: "Scenario") -> int:
        """Return the offers in sight, and one more."""
        return self.n_slots(scenario) + 1


class MoldableEpisodes(JobEpisodes):
    """The state of E clusters of k servers.

    Attributes:
        states: `MOLDABLE_STATE` rows `(E,)`.
        predicted: `(E, n, k)`, predicted times on 1, 2, ... servers, s.
        times: `(E, n, k)`, the true ones.
        line: `(E, n)`, rows of those who wait, the earliest first.
        running: `HELD` rows `(E, k)`, in the order in which they are predicted to end.
        waits: `(E, k)`, predicted times until 1, 2, ... servers are free, s.
    """

    in_units = True

    def __init__(self, scenario: "Scenario", view: MoldableView, size: int):
        super().__init__(scenario, view, size)
        n, k = int(scenario.n_jobs), int(scenario.system.servers)  # type: ignore[attr-defined]
        self.states, self.running = records(np.tile(idle(k), size)), records(np.zeros((size, k), moldable.HELD))
        self.predicted, self.times = np.zeros((size, n, k)), np.zeros((size, n, k))
        self.line, self.waits = np.zeros((size, n), np.int64), np.zeros((size, k))
        self._arguments = (
            *(self.states, self.steps, self.n_jobs, self.jobs, self.truth, self.predicted, self.times, self.outcome),
            *(self.line, self.running, self.waits, self.actions, *self.observation.values(), *self.factors),
            *(int(view.slots), float(view.horizon)),
        )

    def give(self, e: Any, drawn: Drawn) -> None:
        """Let run `e`, or several, begin with these jobs, at idle servers."""
        super().give(e, drawn)
        n = drawn.work.shape[-1]
        self.states[e] = idle(self.waits.shape[1])[0]
        self.predicted[e, :n], self.times[e, :n] = drawn.truth["predicted"], drawn.truth["times"]

    def advance(self) -> None:
        """Carry out `actions` in every run, up to its next decision."""
        step_batch(*self._arguments)

    def run(self, e: int = 0, player: str = "agent", elapsed: float = 0.0) -> Run:
        """Return what has come of run `e` so far."""
        return replace(super().run(e, player, elapsed), totals={"busy": float(self.states["busy"][e])})

    def seen(self, e: int = 0) -> dict[str, Any]:
        """Return `JOB` rows and predicted times `(jobs, k)` of those in the slots, waits `(k,)`, and the state."""
        state, rows = self.states[e], self.line[e, : min(self.view.slots, int(self.states["waiting"][e]))]
        numbers = {name: state[name].item() for name in ("clock", "free", "waiting", "running")}
        return {"jobs": self.jobs[e, rows], "times": self.predicted[e, rows], "waits": self.waits[e], **numbers}

    def scene(self, title: str) -> Scene:
        """Return what a frame shows."""
        return moldable_scene(self, title)


def idle(servers: int) -> np.ndarray:
    """Return the state `(1,)` of servers at which nothing has happened yet."""
    state = np.zeros(1, moldable.MOLDABLE_STATE)
    state["servers"] = state["free"] = servers
    return state

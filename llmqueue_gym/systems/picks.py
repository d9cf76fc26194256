"""Servers opened for an agent that picks waiting jobs one by one; for one queue and for jobs of several servers.

An epoch opens when a server is free and somebody waits who fits; preemptively at every arrival and completion, where
all jobs are up for choice again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from llmqueue_gym._jit import records
from llmqueue_gym.engines.pick_steps import step_batch
from llmqueue_gym.engines.picks import PICKED, PICKS
from llmqueue_gym.errors import BadInput
from llmqueue_gym.systems.base import Drawn
from llmqueue_gym.systems.job_episodes import JobEpisodes
from llmqueue_gym.systems.scene import Scene
from llmqueue_gym.systems.scenes import servers_scene
from llmqueue_gym.systems.view import Column, Columns, Group, View, check_counts, check_flags, check_positive

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario


@dataclass(frozen=True, kw_only=True)
class PickView(View):
    """What an agent sees and decides, and what it is paid.

    Attributes:
        slots: waiting jobs that the agent can see and choose from.
        preemptive: whether all jobs are up for choice again at every arrival and completion.
        may_pass: whether servers may be left idle though somebody fits.
        may_drop: whether waiting jobs may be sent away.
        firm: whether patience is a deadline that the agent sees and after which a job is worth nothing.
        per_job: reward of a job served, in place of `reward`; 0 for that.
    """

    jobs: ClassVar[Columns] = {  # the first that wait, by order of arrival, then those in service
        "present": Column("1 where the row holds a job"),
        "predicted": Column("predicted size, s", "s"),
        "age": Column("service received so far, s", "s"),
        "time_in_system": Column("since its arrival, s", "s"),
        "weight": Column("cost per second in system"),
        "in_service": Column("1 where it is in service, or was when a preemptive epoch opened"),
        "need": Column("servers that it occupies at once", "servers"),
        "time_left": Column("until its deadline, s; 0 where it has none", "s"),
    }
    system: ClassVar[Columns] = {
        "waiting": Column("jobs that wait", "slots"),
        "unseen": Column("how many of them are beyond the last slot", "slots"),
        "in_service": Column("jobs in service", "servers"),
        "free": Column("free servers", "servers"),
        "since_decision": Column("since the last decision, s", "s"),
    }
    actions: ClassVar[str] = (
        "the slot of a waiting job to start, open where it fits; with may_drop, slots more send one away unserved; "
        "with may_pass the last leaves the other servers idle. One that is not open stands for the first that is"
    )

    slots: int = 16
    preemptive: bool = True
    may_pass: bool = False
    may_drop: bool = False
    firm: bool = False
    per_job: float = 0.0

    def check(self, scenario: "Scenario") -> None:
        """Refuse values out of range."""
        super().check(scenario)
        check_counts(self, "slots")
        check_flags(self, "preemptive", "may_pass", "may_drop", "firm")
        if self.per_job != 0:
            check_positive(self, "per_job")
        if self.firm and getattr(scenario.system, "patience", None) is None:
            raise BadInput("firm=True needs patience, the law of the time to a job's deadline")

    @property
    def pays_leavers(self) -> bool:
        """Whether `reward` is paid, and when a job leaves."""
        return self.per_job == 0 and super().pays_leavers

    @property
    def own_rules(self) -> bool:
        """Whether deadlines are firm, which they are for agents alone."""
        return bool(self.firm)

    def scales(self, scenario: "Scenario") -> dict[str, float]:
        """Return what one of each unit of a column is in raw numbers."""
        return {**super().scales(scenario), "slots": float(self.slots)}

    def reward_unit(self, scenario: "Scenario") -> float:
        """Return what a reward of one is in raw numbers; where jobs pay it is one job."""
        return super().reward_unit(scenario) if self.per_job == 0 or not self.scaled else float(self.per_job)

    def n_slots(self, scenario: "Scenario") -> int:
        """Return the rows of the observation's `jobs`."""
        return int(self.slots) + int(scenario.system.servers)  # type: ignore[attr-defined]

    def n_actions(self, scenario: "Scenario") -> int:
        """Return the number of actions."""
        return int(self.slots) * (2 if self.may_drop else 1) + (1 if self.may_pass else 0)

    def groups(self, scenario: "Scenario") -> tuple[Group, ...]:
        """Return who can be started, who can be sent away, where that may be, and who is in service."""
        slots = int(self.slots)
        dropped = (Group(0, slots, slots, 2, clears=True),) if self.may_drop else ()
        return (Group(0, slots, 0), *dropped, Group(slots, int(scenario.system.servers)))  # type: ignore[attr-defined]


class PickEpisodes(JobEpisodes):
    """The state of E clusters.

    Attributes:
        states: `PICKS` rows `(E,)`.
        patience: `(E, n)`, s.
        live: `(E, n)`, rows of those who wait, the earliest first.
        service: `PICKED` rows `(E, servers)`.
        taken: `(E, servers)`, see `engines.picks`.
        speeds: of the servers `(servers,)`.
    """

    in_units = True

    def __init__(self, scenario: "Scenario", view: PickView, size: int):
        super().__init__(scenario, view, size)
        system: Any = scenario.system
        n, servers = int(scenario.n_jobs), int(system.servers)
        self.states, self.service = records(np.zeros(size, PICKS)), records(np.zeros((size, servers), PICKED))
        self.patience, self.live = np.full((size, n), np.inf), np.zeros((size, n), np.int64)
        self.taken, self.speeds = np.zeros((size, servers), np.int64), system.server_speeds
        self.may_drop = bool(view.may_drop)
        idle = np.zeros(1, PICKS)
        idle["free"] = servers
        self._idle = idle[0]
        self._arguments = (
            *(self.states, self.steps, self.n_jobs, self.jobs, self.truth, self.patience, self.outcome, self.live),
            *(self.service, self.speeds, self.taken, self.actions, *self.observation.values(), *self.factors),
            *(int(view.slots), bool(view.preemptive), bool(view.may_pass), bool(view.may_drop)),
            *(bool(view.firm), float(view.per_job), float(view.horizon)),
        )

    def give(self, e: Any, drawn: Drawn) -> None:
        """Let run `e`, or several, begin with these jobs, at idle servers."""
        super().give(e, drawn)
        n, servers = drawn.work.shape[-1], self.taken.shape[1]
        if drawn.work["need"].max() > servers:
            raise BadInput(f"a job needs {drawn.work['need'].max()} servers, and there are {servers}")
        self.states[e] = self._idle
        self.taken[e] = 0
        self.patience[e, :n] = drawn.truth.get("patience", np.inf)
        if self.view.firm:
            self.jobs["deadline"][e, :n] = drawn.work["arrival"] + self.patience[e, :n]

    def advance(self) -> None:
        """Carry out `actions` in every run, up to its next decision."""
        step_batch(*self._arguments)

    def seen(self, e: int = 0) -> Mapping[str, Any]:  # type: ignore[override]
        """Return the `JOB` rows of those who wait in the slots and of those in service, the mask and the clock, s."""
        count = min(self.view.slots, int(self.states["waiting"][e]))
        served = self.service["row"][e, : int(self.states["active"][e])]
        return {
            "waiting": self.jobs[e, self.live[e, :count]],
            "served": self.jobs[e, served],
            "mask": self.observation["action_mask"][e, :count] > 0,
            "clock": float(self.states["clock"][e]),
        }

    def scene(self, title: str) -> Scene:
        """Return what a frame shows."""
        return servers_scene(self, title)

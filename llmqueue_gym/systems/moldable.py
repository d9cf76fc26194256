"""Jobs that run on a number of servers of the scheduler's choice, which they keep from start to end.

An agent takes an offer, which is a job and a number of servers, or declines them all until something happens.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from llmqueue_gym._jit import records
from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.engines import moldable
from llmqueue_gym.engines.moldable_steps import step_batch
from llmqueue_gym.errors import BadInput
from llmqueue_gym.jobs import OFFER, outcome_table
from llmqueue_gym.policies.base import Policies
from llmqueue_gym.policies.moldable import MOLDABLE, MoldablePolicy
from llmqueue_gym.predictors.speedup import SpeedupPredictor, speedup_predictor
from llmqueue_gym.profiles.speedup import Speedup, speedup
from llmqueue_gym.systems import known
from llmqueue_gym.systems.agents.moldable import MoldableAgent
from llmqueue_gym.systems.base import Drawn, Row
from llmqueue_gym.systems.bounds import floor
from llmqueue_gym.systems.classes import ClassedSystem, JobClass, job_classes
from llmqueue_gym.systems.episodes import JobEpisodes
from llmqueue_gym.systems.job_system import tables_of
from llmqueue_gym.systems.run import Run
from llmqueue_gym.systems.scene import Scene
from llmqueue_gym.systems.scenes import moldable_scene
from llmqueue_gym.systems.view import Columns, View, check_counts
from llmqueue_gym.workloads.streams import stream

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario

Curve = str | Speedup
CurveClass = Curve | tuple[Curve, float] | tuple[Curve, float, str | Distribution]


@dataclass(frozen=True, kw_only=True)
class MoldableView(View):
    """What an agent sees and decides: the offers that can be made to the first who wait.

    Attributes:
        slots: waiting jobs that the agent can see and choose from.
    """

    jobs: ClassVar[Columns] = {  # the offers of the first that wait, by order of arrival, each on 1, 2, ... servers
        "present": "1 where the row holds an offer",
        "predicted": "predicted time of the job on one server, s",
        "time_in_system": "of the job, since its arrival, s",
        "weight": "its cost per second in system",
        "klass": "its class",
        "servers": "that it would be given",
        "time": "its predicted time on them, s",
        "wait": "until so many are free, predicted, s",
    }
    system: ClassVar[Columns] = {
        "waiting": "jobs that wait",
        "unseen": "how many of them are beyond the last slot",
        "running": "jobs in service",
        "free": "free servers",
        "since_decision": "since the last decision, s",
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

    def n_slots(self, scenario: "Scenario") -> int:
        """Return the rows of the observation's `jobs`: the offers in sight."""
        return int(self.slots) * int(scenario.system.servers)  # type: ignore[attr-defined]

    def n_actions(self, scenario: "Scenario") -> int:
        """Return the offers in sight, and one more."""
        return self.n_slots(scenario) + 1


@dataclass(frozen=True)
class Moldable(ClassedSystem):
    """Servers for jobs of a few classes of speed-up. The load is the share of all that is needed if each runs on one.

    That is the arrival rate times the mean time on one server, over the number of servers. A policy that gives more to
    jobs that gain less is overloaded before load one.

    Attributes:
        servers: how many.
        curves: the speed-up of each class: power:exponent=0.9|amdahl:parallel=0.5 are equally likely, and
            0.2*power|0.8*amdahl have shares. In Python, curves or tuples of curve, share and, if it is not that of the
            scenario, law of the time on one server.
        speedups: prediction model of the speed-up: exact, normal:error=0.1, or mean, where one is believed of all.
    """

    name: ClassVar[str] = "moldable"
    title: ClassVar[str] = "Jobs on servers of choice"
    policies: ClassVar[Policies] = MOLDABLE
    view: ClassVar[type[View]] = MoldableView
    base: ClassVar[str] = "one-server"
    defaults: ClassVar[Mapping[str, Any]] = {**ClassedSystem.defaults, "load": 0.5}

    curves: str | tuple[CurveClass, ...] = "power:exponent=0.9|power:exponent=0.5|power:exponent=0.1"
    speedups: str | SpeedupPredictor = "exact"

    def __post_init__(self) -> None:
        check_counts(self, "servers")
        _ = self.classes, self.speedup_model  # a wrong part is found here, not at the first run

    @cached_property
    def classes(self) -> tuple[JobClass, ...]:  # type: ignore[override]
        """The classes; the kind is the speed-up curve."""
        rows: Any = self.curves
        if isinstance(rows, str):
            parts = [part.rpartition("*") for part in rows.split("|")]
            rows = [(curve, share) if share else curve for share, _, curve in parts]
        return job_classes(f"curves={self.curves!r}", rows, speedup, "must be speed-ups, as in power:exponent=0.5")

    @property
    def class_curves(self) -> tuple[Speedup, ...]:
        """The speed-up of each class."""
        return tuple(one.kind for one in self.classes)

    @cached_property
    def speedup_model(self) -> SpeedupPredictor:
        """The prediction model of the speed-up."""
        return speedup_predictor(self.speedups)

    def draw(self, scenario: "Scenario", seed: int, policy: Any = None) -> Drawn:
        """Return jobs and their `sizes`, which are times on one server, and two tables of times on 1, 2, ... servers.

        Both are `(n, servers)`, s: the true `times`, and those that are `predicted`.
        """
        jobs, truth = super().draw(scenario, seed, policy)
        k, klass, curves = self.servers, jobs["klass"], self.class_curves
        true = np.array([curve.factors(k) for curve in curves])[klass]
        believed = self.speedup_model.predict(curves, self.class_shares, klass, k, stream(seed, "speedups"))
        tables = {"times": truth["sizes"][:, None] / true, "predicted": jobs["predicted"][:, None] / believed}
        return Drawn(jobs, {**truth, **tables})

    def simulate(self, drawn: Drawn, policy: MoldablePolicy, **facts: Any) -> Run:
        """Run every job to its completion; `need` is then what it was given. The total `busy` is server-seconds in use.

        Raises:
            BadInput: tables that do not fit together, a time that is not finite, a score that cannot be compiled or
                gives NaN, or a policy that starts none of the waiting jobs though all servers are free.
        """
        jobs, sizes = tables_of(drawn, policy)
        times, predicted = self._tables(drawn)
        (score,), params = policy.compiled(), policy.params_for(**facts)
        self._play(jobs[:1].copy(), predicted, times, policy.window, score, params)  # the first call loads the kernel
        outcome, state, elapsed = self._play(jobs, predicted, times, policy.window, score, params)
        if np.isnan(state["least"]):
            when = f"at {state['clock']:g} s"
            raise BadInput(f"{policy.kind} {policy.name!r} gives score NaN {when}; it must be a number, or inf")
        if state["done"] < len(jobs):
            raise BadInput(
                f"{policy.kind} {policy.name!r} starts none of {state['waiting']} waiting jobs though all "
                f"{self.servers} servers are free; some offer must have a finite score"
            )
        return Run(policy.name, jobs, sizes, outcome, elapsed, self, totals={"busy": float(state["busy"])})

    def _tables(self, drawn: Drawn) -> list[np.ndarray]:
        """Return the true and the predicted times as kernels take them."""
        tables = [np.require(drawn.truth[name], np.float64, ["C", "W"]) for name in ("times", "predicted")]
        for table in tables:
            if table.shape != (len(drawn.work), self.servers):
                raise BadInput(f"times {table.shape} must be {(len(drawn.work), self.servers)}, a row for each job")
            good = (np.isfinite(table) & (table >= 0)).all(axis=1)
            if not good.all():
                raise BadInput(f"job {int(np.argmin(good))}: its times must be finite and not negative")
        return tables

    def _play(
        self, jobs: np.ndarray, predicted: np.ndarray, times: np.ndarray, window: int, score: Any, params: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Return the outcome table `(n,)`, the state at the end and the seconds in the kernel."""
        n, outcome, state, offer = len(jobs), outcome_table(len(jobs)), idle(self.servers), np.zeros(1, OFFER)
        running = np.zeros(self.servers, moldable.SERVICE)
        scratch = np.zeros(n, np.int64), records(running), np.zeros(self.servers), records(offer)[0]
        tables = (records(jobs), predicted, times, jobs["weight"].copy(), records(outcome), *scratch)
        start = time.perf_counter()
        moldable.simulate(records(state)[0], *tables, score, params, window or n)
        return outcome, state[0], time.perf_counter() - start

    def bound(self, drawn: Drawn) -> float:
        """Return the greatest of three floors.

        They are those of a job that needs a number of servers c for a time p, of which its server-seconds c p and its
        least time p alone are used. Here a job that is given j servers takes t_j, at least p = min t_j, and j t_j
        server-seconds, at least min j t_j, which is t_1 where no speed-up is more than linear. One server k times as
        fast can imitate the schedule: it works on each job for as long, at the share of itself that the job has of the
        servers, or less where its server-seconds are not the least.
        """
        times = drawn.truth["times"]
        shortest, least = times.min(axis=1), (times * np.arange(1, self.servers + 1)).min(axis=1)
        return floor(drawn.work["arrival"], shortest, least / shortest, self.capacity)

    def known(self, scenario: "Scenario", policy: MoldablePolicy) -> list[Row]:
        """Return exact values where all jobs have the same number of servers, or a floor."""
        return known.moldable(policy, scenario)

    def open(self, scenario: "Scenario", view: Any, size: int) -> "MoldableEpisodes":
        """Return E clusters."""
        return MoldableEpisodes(scenario, view, size)

    def agent(self, policy: MoldablePolicy, scenario: "Scenario", view: Any) -> MoldableAgent:
        """Return the agent that takes the offer of least score."""
        return MoldableAgent(policy, scenario, view)


class MoldableEpisodes(JobEpisodes):
    """The state of E clusters of k servers.

    Attributes:
        states: `STATE` rows `(E,)`.
        predicted: `(E, n, k)`, predicted times on 1, 2, ... servers, s.
        times: `(E, n, k)`, the true ones.
        line: `(E, n)`, rows of those who wait, the earliest first.
        running: `SERVICE` rows `(E, k)`, in the order in which they are predicted to end.
        waits: `(E, k)`, predicted times until 1, 2, ... servers are free, s.
    """

    def __init__(self, scenario: "Scenario", view: MoldableView, size: int):
        super().__init__(scenario, view, size)
        n, k = int(scenario.n_jobs), int(scenario.system.servers)  # type: ignore[attr-defined]
        self.states, self.running = records(np.tile(idle(k), size)), records(np.zeros((size, k), moldable.SERVICE))
        self.predicted, self.times = np.zeros((size, n, k)), np.zeros((size, n, k))
        self.line, self.waits = np.zeros((size, n), np.int64), np.zeros((size, k))
        self._arguments = (
            *(self.states, self.steps, self.n_jobs, self.jobs, self.truth, self.predicted, self.times, self.outcome),
            *(self.line, self.running, self.waits, self.actions, *self.observation.values()),
            *(int(view.slots), float(view.horizon)),
        )

    def give(self, e: int, drawn: Drawn) -> None:
        """Let run `e` begin with these jobs, at idle servers."""
        super().give(e, drawn)
        n = len(drawn.work)
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
    state = np.zeros(1, moldable.STATE)
    state["servers"] = state["free"] = servers
    return state

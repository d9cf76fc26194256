"""Jobs that run on a number of servers of the scheduler's choice, which they keep from start to end.

An agent takes an offer, which is a job and a number of servers, or declines them all until something happens.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from llmqueue_gym._jit import records
from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.engines import moldable
from llmqueue_gym.errors import BadInput
from llmqueue_gym.jobs import OFFER, outcome_table
from llmqueue_gym.policies.base import Policies
from llmqueue_gym.policies.moldable import MOLDABLE, MoldablePolicy
from llmqueue_gym.predictors.speedup import Speedup, SpeedupPredictor, speedup, speedup_predictor
from llmqueue_gym.systems import theorems
from llmqueue_gym.systems.agents.moldable import MoldableAgent
from llmqueue_gym.systems.base import Drawn, Row
from llmqueue_gym.systems.bounds import floor
from llmqueue_gym.systems.classes import ClassedSystem, JobClass, job_classes
from llmqueue_gym.systems.job_system import tables_of
from llmqueue_gym.systems.moldable_view import MoldableEpisodes, MoldableView, idle
from llmqueue_gym.systems.run import Run
from llmqueue_gym.systems.view import View, check_counts
from llmqueue_gym.workloads.streams import stream

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario

Curve = str | Speedup
CurveClass = Curve | tuple[Curve, float] | tuple[Curve, float, str | Distribution]


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
    covered: ClassVar[str] = "policies by order of arrival that give every job the same number of servers"
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
        policy.refuse_failure(params, jobs)
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
        running = np.zeros(self.servers, moldable.HELD)
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
        return theorems.moldable(policy, scenario)

    def open(self, scenario: "Scenario", view: Any, size: int) -> MoldableEpisodes:
        """Return E clusters."""
        return MoldableEpisodes(scenario, view, size)

    def agent(self, policy: MoldablePolicy, scenario: "Scenario", view: Any) -> MoldableAgent:
        """Return the agent that takes the offer of least score."""
        return MoldableAgent(policy, scenario, view)

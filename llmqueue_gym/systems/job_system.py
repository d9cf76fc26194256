"""What all systems of jobs on servers share: arrivals at a load, sizes of a law, predictions, and the usual floors."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from llmqueue_gym.distributions import size_law
from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.distributions.discrete import Empirical
from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies import POLICIES
from llmqueue_gym.policies.base import Policies
from llmqueue_gym.predictors import predictor
from llmqueue_gym.predictors.base import Predictor
from llmqueue_gym.systems.agents.base import Agent
from llmqueue_gym.systems.agents.rank import RankAgent
from llmqueue_gym.systems.base import Drawn, System
from llmqueue_gym.systems.bounds import floor
from llmqueue_gym.systems.run import Run
from llmqueue_gym.systems.view import check_counts
from llmqueue_gym.workloads import Trace, TraceWorkload, Workload, arrival_process
from llmqueue_gym.workloads.arrivals import ArrivalProcess
from llmqueue_gym.workloads.cluster import speeds_of
from llmqueue_gym.workloads.streams import Seeds
from llmqueue_gym.workloads.workload import draw

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario

MOMENTS = (1, 2, 3, 4)  # of the work of a job, as `theory.work` takes them


@dataclass(frozen=True)
class JobSystem(System):
    """Servers of jobs. A subclass says how much service they give, and draws what else its engine needs."""

    policies: ClassVar[Policies] = POLICIES
    defaults: ClassVar[Mapping[str, Any]] = {
        "size": "exponential",
        "predictor": "exponential",
        "load": 0.8,
        "n_jobs": 100_000,
    }

    @property
    def server_speeds(self) -> np.ndarray:
        """The speed of each server `(k,)`, the fastest first."""
        return np.ones(1)

    @property
    def capacity(self) -> float:
        """Service that all servers together give, s per s."""
        return float(self.server_speeds.sum())

    def check(self, scenario: "Scenario") -> None:
        """Refuse wrong parts here, not at the first run."""
        for name, kind in (("size", Distribution), ("predictor", Predictor), ("arrivals", ArrivalProcess)):
            value = getattr(scenario, name)
            if not isinstance(value, (str, kind)):
                raise BadInput(f"{name}={value!r} must be a name or a {kind.__name__}")
        if scenario.workload is not None and not callable(getattr(scenario.workload, "sample", None)):
            raise BadInput(f"workload={scenario.workload!r} has no method sample(n, arrival_rng, size_rng)")
        _ = scenario.source, scenario.fitted

    def law(self, scenario: "Scenario") -> Distribution:
        """Return the size law: that of the workload, where it states one or has recorded sizes."""
        known = getattr(scenario.workload, "size", None)
        if isinstance(known, Distribution):
            return known
        if hasattr(scenario.workload, "sizes"):
            return Empirical.fit(scenario.workload.sizes)
        return size_law(scenario.size)

    def source(self, scenario: "Scenario") -> Any:
        """Return what jobs are sampled from."""
        law, workload = scenario.law, scenario.workload
        load: Any = None
        if scenario.load is not None:
            load = scenario.load * self.capacity
        elif scenario.rate is not None:
            load = scenario.rate * law.mean
        if workload is None:
            if load is None:
                raise BadInput("load=None: tell a load, as in 0.8, or a rate")
            return Workload(law, load, arrival_process(scenario.arrivals))
        return workload if load is None or not hasattr(workload, "stretched") else workload.stretched(load)

    @classmethod
    def recorded(
        cls, trace: Trace, seconds_per_token: float = 0.02, load: float | None = None, rate: float | None = None
    ) -> dict[str, Any]:
        """Return the fields of a scenario in which a trace is replayed.

        Args:
            trace: recorded requests to replay as jobs, in place of size and arrivals, stretched to the load.
            seconds_per_token: with a trace, service of one output token, s; as in SSJF's model (Qiu et al. 2024).
            load: of the scenario.
            rate: likewise.
        """
        return cls.replayed(TraceWorkload.from_trace(trace, seconds_per_token), load, rate)

    @classmethod
    def replayed(cls, workload: TraceWorkload, load: float | None, rate: float | None) -> dict[str, Any]:
        """Return the fields of a scenario in which these jobs come; see `recorded`."""
        load = cls.defaults["load"] if load is None and rate is None else load
        return {"workload": workload, "n_jobs": len(workload.sizes), "load": load, "rate": rate}

    def work_moments(self, scenario: "Scenario") -> tuple[float, ...] | None:
        """Return the first four moments of the time that a job would keep all servers busy, s."""
        return tuple(scenario.law.moment(k) / self.capacity**k for k in MOMENTS)

    def work(self, run: Run) -> np.ndarray:
        """Return the time that each job of a run would keep all servers busy `(n,)`, s."""
        return run.sizes / self.capacity

    def predictor(self, scenario: "Scenario", policy: Any = None) -> Predictor:
        """Return the predictor that a policy gets, bound to the size law."""
        own = None if policy is None else policy.predictor
        return predictor(own or scenario.predictor).bind(scenario.law)

    def load(self, scenario: "Scenario") -> float | None:
        """Return the load, also where the rate is told; None where a workload comes at a rate that nobody tells."""
        load = getattr(scenario.source, "load", None) if scenario.load is None else scenario.load * self.capacity
        return None if load is None else float(load) / self.capacity

    def facts(self, scenario: "Scenario", policy: Any = None) -> dict[str, Any]:
        """Return the size law, the bound predictor as it is believed to be, and the load."""
        told = self.predictor(scenario, policy).believed()
        return {"size": scenario.law, "predictor": told, "load": self.load(scenario)}

    def scales(self, scenario: "Scenario") -> dict[str, float]:
        """Return the mean size, or the median where that is infinite, and the number of servers."""
        law = scenario.law
        typical = law.mean if np.isfinite(law.mean) else law.isf(0.5)
        return {"s": float(typical), "servers": float(getattr(self, "servers", 1))}

    def draw(self, scenario: "Scenario", seed: int, policy: Any = None) -> Drawn:
        """Return jobs and their sizes.

        Raises:
            BadInput: the workload gives none, or more than are asked for.
        """
        model = scenario.fitted if policy is None or policy.predictor is None else self.predictor(scenario, policy)
        n = int(scenario.n_jobs) * (len(seed) if isinstance(seed, Seeds) else 1)
        jobs, sizes = draw(scenario.source, model, n, seed)
        if not 1 <= len(jobs) == len(sizes) <= n:
            name = type(scenario.source).__name__
            counts = f"{len(jobs)} jobs and {len(sizes)} sizes"
            raise BadInput(f"workload {name} returned {counts}, not 1 to {scenario.n_jobs}")
        return Drawn(jobs, {"sizes": sizes})

    def bound(self, drawn: Drawn) -> float:
        """Return the greatest of three floors of the mean response time; see `systems.bounds`."""
        return floor(drawn.work["arrival"], drawn.sizes, 1, self.capacity, float(self.server_speeds[0]))

    def agent(self, policy: Any, scenario: "Scenario", view: Any) -> Agent:
        """Return the agent that serves the job of least rank among those in the slots."""
        return RankAgent(policy, scenario, view)


@dataclass(frozen=True)
class Servers(JobSystem):
    """Several servers, which may differ in speed; the load is the arrival rate times the mean size over all speeds.

    Attributes:
        servers: how many; as many as there are speeds, or else as usual.
        speeds: one of each server, as in 2,1,1; all 1 unless told otherwise.
        usual: how many servers there are where neither is told.
    """

    usual: ClassVar[int] = 1

    servers: int = None  # type: ignore[assignment]
    speeds: str | tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.speeds is not None:
            object.__setattr__(self, "speeds", _numbers(self.speeds))
        if self.servers is None:
            object.__setattr__(self, "servers", self.usual if self.speeds is None else len(self.speeds))
        check_counts(self, "servers")
        _ = self.server_speeds  # a wrong part is found here, not at the first run

    @cached_property
    def server_speeds(self) -> np.ndarray:  # type: ignore[override]
        """The speed of each server `(servers,)`, the fastest first."""
        return speeds_of(self.servers, self.speeds)  # type: ignore[arg-type]

    def facts(self, scenario: "Scenario", policy: Any = None) -> dict[str, Any]:
        """Return the laws and the speeds."""
        return {**super().facts(scenario, policy), "speeds": self.server_speeds}


def _numbers(speeds: Any) -> tuple[float, ...]:
    try:
        return tuple(float(one) for one in (speeds.split(",") if isinstance(speeds, str) else speeds))
    except (TypeError, ValueError):
        raise BadInput(f"speeds={speeds!r} must be numbers, separated by commas, as in 2,1,1") from None


def tables_of(drawn: Drawn, policy: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """Return a copy of the jobs and their true sizes as kernels take them.

    Raises:
        BadInput: a time is not finite, or a size is negative; or the policy sends jobs away, as agents alone can do.
    """
    if policy is not None and policy.drops:
        raise BadInput(f"{policy.kind} {policy.name!r} sends jobs away, which agents alone can do; see baseline_agent")
    jobs, sizes = drawn.work.copy(), np.require(drawn.sizes, np.float64, ["C", "W"])
    good = np.isfinite(jobs["arrival"]) & np.isfinite(sizes) & (sizes >= 0)
    if not good.all():
        raise BadInput(f"job {int(np.argmin(good))}: arrival and size must be finite, and the size not negative")
    return jobs, sizes

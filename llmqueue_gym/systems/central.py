"""Several servers that share a queue: M/G/k and beyond, with servers of any speeds and jobs that may lose patience.

An agent picks waiting jobs for free servers, one by one, or, preemptively, at every arrival and completion all jobs
that run; see `picks`.
"""

import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from llmqueue_gym._jit import records
from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.engines import central_queue
from llmqueue_gym.engines.server import CONSTANT, FALLING, GENERAL
from llmqueue_gym.engines.state import HEAP, fresh_state
from llmqueue_gym.jobs import outcome_table
from llmqueue_gym.policies.base import Policy
from llmqueue_gym.systems import theorems
from llmqueue_gym.systems.agents.pick import PickAgent
from llmqueue_gym.systems.base import Drawn, Row
from llmqueue_gym.systems.bounds import lost_share
from llmqueue_gym.systems.job_system import Servers, tables_of
from llmqueue_gym.systems.picks import PickEpisodes, PickView
from llmqueue_gym.systems.run import Run
from llmqueue_gym.systems.view import View, check_flags
from llmqueue_gym.workloads.cluster import patience_of
from llmqueue_gym.workloads.streams import stream

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario

RESOLUTION = 0.02  # slice of service between rank checks, relative to age + mean size
SHAPES = {"constant": CONSTANT, "falling": FALLING, "general": GENERAL}


@dataclass(frozen=True)
class Central(Servers):
    """Servers with one queue.

    Attributes:
        patience: law of the time, s, that a job waits before it first runs, as in exponential:mean=3; for ever where it
            is None. A job that gives up leaves unserved, so the load may be 1 or more.
        told: whether a policy can read in `deadline` when a job's patience ends.
    """

    name: ClassVar[str] = "central"
    title: ClassVar[str] = "Several servers, one queue"
    view: ClassVar[type[View]] = PickView

    run_length: ClassVar[int] = 1_000_000
    patience: str | Distribution | None = None
    told: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_flags(self, "told")
        _ = self.patience_law  # a wrong part is found here, not at the first run

    @cached_property
    def patience_law(self) -> Distribution | None:
        """The law of patience, or None."""
        return patience_of(self.patience)

    @property
    def lossy(self) -> bool:
        """Whether jobs give up."""
        return self.patience is not None

    @property
    def covered(self) -> str:  # type: ignore[override]
        """Policies of which theory knows values or bounds."""
        if self.lossy:
            return "orders without preemption on equal servers: fcfs, spjf, sjf, two-class"
        return "fcfs, any order blind to sizes if these are exponential, and bounds for srpt and gittins"

    @classmethod
    def asked(cls, policy: Policy) -> dict[str, Any]:
        """Return that deadlines are told to a policy that reads them."""
        return {"told": True} if "deadline" in policy.reads() else {}

    def draw(self, scenario: "Scenario", seed: int, policy: Any = None) -> Drawn:
        """Return jobs, their sizes and their `patience`, s."""
        jobs, truth = super().draw(scenario, seed, policy)
        n, law = len(jobs), self.patience_law
        patience = np.full(n, np.inf) if law is None else law.sample(n, stream(seed, "patience"))
        if self.told:
            jobs["deadline"] = jobs["arrival"] + patience
        return Drawn(jobs, {**truth, "patience": patience})

    def simulate(self, drawn: Drawn, policy: Policy, **facts: Any) -> Run:
        """Run every job to its completion, or until it gives up."""
        (rank,), params = policy.compiled(), policy.params_for(**facts)
        jobs, sizes = tables_of(drawn, policy)
        patience = drawn.truth.get("patience", np.full(len(jobs), np.inf))
        traits = (policy.preemptive, SHAPES[policy.shape], policy.lcfs_up_to, RESOLUTION, float(sizes.mean()))

        def play(n: int) -> tuple[np.ndarray, np.ndarray, float]:
            table, outcome, heap = jobs[:n].copy(), outcome_table(n), np.zeros(n, HEAP)
            servers = np.zeros(self.servers, central_queue.SERVER)
            servers["speed"], servers["until"] = self.server_speeds, np.inf
            servers["rank"], servers["row"] = -np.inf, -1
            arrays = (records(table), sizes[:n], patience[:n], records(outcome), records(heap), records(servers))
            start = time.perf_counter()
            central_queue.simulate(records(fresh_state())[0], *arrays, rank, params, *traits)
            return table, outcome, time.perf_counter() - start

        play(1)  # the first call in a process loads or compiles the kernel
        jobs, outcome, elapsed = play(len(jobs))
        policy.refuse_failure(params, jobs)
        return Run(policy.name, jobs, sizes, outcome, elapsed, self)

    @property
    def cost(self) -> str:  # type: ignore[override]
        """What is scored, in words."""
        return "mean response time, s" if self.patience is None else "share of jobs that give up"

    def numbers(self, run: Run) -> dict[str, float]:
        """Return the cost, which is the share of jobs that give up where they do, and figures of those served."""
        if self.patience is None:
            return super().numbers(run)
        times = run.response_times[run.done]
        p99 = float(np.percentile(times, 99)) if len(times) else np.nan
        return {"cost": 1 - float(run.done.mean()), "p99": p99, "mean": float(times.mean()) if len(times) else np.nan}

    def bound(self, drawn: Drawn) -> float:
        """Return the greatest of three floors, or the share of impatient jobs that is lost at least."""
        patience = drawn.truth["patience"]
        if np.isfinite(patience).any():
            return lost_share(drawn.work["arrival"], drawn.sizes, patience, self.server_speeds)
        return super().bound(drawn)

    def known(self, scenario: "Scenario", policy: Policy) -> list[Row]:
        """Return exact values, limits and bounds."""
        return theorems.central(policy, scenario)

    def open(self, scenario: "Scenario", view: Any, size: int) -> PickEpisodes:
        """Return E clusters."""
        return PickEpisodes(scenario, view, size)

    def agent(self, policy: Policy, scenario: "Scenario", view: Any) -> PickAgent:
        """Return the agent that picks the job of least rank."""
        return PickAgent(policy, scenario, view)

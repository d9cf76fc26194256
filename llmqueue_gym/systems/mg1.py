"""One server and one queue: M/G/1, or any other arrivals and sizes. Jobs resume where they stopped.

An agent serves: at every arrival and completion, and if asked after every quantum of service, or, without preemption,
whenever the server becomes free. A decision with one job in system is not asked for, except the first.
"""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from llmqueue_gym._jit import records
from llmqueue_gym.engines import processor_sharing, sharing_server, single_server
from llmqueue_gym.engines.skew_heap import MEMBER
from llmqueue_gym.engines.state import HEAP, fresh_state
from llmqueue_gym.errors import BadInput
from llmqueue_gym.jobs import outcome_table
from llmqueue_gym.policies import ONE_SERVER
from llmqueue_gym.policies.base import Policies, Policy
from llmqueue_gym.policies.sharing import SharingPolicy
from llmqueue_gym.systems import theorems
from llmqueue_gym.systems.agents.base import Agent
from llmqueue_gym.systems.base import Drawn, Row
from llmqueue_gym.systems.bounds import srpt_mean
from llmqueue_gym.systems.job_episodes import SlotEpisodes
from llmqueue_gym.systems.job_system import JobSystem, tables_of
from llmqueue_gym.systems.run import Run
from llmqueue_gym.systems.scene import Scene
from llmqueue_gym.systems.scenes import one_server_scene
from llmqueue_gym.systems.view import SlotView, View, check_flags, check_positive

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario

LEAST_QUANTUM = 1e-6  # of the mean size
ORDERS = {
    "none": processor_sharing.NONE,
    "virtual": processor_sharing.VIRTUAL,
    "remaining": processor_sharing.REMAINING,
}
LATE = {
    "share": processor_sharing.SHARE,
    "first": processor_sharing.FIRST,
    "youngest": processor_sharing.YOUNGEST,
}
RESOLUTION = 0.02  # slice of service between rank checks, relative to age + mean size


@dataclass(frozen=True, kw_only=True)
class MG1View(SlotView):
    """What an agent sees and decides.

    Attributes:
        quantum: longest service between decisions, s; needs `preemptive`.
        preemptive: whether the agent decides at arrivals too, and not only when the server is free.
    """

    quantum: float = np.inf
    preemptive: bool = True

    def check(self, scenario: "Scenario") -> None:
        """Refuse values out of range."""
        super().check(scenario)
        check_positive(self, "quantum", infinite=True)
        check_flags(self, "preemptive")
        if self.quantum < np.inf and not self.preemptive:
            raise BadInput(f"quantum={self.quantum:g} needs preemptive=True: otherwise a job runs to its end")
        least = LEAST_QUANTUM * scenario.law.mean
        if self.quantum < least:
            raise BadInput(f"quantum={self.quantum:g} s makes steps without end; take at least {least:g}")


@dataclass(frozen=True)
class MG1(JobSystem):
    """One server; the load is the arrival rate times the mean size."""

    name: ClassVar[str] = "mg1"
    title: ClassVar[str] = "One server"
    policies: ClassVar[Policies] = ONE_SERVER
    beside: ClassVar[bool] = False
    view: ClassVar[type[View]] = MG1View
    run_length: ClassVar[int] = 1_000_000

    def simulate(self, drawn: Drawn, policy: Policy | SharingPolicy, **facts: Any) -> Run:
        """Run every job to its completion, in the engine that is right for the kind of policy or the shape of its rank.

        Raises:
            BadInput: a weight by which the server is shared is not positive.
        """
        params = policy.params_for(**facts)
        jobs, sizes = tables_of(drawn, policy)
        play: Any = _single
        if isinstance(policy, SharingPolicy):
            play = _processor_sharing
        elif policy.preemptive and policy.shape == "general":
            play = _sharing
        play(jobs[:1].copy(), sizes[:1], policy, params)  # the first call in a process loads or compiles it
        outcome, elapsed = play(jobs, sizes, policy, params)
        policy.refuse_failure(params, jobs)
        return Run(policy.name, jobs, sizes, outcome, elapsed, self)

    def bound(self, drawn: Drawn) -> float:
        """Return the mean response time of SRPT, the least on any jobs (Schrage, 1968)."""
        return srpt_mean(drawn.work["arrival"], drawn.sizes)

    def known(self, scenario: "Scenario", policy: Policy) -> list[Row]:
        """Return the exact mean response time, where arrivals are Poisson."""
        return theorems.one_server(policy, scenario)

    def remarks(self, run: Run, policy: Any) -> list[str]:
        """Return whether the virtual queue of a policy is overloaded by predictions that are too long on average."""
        if getattr(policy, "order", None) != "virtual":
            return []
        span = float(np.ptp(run.jobs["arrival"]))
        told, true = (float(work[:-1].sum()) for work in (run.jobs["predicted"], run.sizes))
        if told < span or span == 0:
            return []
        rates = f"lambda E[Y] = {told / span:.4g} of predicted work where lambda E[S] = {true / span:.4g}"
        return [f"has a virtual queue that is overloaded, as {rates}: in the long run no job is late, and it is pspjf"]

    def agent(self, policy: Any, scenario: "Scenario", view: Any) -> Agent:
        """Return the agent that serves the job of least rank among those in the slots.

        Raises:
            BadInput: the policy shares the server, which an agent cannot do.
        """
        if isinstance(policy, SharingPolicy):
            raise BadInput(
                f"policy {policy.name!r} shares the server among jobs, and an agent serves one at a time: play it in "
                "closed loop, with rollout or relative_to, or take las here"
            )
        return super().agent(policy, scenario, view)

    def open(self, scenario: "Scenario", view: Any, size: int) -> "MG1Episodes":
        """Return E servers."""
        return MG1Episodes(scenario, view, size)


class MG1Episodes(SlotEpisodes):
    """The state of E servers."""

    def __init__(self, scenario: "Scenario", view: MG1View, size: int):
        super().__init__(scenario, view, size)
        self._arguments = (
            *(self.states, self.steps, self.n_jobs, self.jobs, self.truth, self.outcome, self.live, self.actions),
            *self.observation.values(),
            *(bool(view.preemptive), float(view.quantum), float(view.horizon)),
        )

    def advance(self) -> None:
        """Carry out `actions` in every run, up to its next decision."""
        single_server.step_batch(*self._arguments)

    def scene(self, title: str) -> Scene:
        """Return what a frame shows."""
        return one_server_scene(self, title)


def twins(policy: Policy, jobs: np.ndarray) -> np.ndarray:
    """Number jobs `(n,)` so that equal numbers mean the same rank function: equal in every column that the rank reads.

    Age is left out, because it moves. A rank that reads the arrival time has no two jobs alike.
    """
    reads = policy.reads()
    if "arrival" in reads:
        return np.arange(len(jobs))
    twin = np.zeros(len(jobs), np.int64)
    for column in ("predicted", "weight", "klass", "deadline", "need"):
        if column in reads:
            _, kind = np.unique(jobs[column], return_inverse=True)
            _, twin = np.unique(twin * len(jobs) + kind, return_inverse=True)
    return twin


def _single(jobs: np.ndarray, sizes: np.ndarray, policy: Policy, params: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the outcome table `(n,)` and the seconds in the kernel."""
    (rank,) = policy.compiled()
    outcome, heap = outcome_table(len(jobs)), np.zeros(len(jobs), HEAP)
    state, falling = records(fresh_state())[0], policy.shape != "constant"
    tables = (records(jobs), sizes, records(outcome), records(heap))
    start = time.perf_counter()
    single_server.simulate(state, *tables, rank, params, policy.preemptive, falling, policy.lcfs_up_to)
    return outcome, time.perf_counter() - start


def _sharing(jobs: np.ndarray, sizes: np.ndarray, policy: Policy, params: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the outcome table `(n,)` and the seconds in the kernel."""
    (rank,) = policy.compiled()
    outcome, heap = outcome_table(len(jobs)), np.zeros(len(jobs), HEAP)
    links, twin = np.zeros(len(jobs), sharing_server.LINK), twins(policy, jobs)
    state, scale = records(fresh_state())[0], float(sizes.mean())
    tables = (records(jobs), sizes, records(outcome), records(heap), records(links), twin)
    start = time.perf_counter()
    sharing_server.simulate(state, *tables, rank, params, policy.lcfs_up_to, RESOLUTION, scale)
    return outcome, time.perf_counter() - start


def _processor_sharing(
    jobs: np.ndarray, sizes: np.ndarray, policy: SharingPolicy, params: np.ndarray
) -> tuple[np.ndarray, float]:
    """Return the outcome table `(n,)` and the seconds in the kernel; there are no params."""
    n, good = len(jobs), (jobs["weight"] > 0) & np.isfinite(jobs["weight"])
    if policy.weighted and not good.all():
        i = int(np.argmin(good))
        raise BadInput(f"job {i}: weight={jobs['weight'][i]:g} must be positive and finite to share by")
    outcome, heaps = outcome_table(n), [records(np.zeros(n, HEAP)) for _ in range(3)]
    members = records(np.zeros(n, MEMBER))
    tables = (records(jobs), sizes, records(outcome), *heaps, members)
    traits = (ORDERS[policy.order], LATE[policy.late], policy.beside, policy.weighted)
    start = time.perf_counter()
    processor_sharing.simulate(records(fresh_state())[0], *tables, *traits)
    return outcome, time.perf_counter() - start

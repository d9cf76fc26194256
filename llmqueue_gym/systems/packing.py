"""Jobs that occupy several servers at once, and are packed into them.

An agent starts waiting jobs that fit, one by one, or leaves servers free for a larger one; see `picks`.
"""

import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from llmqueue_gym._jit import records
from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.engines import packing, packing_rules
from llmqueue_gym.errors import BadInput
from llmqueue_gym.jobs import outcome_table
from llmqueue_gym.policies.base import Policies
from llmqueue_gym.policies.packing import PACKING, PackingPolicy
from llmqueue_gym.systems import theorems
from llmqueue_gym.systems.agents.pick import PickAgent
from llmqueue_gym.systems.base import Drawn, Row
from llmqueue_gym.systems.bounds import floor
from llmqueue_gym.systems.classes import ClassedSystem, JobClass, job_classes
from llmqueue_gym.systems.job_system import tables_of
from llmqueue_gym.systems.picks import PickEpisodes, PickView
from llmqueue_gym.systems.run import Run
from llmqueue_gym.systems.view import View, check_counts

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario

RULES = {
    "prefix": packing_rules.PREFIX,
    "skip": packing_rules.SKIP,
    "filling": packing_rules.FILLING,
    "backfill": packing_rules.BACKFILL,
    "max-weight": packing_rules.MAX_WEIGHT,
    "quickswap": packing_rules.QUICKSWAP,
}
Need = int | tuple[int, float] | tuple[int, float, str | Distribution]


@dataclass(frozen=True, kw_only=True)
class PackingView(PickView):
    """As `PickView`; without preemption, and with the action that leaves servers free, unless told otherwise."""

    preemptive: bool = False
    may_pass: bool = True


@dataclass(frozen=True)
class Packing(ClassedSystem):
    """Servers for jobs of a few classes. The load is the share of all servers that the jobs need on average.

    That is the arrival rate times the mean of need times duration, over the number of servers. A policy that packs
    badly is overloaded long before load one.

    Attributes:
        servers: how many.
        needs: servers that a job of each class occupies at once: 1,2,4,8 are equally likely, 1:0.9,4:0.1 have shares.
            In Python, numbers or tuples of need, share and, if it is not that of the scenario, law of the duration.
    """

    name: ClassVar[str] = "packing"
    title: ClassVar[str] = "Jobs of several servers"
    policies: ClassVar[Policies] = PACKING
    view: ClassVar[type[View]] = PackingView
    covered: ClassVar[str] = "the pool of server-filling, and fcfs where all needs are equal and sizes exponential"
    run_length: ClassVar[int] = 1_000_000

    needs: str | tuple[Need, ...] = "1,2,4,8"

    def __post_init__(self) -> None:
        check_counts(self, "servers")
        most = max(self.class_needs)
        if most > self.servers:
            more = f"{most} servers are more than the {self.servers} there are"
            raise BadInput(f"needs={self.needs!r}: {more}; take servers={most}")

    @cached_property
    def classes(self) -> tuple[JobClass, ...]:  # type: ignore[override]
        """The classes; the kind is the need."""
        given, told = self.needs, f"needs={self.needs!r}"
        rows = [part.split(":") for part in given.split(",")] if isinstance(given, str) else given
        made = job_classes(told, rows, _whole, "must be whole numbers, as in 1,2,4,8, or with shares 1:0.9,4:0.1")
        if min(one.kind for one in made) < 1:
            raise BadInput(f"{told}: a job needs at least 1 server")
        return made

    @property
    def class_needs(self) -> tuple[int, ...]:
        """Servers that a job of each class occupies."""
        return tuple(one.kind for one in self.classes)

    def to_dict(self) -> dict[str, Any]:
        """Return its fields in words, with the share of each need."""
        laws = [one.law and str(one.law) for one in self.classes]
        told = {"servers": self.servers, "needs": list(self.class_needs), "shares": list(self.class_shares)}
        return {**told, "laws": laws} if any(laws) else told

    @property
    def class_work(self) -> tuple[float, ...]:
        """Server-seconds of a job of each class per s of its duration."""
        return tuple(float(need) for need in self.class_needs)

    def draw(self, scenario: "Scenario", seed: int, policy: Any = None) -> Drawn:
        """Return jobs with their classes and needs, and their durations as `sizes`; a predictor knows the class."""
        drawn = super().draw(scenario, seed, policy)
        drawn.work["need"] = np.array(self.class_needs)[drawn.work["klass"]]
        return drawn

    def simulate(self, drawn: Drawn, policy: PackingPolicy, **facts: Any) -> Run:
        """Run every job to its completion.

        Totals: `busy`, server-seconds in use; `idle_wanted`, server-seconds free while the jobs in system together
        needed all servers or more; `idle_fitting`, server-seconds free while a waiting job needed no more than was
        free.

        Raises:
            BadInput: a need outside [1, servers], a threshold outside [0, servers - 1], a policy for needs of one or
                all servers among other needs, a time that is not finite, or a rank that gives NaN.
        """
        jobs, sizes = tables_of(drawn, policy)
        self._refuse(jobs["need"], policy)
        (rank,), params = policy.compiled(), policy.params_for(**facts)
        self._play(jobs[:1].copy(), sizes[:1], policy, rank, params)  # the first call in a process loads the kernel
        outcome, state, elapsed = self._play(jobs, sizes, policy, rank, params)
        policy.refuse_failure(params, jobs)
        totals = {name: float(state[name]) for name in ("busy", "idle_wanted", "idle_fitting")}
        return Run(policy.name, jobs, sizes, outcome, elapsed, self, totals=totals)

    def _play(
        self, jobs: np.ndarray, sizes: np.ndarray, policy: PackingPolicy, rank: Any, params: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Return the outcome table `(n,)`, the state at the end and the seconds in the kernel."""
        n, servers, outcome = len(jobs), self.servers, outcome_table(len(jobs))
        needs, kind, counts = np.unique(jobs["need"], return_inverse=True, return_counts=True)
        classes = np.zeros(len(needs), packing.CLASS)
        classes["need"] = needs
        classes["head"] = classes["tail"] = 2 * np.cumsum(counts) - counts
        state = np.zeros(1, packing.PACKING_STATE)
        state["servers"] = state["free"] = servers
        value = np.zeros((len(needs) + 1, servers + 1) if policy.packing == "max-weight" else (1, 1), np.int64)
        lines, chosen = np.zeros(2 * n, np.int64), np.zeros(servers, np.int64)
        running = records(np.zeros(servers, packing.PACKED))
        planned = rounded_up(jobs["predicted"], policy.quantum)
        tables = (records(jobs), sizes, records(outcome), planned, kind, records(classes), lines, running, chosen)
        numbers = (rank, params, RULES[policy.packing], policy.preemptive, "age" in policy.reads())
        start = time.perf_counter()
        packing.simulate(records(state)[0], *tables, value, *numbers, policy.threshold)
        return outcome, state[0], time.perf_counter() - start

    def _refuse(self, needs: np.ndarray, policy: PackingPolicy) -> None:
        """Raise BadInput where needs do not fit the servers or the policy."""
        wrong = np.flatnonzero((needs < 1) | (needs > self.servers))
        if len(wrong):
            servers = f"[1, {self.servers}], the servers there are"
            raise BadInput(f"need={needs[wrong[0]]} of {len(wrong)} must lie in {servers}")
        if policy.packing != "quickswap":
            return
        name, most = policy.name, self.servers - 1
        if policy.threshold > most:
            raise BadInput(f"policy {name!r}: threshold={policy.threshold} must lie in [0, {most}]")
        other = needs[(needs != 1) & (needs != self.servers)]
        if len(other):
            kinds = f"needs of 1 or {self.servers}, not {other[0]}"
            raise BadInput(f"policy {name!r} is for {kinds}; try most-servers-first")

    def bound(self, drawn: Drawn) -> float:
        """Return the greatest of three floors."""
        return floor(drawn.work["arrival"], drawn.sizes, drawn.work["need"], self.capacity)

    def known(self, scenario: "Scenario", policy: PackingPolicy) -> list[Row]:
        """Return exact values, limits and bounds."""
        return theorems.packing(policy, scenario)

    def open(self, scenario: "Scenario", view: Any, size: int) -> PickEpisodes:
        """Return E clusters."""
        return PickEpisodes(scenario, view, size)

    def agent(self, policy: PackingPolicy, scenario: "Scenario", view: Any) -> PickAgent:
        """Return the agent that packs as the policy's rule says."""
        return PickAgent(policy, scenario, view)


def rounded_up(predicted: np.ndarray, quantum: float) -> np.ndarray:
    """Return predictions `(n,)` rounded up to a power of `quantum`, or as they are where that is 0."""
    if quantum == 0:
        return predicted.copy()
    positive = np.maximum(predicted, np.finfo(float).tiny)
    power = np.ceil(np.log(positive) / np.log(quantum) - 1e-12)  # a power of the quantum stays what it is
    return np.where(predicted > 0, quantum**power, 0.0)


def _whole(need: Any) -> int:
    """Return a need of servers; ValueError where it is no whole number."""
    if int(need) != float(need):
        raise ValueError(need)
    return int(need)

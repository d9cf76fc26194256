"""Jobs that occupy several servers at once: draws them and plays a packing policy over them.

The load is the share of all servers that the jobs need on average: arrival rate times mean of need times duration, over
the number of servers. A policy that packs badly is overloaded long before load one.
"""

import functools
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmqueue_gym._jit import compile_rank, records
from llmqueue_gym.distributions import size_law
from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.engines import packing_rules, server_needs
from llmqueue_gym.errors import BadInput, NotApplicable, Unstable
from llmqueue_gym.evaluation.run import Run
from llmqueue_gym.jobs import Instance, job_table, outcome_table
from llmqueue_gym.policies.packing import PackingPolicy
from llmqueue_gym.predictors import predictor

_RULES = {
    "prefix": packing_rules.PREFIX,
    "skip": packing_rules.SKIP,
    "filling": packing_rules.FILLING,
    "backfill": packing_rules.BACKFILL,
    "max-weight": packing_rules.MAX_WEIGHT,
    "quickswap": packing_rules.QUICKSWAP,
}
POWERS_OF_TWO = tuple((need, 0.25, "exponential") for need in (1, 2, 4, 8))


@dataclass(frozen=True, eq=False)
class NeedsRun(Run):
    """One job table played to its end on several servers.

    Attributes:
        servers: number of servers.
        busy: server-seconds in use.
        idle_wanted: server-seconds free while the jobs in system together needed all servers or more.
        idle_fitting: server-seconds free while a waiting job needed no more than was free.
    """

    servers: int
    busy: float
    idle_wanted: float
    idle_fitting: float


@dataclass(frozen=True)
class NeedsScenario:
    """Poisson arrivals of jobs of a few classes, each with a need and a law of durations, and predicted durations.

    Attributes:
        servers: number of servers, k.
        classes: (need, share of the jobs, law of the duration as a spec or a law) of each class.
        load: share of all servers that is needed on average.
        predictor: prediction model; it knows the class of a job. A policy that brings its own is given that one.
        n_jobs: jobs in a run.

    Raises:
        BadInput: a number out of range.
    """

    servers: int = 8
    classes: tuple[tuple[int, float, str | Distribution], ...] = POWERS_OF_TWO
    load: float = 0.9
    predictor: str = "exact"
    n_jobs: int = 100_000

    def __post_init__(self) -> None:
        if self.n_jobs < 1:
            raise BadInput(f"n_jobs={self.n_jobs}: at least one job is needed")
        if not 0 < self.load < np.inf:
            raise BadInput(f"load={self.load:g} must be positive and finite, for example 0.8")
        if not self.classes or min(self.shares) < 0 or abs(sum(self.shares) - 1) > 1e-9:
            raise BadInput(f"shares {list(self.shares)} of the classes must not be negative and must add up to 1")
        _check(np.array(self.needs), self.servers)
        _ = self.laws, predictor(self.predictor)  # a wrong part is found here, not at the first run

    @property
    def needs(self) -> tuple[int, ...]:
        """Servers that a job of each class occupies."""
        return tuple(need for need, _, _ in self.classes)

    @property
    def shares(self) -> tuple[float, ...]:
        """Probability of each class."""
        return tuple(share for _, share, _ in self.classes)

    @property
    def laws(self) -> tuple[Distribution, ...]:
        """Law of the durations of each class, s."""
        return tuple(size_law(law) for _, _, law in self.classes)

    def work(self, moment: int = 1) -> float:
        """Return a moment of need times duration, server-seconds."""
        parts = zip(self.needs, self.shares, self.laws, strict=True)
        return float(sum(share * need**moment * law.moment(moment) for need, share, law in parts))

    @property
    def rate(self) -> float:
        """Arrival rate, 1/s."""
        return self.load * self.servers / self.work()

    @property
    def pooled_response_time(self) -> float:
        """Mean response time of one server of k-fold speed, first come first served, s.

        This is rho E[S_e] / (k (1 - rho)) + E[S] / k by Pollaczek and Khinchine, where S is need times duration and
        E[S_e] = E[S^2] / (2 E[S]).

        Raises:
            Unstable: the load is at least one.
        """
        if self.load >= 1:
            raise Unstable(f"load={self.load:g}: the queue grows without limit; take a load below 1")
        excess = self.work(2) / (2 * self.work())
        return (self.load * excess / (1 - self.load) + self.work()) / self.servers

    def draw(self, policy: PackingPolicy | None, seed: int) -> Instance:
        """Return the jobs of a seed; all but the predictions is the same for every policy.

        Raises:
            NotApplicable: the policy needs predictions, and the predictor predicts nothing.
        """
        own = None if policy is None else policy.predictor
        model = predictor(own or self.predictor)
        if policy is not None and policy.uses_predictions and not model.informative:
            raise NotApplicable(f"policy {policy.name!r} needs predictions, but the predictor predicts nothing")
        streams = [np.random.SeedSequence(seed, spawn_key=(k,)) for k in range(4)]
        arrivals, durations, predictions, needs = (np.random.default_rng(stream) for stream in streams)
        jobs = job_table(np.cumsum(arrivals.standard_exponential(self.n_jobs)) / self.rate)
        jobs["klass"] = needs.choice(len(self.classes), self.n_jobs, p=self.shares)
        jobs["need"] = np.array(self.needs)[jobs["klass"]]
        sizes = np.empty(self.n_jobs)
        for klass, law in enumerate(self.laws):
            mine = np.flatnonzero(jobs["klass"] == klass)
            sizes[mine] = law.sample(len(mine), durations)
            jobs["predicted"][mine] = model.bind(law).predict(sizes[mine], predictions)
        return Instance(jobs, sizes)

    def play(self, policy: PackingPolicy, seed: int) -> NeedsRun:
        """Return the run of a policy and a seed."""
        return simulate_needs(*self.draw(policy, seed), self.servers, policy)

    def to_dict(self) -> dict[str, Any]:
        """Return the scenario in words, for the record."""
        classes = [[need, share, str(law)] for need, share, law in self.classes]
        told = {"servers": self.servers, "classes": classes, "load": self.load}
        return {**told, "predictor": self.predictor, "n_jobs": self.n_jobs}


def simulate_needs(jobs: np.ndarray, sizes: np.ndarray, servers: int, policy: PackingPolicy) -> NeedsRun:
    """Run every job to its completion.

    Args:
        jobs: `JOB` rows `(n,)` by arrival, with their `need`; not changed.
        sizes: true durations `(n,)`, s, on as many servers as the job needs.
        servers: number of servers.
        policy: the packing policy.

    Raises:
        BadInput: fewer than one server, a need outside [1, servers], a threshold outside [0, servers - 1], a policy
            for needs of one or all servers among other needs, a time that is not finite, or a rank that cannot be
            compiled or gives NaN.
    """
    _check(jobs["need"], servers)
    good = np.isfinite(jobs["arrival"]) & np.isfinite(sizes) & (np.asarray(sizes) >= 0)
    if not good.all():
        raise BadInput(f"job {int(np.argmin(good))}: arrival and size must be finite, and the size not negative")
    if policy.packing == "quickswap":
        _check_quickswap(jobs["need"], servers, policy)
    jobs, sizes = jobs.copy(), np.require(sizes, np.float64, ["C", "W"])
    rank = _compiled(policy)
    _play(jobs[:1].copy(), sizes[:1], servers, policy, rank)  # the first call in a process loads or compiles the kernel
    outcome, state, elapsed = _play(jobs, sizes, servers, policy, rank)
    if np.isnan(jobs["rank"]).any():
        job = int(np.flatnonzero(np.isnan(jobs["rank"]))[0])
        raise BadInput(f"policy {policy.name!r} gives rank NaN to job {job}; it must be a number")
    spent = (float(state[name]) for name in ("busy", "idle_wanted", "idle_fitting"))
    return NeedsRun(policy.name, jobs, sizes, outcome, elapsed, servers, *spent)


def rounded_up(predicted: np.ndarray, quantum: float) -> np.ndarray:
    """Return predictions `(n,)` rounded up to a power of `quantum`, or as they are where that is 0."""
    if quantum == 0:
        return predicted.copy()
    positive = np.maximum(predicted, np.finfo(float).tiny)
    power = np.ceil(np.log(positive) / np.log(quantum) - 1e-12)  # a power of the quantum stays what it is
    return np.where(predicted > 0, quantum**power, 0.0)


def _check(needs: np.ndarray, servers: int) -> None:
    if servers < 1:
        raise BadInput(f"servers={servers}: at least one server is needed")
    wrong = np.flatnonzero((needs < 1) | (needs > servers))
    if len(wrong):
        raise BadInput(f"need={needs[wrong[0]]} of {len(wrong)} must lie in [1, {servers}], the servers there are")


def _check_quickswap(needs: np.ndarray, servers: int, policy: PackingPolicy) -> None:
    if policy.threshold > servers - 1:
        raise BadInput(f"policy {policy.name!r}: threshold={policy.threshold} must lie in [0, {servers - 1}]")
    other = needs[(needs != 1) & (needs != servers)]
    if len(other):
        raise BadInput(f"policy {policy.name!r} is for needs of 1 or {servers}, not {other[0]}; try most-servers-first")


def _compiled(policy: PackingPolicy) -> Any:
    own = str(policy.rank.__module__).startswith("llmqueue_gym.")
    # A user's function may read globals that change between calls, so it is compiled anew each time.
    return _library_rank(policy.rank) if own else compile_rank(policy.rank, cache=False)


@functools.cache
def _library_rank(rank: Any) -> Any:
    return compile_rank(rank, cache=True)


def _play(
    jobs: np.ndarray, sizes: np.ndarray, servers: int, policy: PackingPolicy, rank: Any
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the outcome table `(n,)`, the state at the end and the seconds in the kernel."""
    n, outcome = len(jobs), outcome_table(len(jobs))
    needs, kind, counts = np.unique(jobs["need"], return_inverse=True, return_counts=True)
    classes = np.zeros(len(needs), server_needs.CLASS)
    classes["need"] = needs
    classes["head"] = classes["tail"] = 2 * np.cumsum(counts) - counts
    state = np.zeros(1, server_needs.STATE)
    state["servers"] = state["free"] = servers
    value = np.zeros((len(needs) + 1, servers + 1) if policy.packing == "max-weight" else (1, 1), np.int64)
    lists = np.zeros(2 * n, np.int64), np.zeros(servers, server_needs.SERVICE), np.zeros(servers, np.int64)
    lines, running, chosen = lists
    planned = rounded_up(jobs["predicted"], policy.quantum)
    tables = (records(jobs), sizes, records(outcome), planned, kind, records(classes), lines, records(running), chosen)
    numbers = (rank, np.array(policy.params, float), _RULES[policy.packing], policy.preemptive, "age" in policy.reads())
    start = time.perf_counter()
    server_needs.simulate(records(state)[0], *tables, value, *numbers, policy.threshold)
    return outcome, state[0], time.perf_counter() - start

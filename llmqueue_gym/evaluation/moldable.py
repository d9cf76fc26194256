"""Jobs that run on a number of servers of the scheduler's choice: draws them and plays a policy over them.

The load is arrival rate times mean time on one server, over the number of servers: the share of all servers that is
needed if every job runs on one. A policy that gives more to jobs that gain less is overloaded before load one.
"""

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from llmqueue_gym._jit import compile_moldable, records
from llmqueue_gym.distributions import size_law
from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.engines import moldable
from llmqueue_gym.errors import BadInput, NotApplicable
from llmqueue_gym.evaluation.run import Run
from llmqueue_gym.jobs import OFFER, MoldableInstance, job_table, outcome_table
from llmqueue_gym.policies.moldable import MoldablePolicy
from llmqueue_gym.predictors import predictor
from llmqueue_gym.predictors.speedup import SpeedupPredictor
from llmqueue_gym.profiles.speedup import Speedup, speedup

MIXED = tuple((1 / 3, "exponential", f"power:exponent={p}") for p in (0.9, 0.5, 0.1))


@dataclass(frozen=True, eq=False)
class MoldableRun(Run):
    """One job table played to its end on several servers; `sizes` are true times on one server.

    Attributes:
        given: servers that each job ran on `(n,)`.
        servers: number of servers.
        busy: server-seconds in use.
    """

    given: np.ndarray
    servers: int
    busy: float

    @property
    def efficiency(self) -> float:
        """Return the server-seconds that the jobs need on one server each, over those that they used."""
        return float(self.sizes.sum() / self.busy)


@dataclass(frozen=True)
class MoldableScenario:
    """Poisson arrivals of jobs of a few classes, each with a law of sizes and a speed-up curve.

    Attributes:
        servers: number of servers, k.
        classes: (share of the jobs, law of the time on one server, speed-up curve) of each class, as specs or objects.
        load: arrival rate times mean time on one server, over the servers.
        predictor: prediction model of the time on one server; it knows the class of a job.
        speedups: prediction model of the speed-up.
        n_jobs: jobs in a run.

    Raises:
        BadInput: a number out of range.
        NotApplicable: the predictor predicts nothing.
    """

    servers: int = 8
    classes: tuple[tuple[float, str | Distribution, str | Speedup], ...] = MIXED
    load: float = 0.5
    predictor: str = "exact"
    speedups: SpeedupPredictor = field(default_factory=SpeedupPredictor)
    n_jobs: int = 100_000

    def __post_init__(self) -> None:
        if self.servers < 1:
            raise BadInput(f"servers={self.servers}: at least one server is needed")
        if self.n_jobs < 1:
            raise BadInput(f"n_jobs={self.n_jobs}: at least one job is needed")
        if not 0 < self.load < np.inf:
            raise BadInput(f"load={self.load:g} must be positive and finite, for example 0.5")
        if not self.classes or min(self.shares) < 0 or abs(sum(self.shares) - 1) > 1e-9:
            raise BadInput(f"shares {list(self.shares)} of the classes must not be negative and must add up to 1")
        _ = self.laws, self.curves  # a wrong part is found here, not at the first run
        if not predictor(self.predictor).informative:
            raise NotApplicable(f"predictor {self.predictor!r} predicts nothing, but offers need times; try lognormal")

    @property
    def shares(self) -> tuple[float, ...]:
        """Probability of each class."""
        return tuple(share for share, _, _ in self.classes)

    @property
    def laws(self) -> tuple[Distribution, ...]:
        """Law of the time on one server of each class, s."""
        return tuple(size_law(law) for _, law, _ in self.classes)

    @property
    def curves(self) -> tuple[Speedup, ...]:
        """Speed-up curve of each class."""
        return tuple(speedup(curve) for _, _, curve in self.classes)

    @property
    def rate(self) -> float:
        """Arrival rate, 1/s."""
        mean = sum(share * law.mean for share, law in zip(self.shares, self.laws, strict=True))
        return self.load * self.servers / mean

    def draw(self, seed: int) -> MoldableInstance:
        """Return the jobs of a seed, the same for every policy; the truth also for every prediction model."""
        streams = [np.random.SeedSequence(seed, spawn_key=(k,)) for k in range(5)]
        arrivals, sizing, predictions, kinds, errors = (np.random.default_rng(stream) for stream in streams)
        jobs = job_table(np.cumsum(arrivals.standard_exponential(self.n_jobs)) / self.rate)
        jobs["klass"] = kinds.choice(len(self.classes), self.n_jobs, p=self.shares)
        model, sizes, true = predictor(self.predictor), np.empty(self.n_jobs), np.empty((self.n_jobs, self.servers))
        for klass, (law, curve) in enumerate(zip(self.laws, self.curves, strict=True)):
            mine = np.flatnonzero(jobs["klass"] == klass)
            sizes[mine] = law.sample(len(mine), sizing)
            jobs["predicted"][mine] = model.bind(law).predict(sizes[mine], predictions)
            true[mine] = curve.factors(self.servers)
        believed = self.speedups.predict(self.curves, self.shares, jobs["klass"], self.servers, errors)
        return MoldableInstance(jobs, sizes[:, None] / true, jobs["predicted"][:, None] / believed)

    def play(self, policy: MoldablePolicy, seed: int) -> MoldableRun:
        """Return the run of a policy and a seed."""
        return simulate_moldable(self.draw(seed), policy)

    def to_dict(self) -> dict[str, Any]:
        """Return the scenario in words, for the record."""
        classes = [[share, str(law), str(curve)] for share, law, curve in self.classes]
        told = {"servers": self.servers, "classes": classes, "load": self.load, "predictor": self.predictor}
        return {**told, "speedups": self.speedups.to_dict(), "n_jobs": self.n_jobs}


def batch(
    sizes: Sequence[float] | np.ndarray, servers: int, curve: str | Speedup = "power", error: float = 0.0
) -> MoldableInstance:
    """Return jobs that are all there at time 0, of one speed-up curve and known sizes.

    Args:
        sizes: times on one server `(n,)`, s.
        servers: number of servers.
        curve: their speed-up.
        error: of the parameter of the predicted curve.
    """
    sizes = np.asarray(sizes, float)
    jobs = job_table(np.zeros(len(sizes)), sizes)
    true, believed = (sizes[:, None] / speedup(curve).factors(servers, wrong) for wrong in (0.0, error))
    return MoldableInstance(jobs, true, believed)


def simulate_moldable(instance: MoldableInstance, policy: MoldablePolicy) -> MoldableRun:
    """Run every job to its completion.

    Args:
        instance: jobs by arrival, and times on 1, 2, ... servers, as many as there are columns; not changed.
        policy: who starts next, and on how many servers.

    Raises:
        BadInput: tables that do not fit together, a time that is not finite, a score that cannot be compiled or gives
            NaN, or a policy that starts none of the waiting jobs though all servers are free.
    """
    jobs = instance.jobs.copy()
    times, predicted = (np.require(table, np.float64, ["C", "W"]) for table in instance[1:])
    if times.ndim != 2 or times.shape != predicted.shape or len(times) != len(jobs) or 0 in times.shape:
        raise BadInput(f"times {times.shape} and predicted {predicted.shape} must be ({len(jobs)} jobs, servers)")
    good = np.isfinite(jobs["arrival"]) & (jobs["arrival"] >= 0)
    for table in (times, predicted):
        good &= (np.isfinite(table) & (table >= 0)).all(axis=1)
    if not good.all():
        raise BadInput(f"job {int(np.argmin(good))}: arrival and times must be finite and not negative")
    score = _compiled(policy)
    _play(jobs[:1].copy(), predicted, times, policy, score)  # the first call in a process loads or compiles the kernel
    outcome, state, elapsed = _play(jobs, predicted, times, policy, score)
    if np.isnan(state["least"]):
        raise BadInput(f"policy {policy.name!r} gives score NaN at {state['clock']:g} s; it must be a number, or inf")
    if state["done"] < len(jobs):
        raise BadInput(
            f"policy {policy.name!r} starts none of {state['waiting']} waiting jobs though all {state['servers']} "
            "servers are free; some offer must have a finite score"
        )
    sizes, given = times[:, 0].copy(), jobs["need"].copy()
    return MoldableRun(policy.name, jobs, sizes, outcome, elapsed, given, times.shape[1], float(state["busy"]))


def _compiled(policy: MoldablePolicy) -> Any:
    own = str(policy.score.__module__).startswith("llmqueue_gym.")
    # A user's function may read globals that change between calls, so it is compiled anew each time.
    return _library_score(policy.score) if own else compile_moldable(policy.score, cache=False)


@functools.cache
def _library_score(score: Any) -> Any:
    return compile_moldable(score, cache=True)


def _play(
    jobs: np.ndarray, predicted: np.ndarray, times: np.ndarray, policy: MoldablePolicy, score: Any
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the outcome table `(n,)`, the state at the end and the seconds in the kernel."""
    n, servers, outcome = len(jobs), times.shape[1], outcome_table(len(jobs))
    state, offer = np.zeros(1, moldable.STATE), np.zeros(1, OFFER)
    state["servers"] = state["free"] = servers
    scratch = np.zeros(n, np.int64), records(np.zeros(servers, moldable.SERVICE)), np.zeros(servers), records(offer)[0]
    tables = (records(jobs), predicted, times, records(outcome), *scratch)
    start = time.perf_counter()
    moldable.simulate(records(state)[0], *tables, score, np.array(policy.params, float), policy.window or n)
    return outcome, state[0], time.perf_counter() - start

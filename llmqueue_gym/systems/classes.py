"""Jobs of a few classes, which differ in what they ask of several servers and may differ in the law of their sizes."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from llmqueue_gym.distributions import size_law
from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.errors import BadInput
from llmqueue_gym.jobs import job_table
from llmqueue_gym.predictors import predictor
from llmqueue_gym.predictors.base import Predictor
from llmqueue_gym.systems.base import Drawn
from llmqueue_gym.systems.job_system import MOMENTS, JobSystem
from llmqueue_gym.systems.run import Run
from llmqueue_gym.workloads import arrival_process
from llmqueue_gym.workloads.streams import apart, streams

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario


MOST_CLASSES = 1000


class JobClass(NamedTuple):
    """A class of jobs.

    Attributes:
        kind: what sets it apart, such as the servers that a job occupies.
        share: of all jobs.
        law: of the sizes, or None for that of the scenario.
    """

    kind: Any
    share: float
    law: str | Distribution | None


@dataclass(frozen=True)
class ClassedSystem(JobSystem):
    """Equal servers for jobs of a few classes; a subclass says what the classes are."""

    defaults: ClassVar[Mapping[str, Any]] = {**JobSystem.defaults, "predictor": "exact"}

    recorded = None  # type: ignore[assignment]

    servers: int = 8

    @property
    @abstractmethod
    def classes(self) -> tuple[JobClass, ...]:
        """The classes of jobs."""

    @property
    def class_work(self) -> tuple[float, ...]:
        """Server-seconds of a job of each class per s of its size."""
        return (1.0,) * len(self.classes)

    @property
    def class_shares(self) -> tuple[float, ...]:
        """Probability of each class."""
        return tuple(one.share for one in self.classes)

    def laws(self, scenario: "Scenario") -> tuple[Distribution, ...]:
        """Return the law of the sizes of each class, s."""
        return tuple(size_law(one.law or scenario.size) for one in self.classes)

    @property
    def server_speeds(self) -> np.ndarray:
        """The speed of each server `(servers,)`."""
        return np.ones(self.servers)

    def check(self, scenario: "Scenario") -> None:
        """Refuse wrong parts here, not at the first run."""
        super().check(scenario)
        _ = self.laws(scenario)
        if scenario.workload is not None:
            raise BadInput(f"system {self.name!r} has classes of jobs with a law each, and takes no workload")

    def work_moments(self, scenario: "Scenario") -> tuple[float, ...]:
        """Return the first four moments of the time that a job would keep all servers busy, s."""
        each = np.array(self.class_work) / self.servers
        laws = self.laws(scenario)
        return tuple(float(np.dot(self.class_shares, each**k * [law.moment(k) for law in laws])) for k in MOMENTS)

    def work(self, run: Run) -> np.ndarray:
        """Return the time that each job of a run would keep all servers busy `(n,)`, s."""
        return np.array(self.class_work)[run.jobs["klass"]] * run.sizes / self.servers

    def source(self, scenario: "Scenario") -> "ClassedJobs":
        """Return what jobs are sampled from."""
        laws, shares = self.laws(scenario), self.class_shares
        parts = zip(shares, self.class_work, laws, strict=True)
        work = float(sum(share * each * law.mean for share, each, law in parts))
        rate = scenario.rate if scenario.load is None else scenario.load * self.servers / work
        models = fitted(scenario.predictor, laws)
        return ClassedJobs(laws, models, shares, work, float(rate), arrival_process(scenario.arrivals))  # type: ignore[arg-type]

    def draw(self, scenario: "Scenario", seed: int, policy: Any = None) -> Drawn:
        """Return jobs with their `klass`, and their sizes; a predictor knows the class."""
        source: ClassedJobs = scenario.source
        own = None if policy is None else policy.predictor
        models = source.models if own is None else fitted(own, source.laws)
        *chances, rng = streams(seed, "arrivals", "sizes", "classes", "predictions")
        jobs, sizes = source.sample(int(scenario.n_jobs) * len(apart(rng)), *chances)
        of_runs = (run_by_run(table, rng) for table in (sizes, jobs["klass"], jobs["predicted"]))
        for size, klass, predicted, one in zip(*of_runs, apart(rng), strict=True):
            for k, model in enumerate(models):
                mine = klass == k
                predicted[mine] = model.predict(size[mine], one)
        return Drawn(jobs, {"sizes": sizes})


@dataclass(frozen=True)
class ClassedJobs:
    """Arrivals of jobs of a few classes, each with a law of sizes.

    Attributes:
        laws: of the sizes of each class, s.
        models: prediction models of the sizes of each class.
        shares: probability of each class.
        work: mean server-seconds of a job.
        rate: arrivals per s.
        arrivals: the arrival process.
    """

    laws: tuple[Distribution, ...]
    models: tuple[Predictor, ...]
    shares: tuple[float, ...]
    work: float
    rate: float
    arrivals: Any

    @property
    def load(self) -> float:
        """Server-seconds that arrive per s."""
        return self.rate * self.work

    def sample(
        self, n: int, arrival_rng: np.random.Generator, size_rng: np.random.Generator, class_rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return jobs with their `klass`, and true sizes; the sizes of a class are drawn together."""
        jobs, sizes = job_table(self.arrivals.times(n, self.rate, arrival_rng)), np.empty(n)
        jobs["klass"] = self._up_to.searchsorted(class_rng.random(n), side="right")
        of_runs = (run_by_run(table, size_rng) for table in (sizes, jobs["klass"]))
        for size, klass, one in zip(*of_runs, apart(size_rng), strict=True):
            for k, law in enumerate(self.laws):
                mine = klass == k
                size[mine] = law.sample(int(np.count_nonzero(mine)), one)
        return jobs, sizes

    @cached_property
    def _up_to(self) -> np.ndarray:
        """Probability of each class and those before it, as `Generator.choice` has it."""
        sums = np.cumsum(self.shares)
        return sums / sums[-1]


def run_by_run(table: np.ndarray, rng: Any) -> np.ndarray:
    """Return a view of a table of jobs `(runs, n)`, which `rng` draws."""
    return table.reshape(len(apart(rng)), -1)


def fitted(model: str | Predictor, laws: Sequence[Distribution]) -> tuple[Predictor, ...]:
    """Return a prediction model bound to the law of each class."""
    return tuple(predictor(model).bind(law) for law in laws)


def job_classes(told: str, rows: Sequence[Any], kind: Callable[[Any], Any], wrong: str) -> tuple[JobClass, ...]:
    """Return classes whose shares add up to 1.

    Args:
        told: what a user told, for messages.
        rows: of each class: kind, share if not all are alike, and law of the sizes if not that of the scenario.
        kind: makes the kind of what was told.
        wrong: what the message says where it cannot.

    Raises:
        BadInput: a class that makes no sense.
    """
    listed = rows if isinstance(rows, (tuple, list)) else ()
    table = [tuple(row) if isinstance(row, (tuple, list)) else (row,) for row in listed]
    if not table or () in table:
        raise BadInput(f"{told} {wrong}")
    if len(table) > MOST_CLASSES:
        raise BadInput(f"{told[:60]}: {len(table)} classes are too many; at most {MOST_CLASSES}")
    try:
        kinds = [kind(row[0]) for row in table]
        shares = [float(row[1]) if len(row) > 1 else np.nan for row in table]
    except BadInput:
        raise
    except (TypeError, ValueError):
        raise BadInput(f"{told} {wrong}") from None
    if np.isnan(shares).all():
        shares = [1 / len(table)] * len(table)
    if not all(share > 0 for share in shares) or not np.isfinite(sum(shares)):
        raise BadInput(f"{told}: give every class a share above 0, or none")
    if abs(sum(shares) - 1) > 1e-6:
        raise BadInput(f"{told}: the shares add up to {sum(shares):g}, not to 1")
    laws = [row[2] if len(row) > 2 else None for row in table]
    return tuple(JobClass(k, s / sum(shares), law) for k, s, law in zip(kinds, shares, laws, strict=True))

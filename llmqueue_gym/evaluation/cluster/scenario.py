"""A scenario for several servers: which jobs come, what is predicted of them, how patient they are, and who serves."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.scenario import Scenario
from llmqueue_gym.jobs import ClusterInstance
from llmqueue_gym.policies.base import Policy
from llmqueue_gym.policies.dispatch.base import DispatchPolicy
from llmqueue_gym.predictors.base import Predictor
from llmqueue_gym.workloads.arrivals import ArrivalProcess
from llmqueue_gym.workloads.cluster import patience_of, speeds_of
from llmqueue_gym.workloads.instance import draw, stream

_PATIENCE, _CHOICES, _TIES = 3, 4, 5  # random streams; 0 to 2 are those of `workloads.instance`


@dataclass(frozen=True)
class ClusterScenario:
    """Jobs for several servers at a load. Each part is a spec, such as `weibull:shape=0.5`, or the object.

    Attributes:
        size: law of the true sizes, s on a server of speed 1.
        predictor: prediction model; a policy that brings its own, such as `srpt`, is given that one.
        load: arrival rate times mean size over the total speed.
        arrivals: arrival process.
        n_jobs: jobs in a run.
        servers: how many.
        speeds: one of each server; all 1 unless told otherwise.
        patience: law of the time, s, that a job waits before it first runs; for ever where it is None. A job that gives
            up leaves unserved.
        told: whether a policy can read in `deadline` when a job's patience ends.
    """

    size: str | Distribution = "exponential"
    predictor: str | Predictor = "exponential"
    load: float = 0.8
    arrivals: str | ArrivalProcess = "poisson"
    n_jobs: int = 100_000
    servers: int = 10
    speeds: tuple[float, ...] | None = None
    patience: str | Distribution | None = None
    told: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.servers, (int, np.integer)) or self.servers < 1:
            raise BadInput(f"servers={self.servers!r} must be a whole number of at least 1")
        if not 0 < self.load < np.inf:
            raise BadInput(f"load={self.load:g} must be positive and finite, for example 0.8")
        _ = self.server_speeds, self.patience_law, self.jobs  # a wrong part is found here, not at the first run

    @cached_property
    def total_speed(self) -> float:
        """Of all servers."""
        return float(self.server_speeds.sum())

    @cached_property
    def server_speeds(self) -> np.ndarray:
        """The speed of each server `(servers,)`, the fastest first."""
        return speeds_of(self.servers, self.speeds)

    @cached_property
    def patience_law(self) -> Distribution | None:
        """The law of patience, or None."""
        return patience_of(self.patience)

    @cached_property
    def jobs(self) -> Scenario:
        """Arrivals, sizes and predictions, as a single server of the total speed would see them."""
        return Scenario(self.size, self.predictor, self.load * self.total_speed, self.arrivals, self.n_jobs)

    @property
    def law(self) -> Distribution:
        """The size law."""
        return self.jobs.law

    @property
    def rate(self) -> float:
        """Mean arrival rate, 1/s."""
        return self.jobs.source.rate

    def bound_predictor(self, policy: Policy | None = None) -> Predictor:
        """Return the predictor that a policy gets, bound to the size law."""
        return self.jobs.bound_predictor(policy)

    def draw(self, policy: Policy | None, seed: int, dispatcher: DispatchPolicy | None = None) -> ClusterInstance:
        """Return the jobs of a seed; arrivals, sizes and patience are the same for every policy and predictor.

        Raises:
            BadInput: the dispatch policy samples more queues than there are.
        """
        jobs, sizes = draw(self.jobs.source, self.bound_predictor(policy), self.n_jobs, seed)
        n, law = len(jobs), self.patience_law
        patience = np.full(n, np.inf) if law is None else law.sample(n, stream(seed, _PATIENCE))
        if self.told:
            jobs["deadline"] = jobs["arrival"] + patience
        choices, ties = np.zeros((n, 0), np.int64), np.zeros(0)
        if dispatcher is not None:
            choices = dispatcher.choices(n, self.servers, stream(seed, _CHOICES))
            if dispatcher.looks == "all":
                ties = stream(seed, _TIES).random(n)
        return ClusterInstance(jobs, sizes, patience, choices, ties)

    def to_dict(self) -> dict[str, Any]:
        """Return the scenario in words, for the record."""
        cluster = {"servers": self.servers, "speeds": self.speeds and list(self.speeds)}
        impatient = {"patience": None if self.patience is None else str(self.patience), "told": self.told}
        return {**self.jobs.to_dict(), "load": self.load, **cluster, **impatient}

"""The keyword arguments of the single-server environments, checked in one place for scalar and vector alike."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from llmqueue_gym.distributions import Distribution, size_law
from llmqueue_gym.envs.rewards import REWARDS
from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.jobs import Instance
from llmqueue_gym.predictors import Predictor, predictor
from llmqueue_gym.workloads import ArrivalProcess, Workload, arrival_process
from llmqueue_gym.workloads.instance import Samples, draw


@dataclass(frozen=True, kw_only=True)
class MG1Config:
    """What is served, what is seen and what is paid.

    Attributes:
        size: law of the sizes, or its spec such as `weibull:shape=0.5`.
        predictor: model of the predictions, or its spec such as `lognormal:sigma=0.5`.
        load: arrival rate times mean size.
        arrivals: arrival process, or its spec.
        workload: anything with `sample(n, arrival_rng, size_rng) -> Instance`, in place of size, load and arrivals.
            If it states no law as its attribute `size`, predictors that need one are bound to the argument `size`.
        n_jobs: jobs in an episode; fewer where the workload has fewer.
        slots: jobs that the agent can see and choose from.
        horizon: time at which an episode is truncated, s. The stretch of service that crosses it is finished first.
        quantum: longest service between decisions, s; needs `preemptive`.
        reward: a name in `REWARDS`.
        preemptive: whether the agent decides at arrivals too, and not only when the server is free.

    Raises:
        BadInput: a value is out of range; the message names it.
    """

    size: str | Distribution = "exponential"
    predictor: str | Predictor = "exponential"
    load: float = 0.8
    arrivals: str | ArrivalProcess = "poisson"
    workload: Samples | None = None
    n_jobs: int = 2000
    slots: int = 16
    horizon: float = np.inf
    quantum: float = np.inf
    reward: str = "response_time"
    preemptive: bool = False

    def __post_init__(self) -> None:
        for name in ("n_jobs", "slots"):
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
                raise BadInput(f"{name}={value!r} must be a whole number of at least 1")
        for name in ("load", "horizon", "quantum"):
            value = getattr(self, name)
            if not isinstance(value, (int, float, np.number)) or isinstance(value, bool) or not value > 0:
                raise BadInput(f"{name}={value!r} must be a positive number")
        if not isinstance(self.preemptive, (bool, np.bool_)):
            raise BadInput(f"preemptive={self.preemptive!r} must be True or False")
        if self.quantum < np.inf and not self.preemptive:
            raise BadInput(f"quantum={self.quantum:g} needs preemptive=True: otherwise a job runs to its end")
        if self.reward not in REWARDS:
            raise BadInput(f"unknown reward {self.reward!r}; {nearest(str(self.reward), REWARDS)}")
        for name, kind in (("size", Distribution), ("predictor", Predictor), ("arrivals", ArrivalProcess)):
            value = getattr(self, name)
            if not isinstance(value, (str, kind)):
                raise BadInput(f"{name}={value!r} must be a name or a {kind.__name__}")
        if self.workload is not None and not callable(getattr(self.workload, "sample", None)):
            raise BadInput(f"workload={self.workload!r} has no method sample(n, arrival_rng, size_rng)")
        _ = self.source, self.bound_predictor  # a bad spec is reported here and not in the first episode

    @cached_property
    def source(self) -> Samples:
        """What draws the jobs."""
        if self.workload is not None:
            return self.workload
        return Workload(size_law(self.size), float(self.load), arrival_process(self.arrivals))

    @cached_property
    def law(self) -> Distribution:
        """The size law that predictors and policies are fitted to."""
        known: Any = getattr(self.source, "size", None)
        return known if isinstance(known, Distribution) else size_law(self.size)

    @cached_property
    def bound_predictor(self) -> Predictor:
        """The predictor, fitted to the size law."""
        return predictor(self.predictor).bind(self.law)

    def draw(self, seed: int) -> Instance:
        """Return the jobs, predictions included, and true sizes of the episode of a seed."""
        return draw(self.source, self.bound_predictor, self.n_jobs, seed)

    def cost(self, instance: Instance) -> np.ndarray:
        """Return the cost per second in system of each job `(n_jobs,)`, the unit of the reward."""
        return REWARDS[self.reward](*instance)

"""The keyword arguments that all environments of jobs on servers share."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from gymnasium.spaces import Dict, Discrete

from llmqueue_gym.distributions import Distribution, size_law
from llmqueue_gym.envs.arguments import check_counts, check_kinds, check_positive, check_reward, check_workload
from llmqueue_gym.envs.rewards import REWARDS
from llmqueue_gym.jobs import Instance
from llmqueue_gym.predictors import Predictor, predictor
from llmqueue_gym.workloads import ArrivalProcess, Workload, arrival_process
from llmqueue_gym.workloads.instance import Samples, draw


@dataclass(frozen=True, kw_only=True)
class JobConfig(ABC):
    """Which jobs come, what is predicted of them and what is paid. A subclass says what is seen and decided.

    Attributes:
        size: law of the sizes, or its spec such as `weibull:shape=0.5`.
        predictor: model of the predictions, or its spec such as `lognormal:sigma=0.5`.
        load: arrival rate times mean size.
        arrivals: arrival process, or its spec.
        workload: anything with `sample(n, arrival_rng, size_rng) -> Instance`, in place of size, load and arrivals.
            If it states no law as its attribute `size`, predictors that need one are bound to the argument `size`.
        n_jobs: jobs in an episode; fewer where the workload has fewer.
        horizon: time at which an episode is truncated, s. The stretch of service that crosses it is finished first.
        reward: a name in `REWARDS`.

    Raises:
        BadInput: a value is out of range; the message names it.
    """

    size: str | Distribution = "exponential"
    predictor: str | Predictor = "exponential"
    load: float = 0.8
    arrivals: str | ArrivalProcess = "poisson"
    workload: Samples | None = None
    n_jobs: int = 2000
    horizon: float = np.inf
    reward: str = "response_time"

    def __post_init__(self) -> None:
        check_counts(self, "n_jobs")
        check_positive(self, "load", "horizon")
        check_reward(self.reward, REWARDS)
        check_kinds(self, size=Distribution, predictor=Predictor, arrivals=ArrivalProcess)
        check_workload(self.workload, "n, arrival_rng, size_rng")
        _ = self.source, self.bound_predictor  # a bad spec is reported here and not in the first episode

    @abstractmethod
    def spaces(self) -> tuple[Dict, Discrete]:
        """Return observation and action space of one environment."""

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
        return REWARDS[self.reward](instance.jobs, instance.sizes)

"""The standard workload: an arrival process at a load, and independent sizes of one law."""

from dataclasses import dataclass, field

import numpy as np

from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.errors import BadInput
from llmqueue_gym.jobs import Instance, job_table
from llmqueue_gym.workloads.arrivals import ArrivalProcess, Poisson


@dataclass(frozen=True)
class Workload:
    """Jobs of independent sizes that arrive at a wanted load.

    Attributes:
        size: law of the sizes, s of service.
        load: arrival rate times mean size. One or more overloads a single server, which can be simulated.
        arrivals: the arrival process; Poisson gives M/G/1.
    """

    size: Distribution
    load: float
    arrivals: ArrivalProcess = field(default_factory=Poisson)

    def __post_init__(self) -> None:
        if not 0 < self.load < np.inf:
            raise BadInput(f"load={self.load:g} must be positive and finite, for example 0.8")
        if not 0 < self.size.mean < np.inf:
            raise BadInput(f"the size law has mean {self.size.mean:g}, so no arrival rate gives a load")

    @property
    def rate(self) -> float:
        """Mean arrival rate, 1/s."""
        return self.load / self.size.mean

    def sample(self, n: int, arrival_rng: np.random.Generator, size_rng: np.random.Generator) -> Instance:
        """Draw one run.

        Arrivals and sizes have a stream each, so that changing one law leaves the draws of the other as they were.

        Args:
            n: number of jobs, at least 1.
            arrival_rng: the stream of arrivals.
            size_rng: the stream of sizes.

        Returns:
            job table `(n,)` and true sizes `(n,)`.

        Raises:
            BadInput: n is less than 1.
        """
        return Instance(job_table(self.arrivals.times(n, self.rate, arrival_rng)), self.size.sample(n, size_rng))

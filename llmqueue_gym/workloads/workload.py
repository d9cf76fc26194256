"""Workloads of jobs: at a load with sizes of one law, or recorded; and one run of either from one seed."""

from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.errors import BadInput
from llmqueue_gym.jobs import Instance, job_table
from llmqueue_gym.predictors.base import Predictor
from llmqueue_gym.workloads.arrivals import ArrivalProcess, Poisson
from llmqueue_gym.workloads.streams import streams
from llmqueue_gym.workloads.traces import Trace


class Samples(Protocol):
    """Whatever can draw a run: `Workload`, `TraceWorkload`, or a class of your own."""

    def sample(self, n: int, arrival_rng: np.random.Generator, size_rng: np.random.Generator) -> Instance:
        """Draw one run.

        Arrivals and sizes have a stream each, so that changing one law leaves the draws of the other as they were.

        Args:
            n: number of jobs, at least 1.
            arrival_rng: the stream of arrivals.
            size_rng: the stream of sizes.

        Returns:
            job table and true sizes, both `(n,)`, or fewer where the workload has fewer.

        Raises:
            BadInput: n is less than 1.
        """


def draw(workload: Samples, predictor: Predictor, n: int, seed: int) -> Instance:
    """Draw one run of n jobs, and their predictions by a predictor that is bound to the size law.

    Arrivals, sizes and predictions have a stream of the seed each, so that another predictor sees the very same jobs.
    """
    arrival_rng, size_rng, prediction_rng = streams(seed, "arrivals", "sizes", "predictions")
    jobs, sizes = workload.sample(n, arrival_rng, size_rng)
    jobs["predicted"] = predictor.predict(sizes, prediction_rng)
    return Instance(jobs, sizes)


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
        """Return n jobs."""
        return Instance(job_table(self.arrivals.times(n, self.rate, arrival_rng)), self.size.sample(n, size_rng))


@dataclass(frozen=True, eq=False)
class TraceWorkload:
    """Replays recorded jobs in their order, so that what ties arrivals and sizes together in the trace stays as it was.

    Attributes:
        arrivals: sorted arrival times `(rows,)`, s.
        sizes: true sizes `(rows,)`, s of service.
        load: where given, time is stretched so that the sum of the sizes over the span of the arrivals is this.
    """

    arrivals: np.ndarray
    sizes: np.ndarray
    load: float | None = None

    def __post_init__(self) -> None:
        arrivals, sizes = np.array(self.arrivals, dtype=float), np.array(self.sizes, dtype=float)
        if arrivals.ndim != 1 or arrivals.shape != sizes.shape or not len(arrivals):
            raise BadInput(f"arrivals {arrivals.shape} and sizes {sizes.shape} must be lists of one length, not empty")
        if not (np.isfinite(arrivals).all() and (np.diff(arrivals) >= 0).all()):
            raise BadInput("arrivals must be finite and sorted")
        bad = np.flatnonzero(~((sizes > 0) & (sizes < np.inf)))
        if len(bad):
            raise BadInput(f"sizes: row {bad[0] + 1}: {sizes[bad[0]]:g} must be positive and finite")
        if self.load is not None:
            if not 0 < self.load < np.inf:
                raise BadInput(f"load={self.load:g} must be positive and finite, for example 0.8")
            span = arrivals[-1] - arrivals[0]
            if span == 0:
                raise BadInput(f"load={self.load:g} cannot be reached: all jobs arrive at one time")
            arrivals = (arrivals - arrivals[0]) * (sizes.sum() / (self.load * span))
        object.__setattr__(self, "arrivals", arrivals)
        object.__setattr__(self, "sizes", sizes)

    @classmethod
    def from_trace(cls, trace: Trace, seconds_per_token: float, load: float | None = None) -> "TraceWorkload":
        """Return the workload in which each output token of a trace takes a fixed time to serve."""
        return cls(trace.arrival_s, trace.output_tokens * seconds_per_token, load)

    def stretched(self, load: float) -> "TraceWorkload":
        """Return the same at another load."""
        return replace(self, load=load)

    def sample(self, n: int, arrival_rng: np.random.Generator, size_rng: np.random.Generator) -> Instance:
        """Return n rows in their order, the first of them at time 0.

        Where the trace has no more than n rows, all of them are returned and nothing is random; otherwise the
        window of n rows starts at a row drawn uniformly from `arrival_rng`. `size_rng` is not used.
        """
        if n < 1:
            raise BadInput(f"n={n}: at least one job is needed")
        rows = len(self.sizes)
        start = int(arrival_rng.integers(rows - n + 1)) if n < rows else 0
        window = slice(start, start + n)
        return Instance(job_table(self.arrivals[window] - self.arrivals[start]), self.sizes[window].copy())

"""A recorded run as a workload: its arrival times with its own sizes, in their order."""

from dataclasses import dataclass, replace

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.jobs import Instance, job_table
from llmqueue_gym.workloads.traces import Trace


@dataclass(frozen=True, eq=False)
class TraceWorkload:
    """Replays recorded jobs, so that what ties arrivals and sizes together in the trace stays as it was.

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

        Returns:
            job table and true sizes, both `(min(n, rows),)`.

        Raises:
            BadInput: n is less than 1.
        """
        if n < 1:
            raise BadInput(f"n={n}: at least one job is needed")
        rows = len(self.sizes)
        start = int(arrival_rng.integers(rows - n + 1)) if n < rows else 0
        window = slice(start, start + n)
        return Instance(job_table(self.arrivals[window] - self.arrivals[start]), self.sizes[window].copy())

"""Calls whose answers are recorded: what each of some models wrote, and whether it was right."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.jobs import Instance, job_table
from llmqueue_gym.workloads.arrivals import ArrivalProcess, Poisson
from llmqueue_gym.workloads.traces.routing import Answers

ORDERS = ("drawn", "rows")


@dataclass(frozen=True, eq=False)
class RecordedCalls:
    """Recorded questions that arrive at a wanted rate; the size of a call is the weakest model's output.

    Where no output is published, as of MMLU, whose answers are letters, it is one token.

    Attributes:
        answers: the questions.
        rate: of arrivals, calls/s.
        order: "drawn", with replacement, or "rows", as they stand, from the first on.
        arrivals: the arrival process.
    """

    answers: Answers
    rate: float = 1.0
    order: str = "drawn"
    arrivals: ArrivalProcess = field(default_factory=Poisson)

    def __post_init__(self) -> None:
        if not len(self.answers):
            raise BadInput("there is no recorded answer")
        if self.order not in ORDERS:
            raise BadInput(f"order={self.order!r} must be one of {', '.join(ORDERS)}")
        if not 0 < self.rate < np.inf:
            raise BadInput(f"rate={self.rate!r} must be positive and finite")

    @cached_property
    def tokens(self) -> np.ndarray:
        """Output `(rows, models)`, float64."""
        return np.maximum(self.answers.outputs, 1).astype(float)

    @property
    def sizes(self) -> np.ndarray:
        """Output of the weakest model `(rows,)`."""
        return self.tokens[:, 0]

    @cached_property
    def kinds(self) -> np.ndarray:
        """Which data set each is of `(rows,)`, counted by name from 0 on."""
        return np.unique(self.answers.dataset, return_inverse=True)[1].reshape(-1)

    @property
    def load(self) -> float:
        """Tokens of sizes that come per s."""
        return self.rate * float(self.sizes.mean())

    def stretched(self, load: float) -> "RecordedCalls":
        """Return the same at another load, in tokens per s."""
        return replace(self, rate=load / float(self.sizes.mean()))

    def rows(self, n: int, rng: Any) -> np.ndarray:
        """Return the rows of n calls, or of as many as there are where they come as they stand."""
        if self.order == "rows":
            return np.arange(min(n, len(self.answers)))
        return np.asarray(rng.integers(0, len(self.answers), size=n))

    def sample(self, n: int, arrival_rng: np.random.Generator, size_rng: np.random.Generator) -> Instance:
        """Return calls; their answers are those of `rows` with the same stream."""
        rows = self.rows(n, size_rng)
        jobs = job_table(self.arrivals.times(len(rows), self.rate, arrival_rng))
        jobs["klass"] = self.kinds[rows]
        return Instance(jobs, self.sizes[rows])

"""A dispatch policy is a score: an arrival looks at some queues, or at all, and joins the one of least score.

A user's policy is a plain function of the arriving job and one queue (`jobs.QUEUE`):

    def score(job, queue, params):
        return queue.jobs / queue.speed
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from llmqueue_gym.errors import BadInput, NotApplicable, TruthError, nearest
from llmqueue_gym.policies.base import READABLE
from llmqueue_gym.policies.reading import columns_read

Looks = Literal["sample", "turn", "all"]
_TRUTH = ("size", "true_size", "sizes", "remaining", "truth", "service_time")


@dataclass(frozen=True)
class DispatchPolicy:
    """A way of sending jobs to queues.

    Attributes:
        name: its name in the literature.
        score: plain function `score(job, queue, params) -> float`; the least is joined.
        looks: "sample": at `d` different queues drawn at random, and ties go to the first drawn; "turn": at one queue
            after another; "all": at all of them, and ties are broken at random.
        d: how many it samples.
        split: s; `queue.alike` counts waiting jobs predicted on the same side of it.
        predictive: whether the score means something only if sizes are predicted.
        params: numbers for `score`.
        prepare: `prepare(size, predictor, speeds) -> params (k,)`, for a score that is computed from the laws.
        source: paper or theorem.
    """

    name: str
    score: Callable[[Any, Any, np.ndarray], float]
    looks: Looks = "sample"
    d: int = 1
    split: float = np.inf
    predictive: bool = False
    params: tuple[float, ...] = ()
    prepare: Callable[[Any, Any, np.ndarray], np.ndarray] | None = None
    source: str = ""

    def __post_init__(self) -> None:
        if self.looks not in ("sample", "turn", "all"):
            raise BadInput(f"looks={self.looks!r}; choose sample, turn or all")
        if self.d < 1:
            raise BadInput(f"{self.name}: d={self.d} queues cannot be looked at; at least 1")
        for column in self.reads():
            if column in _TRUTH:
                raise TruthError(
                    f"dispatch policy {self.name!r} reads job.{column}: true sizes are hidden from policies"
                )
            if column not in READABLE:
                raise BadInput(
                    f"dispatch policy {self.name!r} reads job.{column}, which does not exist; "
                    f"{nearest(column, READABLE)}"
                )

    def reads(self) -> set[str]:
        """Return the columns of the job table that the score reads."""
        return columns_read(self.score, READABLE)

    def numbers(self, size: Any, predictor: Any, speeds: np.ndarray) -> np.ndarray:
        """Return the float64 parameters `(k,)` of the score for a size law, a bound predictor and servers' speeds.

        Raises:
            NotApplicable: the score needs predictions, and the predictor predicts nothing.
        """
        if self.predictive and predictor is not None and not predictor.informative:
            raise NotApplicable(
                f"dispatch policy {self.name!r} compares predictions, but the predictor predicts nothing; choose "
                "another predictor, or power-of-d"
            )
        found = self.params if self.prepare is None else self.prepare(size, predictor, speeds)
        return np.ascontiguousarray(found, np.float64)

    def choices(self, n: int, servers: int, rng: np.random.Generator) -> np.ndarray:
        """Return the servers that each of n arrivals looks at `(n, d)`; `(n, 0)` where it sees all.

        Raises:
            BadInput: d is more than there are servers.
        """
        if self.looks == "all":
            return np.zeros((n, 0), np.int64)
        if self.looks == "turn":
            return np.arange(n)[:, None] % servers
        if self.d > servers:
            raise BadInput(f"{self.name}: d={self.d} of {servers} servers cannot be sampled; d is at most {servers}")
        return different(n, self.d, servers, rng)


def different(n: int, d: int, servers: int, rng: np.random.Generator) -> np.ndarray:
    """Draw d different servers for each of n arrivals `(n, d)`, in random order, all such lists equally likely.

    A number drawn for place k among the servers not yet taken is moved past those that are, smallest first.
    """
    found = np.zeros((n, d), np.int64)
    for k in range(d):
        pick = rng.integers(0, servers - k, n)
        for taken in np.sort(found[:, :k], axis=1).T:
            pick += pick >= taken
        found[:, k] = pick
    return found

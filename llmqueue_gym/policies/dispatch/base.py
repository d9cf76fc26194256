"""A dispatch policy is a score: an arrival looks at some queues, or at all, and joins the one of least score.

A user's policy is a plain function of the arriving job and one queue (`jobs.QUEUE`):

    def score(job, queue, params):
        return queue.jobs / queue.speed
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.jobs import QUEUE
from llmqueue_gym.policies.base import SHOWN_JOB, BasePolicy, Shown

Looks = Literal["sample", "turn", "all"]
CHOICES = 2  # queues that a plain function is shown


@dataclass(frozen=True)
class DispatchPolicy(BasePolicy):
    """A way of sending jobs to queues.

    Attributes:
        name: its name in the literature.
        score: plain function `score(job, queue, params) -> float`; the least is joined.
        looks: "sample": at `d` different queues drawn at random, and ties go to the first drawn; "turn": at one queue
            after another; "all": at all of them, and ties are broken at random.
        d: how many it samples.
        split: s; `queue.alike` counts waiting jobs predicted on the same side of it.
        params: numbers for `score`.
        prepare: `prepare(size, predictor, speeds) -> params (k,)`, for a score that is computed from the laws.
        predictor: the predictor that the policy brings along, or None.
        source: paper or theorem.
    """

    kind: ClassVar[str] = "dispatch policy"
    functions: ClassVar[tuple[str, ...]] = ("score",)
    shown: ClassVar[tuple[Shown, ...]] = (
        SHOWN_JOB,
        Shown("queue", QUEUE, QUEUE.names or (), frozenset(("work", "left", "alike"))),
    )

    name: str
    score: Callable[[Any, Any, np.ndarray], float]
    looks: Looks = "sample"
    d: int = 1
    split: float = np.inf
    params: tuple[float, ...] = ()
    prepare: Callable[..., np.ndarray] | None = None
    predictor: str | None = None
    source: str = ""

    def __post_init__(self) -> None:
        if self.looks not in ("sample", "turn", "all"):
            raise BadInput(f"looks={self.looks!r}; choose sample, turn or all")
        if self.d < 1:
            raise BadInput(f"{self.name}: d={self.d} queues cannot be looked at; at least 1")
        self.check()

    @classmethod
    def from_function(cls, function: Callable[..., float], **traits: Any) -> "DispatchPolicy":
        """Make a policy of a plain function; it looks at two queues drawn at random unless told otherwise."""
        return super().from_function(function, **{"d": CHOICES, **traits})

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

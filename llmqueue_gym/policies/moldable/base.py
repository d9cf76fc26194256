"""A policy of moldable jobs is a score: the least, over waiting jobs and numbers of servers, names who starts.

An offer (`jobs.OFFER`) is one way to start a job, on so many servers. A user's policy is a plain
function of the job and the offer:

    def score(job, offer, params):
        if offer.servers > offer.free:
            return np.inf
        return offer.servers * offer.time
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.jobs import JOB, OFFER
from llmqueue_gym.policies.base import BasePolicy, Shown

Score = Callable[[Any, Any, np.ndarray], float]
READABLE = ("arrival", "predicted", "weight", "klass", "deadline")


@dataclass(frozen=True)
class MoldablePolicy(BasePolicy):
    """Who starts next, and on how many servers.

    Attributes:
        name: its name in the literature.
        score: plain function `score(job, offer, params) -> float`. The least is next; ties go to the earlier arrival,
            then to more servers. Inf declines the offer. If the servers of the least are not free, nothing starts
            until they are or another offer is less.
        params: numbers for `score`.
        window: waiting jobs that it looks at, oldest first; 1 is first come first served, 0 looks at all.
        predictor: the predictor of the time on one server that the policy brings along, or None.
        prepare: see `BasePolicy`.
        source: paper, or "ours".

    Raises:
        BadInput: a negative window, or a column that does not exist.
        TruthError: the score reads a true time.
    """

    kind: ClassVar[str] = "moldable policy"
    functions: ClassVar[tuple[str, ...]] = ("score",)
    shown: ClassVar[tuple[Shown, ...]] = (
        Shown("job", JOB, READABLE, frozenset(("predicted",))),
        Shown("offer", OFFER, OFFER.names or (), frozenset(("time", "wait"))),
    )

    name: str
    score: Score
    params: tuple[float, ...] = ()
    window: int = 0
    predictor: str | None = None
    prepare: Callable[..., np.ndarray] | None = None
    source: str = ""

    def __post_init__(self) -> None:
        if self.window < 0:
            raise BadInput(f"policy {self.name!r}: window={self.window} must be 0, for all waiting jobs, or more")
        self.check()


def ordered(score: Score, shortest: Score, shortest_first: bool) -> dict[str, Any]:
    """Return the score and the window of a policy in order of arrival or by its score among all who wait.

    Args:
        score: says on how many servers; of the first to come it need not know the size.
        shortest: the same, and least for the shortest job.
        shortest_first: which of the two.
    """
    return {"score": shortest, "window": 0} if shortest_first else {"score": score, "window": 1}

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
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput, TruthError, nearest
from llmqueue_gym.policies.reading import columns_read

READABLE = ("arrival", "predicted", "weight", "klass", "deadline")
_TRUTH = ("size", "true_size", "sizes", "times", "remaining", "truth", "service_time", "completion")


@dataclass(frozen=True)
class MoldablePolicy:
    """Who starts next, and on how many servers.

    Attributes:
        name: its name in the literature.
        score: plain function `score(job, offer, params) -> float`. The least is next; ties go to the earlier arrival,
            then to more servers. Inf declines the offer. If the servers of the least are not free, nothing starts
            until they are or another offer is less.
        params: numbers for `score`.
        window: waiting jobs that it looks at, oldest first; 1 is first come first served, 0 looks at all.
        source: paper, or "ours".

    Raises:
        BadInput: a negative window, or a column that does not exist.
        TruthError: the score reads a true time.
    """

    name: str
    score: Callable[[Any, Any, np.ndarray], float]
    params: tuple[float, ...] = ()
    window: int = 0
    source: str = ""

    def __post_init__(self) -> None:
        if self.window < 0:
            raise BadInput(f"policy {self.name!r}: window={self.window} must be 0, for all waiting jobs, or more")
        for column in self.reads():
            if column in _TRUTH:
                raise TruthError(
                    f"policy {self.name!r} reads job.{column}: true times are hidden from policies; predict exactly "
                    "and read offer.time"
                )
            if column not in READABLE:
                raise BadInput(
                    f"policy {self.name!r} reads job.{column}, which does not exist; {nearest(column, READABLE)}"
                )

    def reads(self) -> set[str]:
        """Return the columns of the job table that the score reads."""
        return columns_read(self.score, READABLE)


def from_function(score: Callable[[Any, Any, np.ndarray], float], **traits: Any) -> MoldablePolicy:
    """Make a policy of a plain function; it looks at all waiting jobs unless told otherwise."""
    if not callable(score) or not hasattr(score, "__code__") or score.__code__.co_argcount != 3:
        raise BadInput(
            f"{score!r} is not a policy of moldable jobs: give a registered name or a function "
            "score(job, offer, params)"
        )
    return MoldablePolicy(**{"name": score.__name__, "score": score, **traits})


def looks(shortest_first: bool) -> int:
    """Return the window of a policy by order of arrival, or by its score among all."""
    return 0 if shortest_first else 1

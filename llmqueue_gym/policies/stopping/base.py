"""When a program that reasons has thought enough: a rule is a function of what it is told (`requests.TOLD`).

A rule is asked after each answer of a branch and after each probe of a chain of thought. A user's rule is a plain
function:

    def stops(told, params):
        return told.leading >= 5
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.base import BasePolicy, Shown
from llmqueue_gym.requests import TOLD

Function = Callable[[Any, np.ndarray], float]
PREDICTED = frozenset(("predicted", "confidence", "mean_score", "best_score"))


@dataclass(frozen=True)
class StoppingPolicy(BasePolicy):
    """When a program stops, and how it stands in line until then.

    Attributes:
        name: its name in the literature; "-like" where the exact rule is not public.
        stops: plain function `stops(told, params)`; what is not 0 ends the program with the answer that leads.
        rank: plain function `rank(told, params) -> float`, lower is served first; None leaves the order as it is.
        every: tokens of a chain of thought from one probe to the next; 0 where it is never probed.
        probe: tokens that a probe decodes, which are thrown away.
        params: numbers for both functions.
        predictor: predictor that the rule brings along, or None.
        prepare: see `BasePolicy`.
        source: paper, or "ours".

    Raises:
        BadInput: a negative number of tokens, or a column that does not exist.
        TruthError: a function reads what is true.
    """

    kind: ClassVar[str] = "stopping rule"
    functions: ClassVar[tuple[str, ...]] = ("stops", "rank")
    shown: ClassVar[tuple[Shown, ...]] = (Shown("told", TOLD, TOLD.names or (), PREDICTED),)

    name: str
    stops: Function
    rank: Function | None = None
    every: int = 0
    probe: int = 20
    params: tuple[float, ...] = ()
    predictor: str | None = None
    prepare: Callable[..., np.ndarray] | None = None
    source: str = ""

    def __post_init__(self) -> None:
        for name in ("every", "probe"):
            if getattr(self, name) < 0:
                raise BadInput(f"{self.name}: {name}={getattr(self, name)} tokens; 0 or more")
        self.check()

    def stops_at(self, votes: Sequence[int], planned: int) -> bool:
        """Return whether it stops with these votes `(clusters,)` of the answers, of which `planned` may come."""
        return bool(self.stops(told(votes, planned), self.params_for()))


def told(votes: Sequence[int], planned: int, **more: float) -> Any:
    """Return a `TOLD` record of votes.

    Args:
        votes: of each answer that was given, `(clusters,)`.
        planned: answers at most.
        more: other columns.
    """
    row = np.zeros(1, TOLD)
    cast = np.sort(np.array([vote for vote in votes if vote > 0], np.int64))[::-1]
    row["answers"], row["planned"], row["clusters"] = cast.sum(), planned, len(cast)
    row["leading"], row["second"] = [*cast[:2], 0, 0][:2]
    shares = cast / max(cast.sum(), 1)
    row["entropy"] = -(shares * np.log2(shares)).sum() + 0.0
    for name, value in more.items():
        row[name] = value
    return row.view(np.recarray)[0]

"""A policy that pays for predictions is two functions: who is served, and what is predicted of whom.

Both read the row of the job and that of its stage (`jobs.STAGE`). What has not been bought is not there:
`job.predicted` is 0 and `job.klass` -1 until then. A user's policy is a plain function, for which everybody is
predicted on arrival:

    def rank(job, stage, params):
        return job.predicted - job.age

or `PredictingPolicy("mine", rank, ask)` with a function that says what comes next for a job.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, get_args

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.jobs import EXPENSIVE, JOB, SERVE, SIZE_KNOWN, STAGE
from llmqueue_gym.policies.base import BasePolicy, Shape, Shown

Function = Callable[[Any, Any, np.ndarray], float]
READABLE = ("arrival", "predicted", "weight", "age", "klass")
PREDICTED = SIZE_KNOWN

# Ranks of classes that go before all who are ranked by what is left of them, in this order, and of one behind them.
FIRST, SECOND, THIRD, LAST = -3e30, -2e30, -1e30, 1e30


def everybody(job, stage, params):
    return SERVE if stage.known & PREDICTED else EXPENSIVE


@dataclass(frozen=True)
class PredictingPolicy(BasePolicy):
    """Who is served, and what is predicted of whom.

    Attributes:
        name: its name in the literature.
        rank: plain function `rank(job, stage, params) -> float` of a job in its present stage. Lower is served first,
            ties go to the earlier arrival, and who is overtaken resumes later.
        ask: plain function `ask(job, stage, params)` that returns the code of the job's next stage. It is asked when
            the job arrives, after each of its predictions, and when its age reaches `pause`. What is known already is
            not bought again: the job is served then. None never predicts.
        pause: age at which `ask` is asked once more, s.
        edges: of the cheap classes, s, ascending: the class is the number of edges below the cheap prediction.
        params: numbers for both functions.
        shape: how the rank of a job in service moves within a stage. "constant" and "falling" promise that it can
            only be overtaken when something happens; with "general" it is ranked again after every small slice of
            service, which is right up to the slice.
        predictor: the predictor that the policy brings along, or None.
        prepare: see `BasePolicy`.
        source: paper, or "ours".

    Raises:
        TruthError: a function reads the true size.
        BadInput: an unknown shape, edges or a pause that make no sense, or a column that does not exist.
    """

    kind: ClassVar[str] = "predicting policy"
    functions: ClassVar[tuple[str, ...]] = ("rank", "ask")
    shown: ClassVar[tuple[Shown, ...]] = (
        Shown("job", JOB, READABLE, frozenset(("predicted", "klass"))),
        Shown("stage", STAGE, STAGE.names or (), frozenset()),
    )

    name: str
    rank: Function
    ask: Function | None = None
    pause: float = np.inf
    edges: tuple[float, ...] = ()
    params: tuple[float, ...] = ()
    shape: Shape = "general"
    predictor: str | None = None
    prepare: Callable[..., np.ndarray] | None = None
    source: str = ""

    def __post_init__(self) -> None:
        if self.shape not in get_args(Shape):
            raise BadInput(f"shape={self.shape!r}; choose constant, falling or general")
        if not self.pause > 0:
            raise BadInput(f"{self.name}: pause={self.pause:g} must be a positive age, s")
        check_edges(self.name, self.edges)
        self.check()

    @classmethod
    def from_function(cls, function: Callable[..., float], **traits: Any) -> "PredictingPolicy":
        """Make a policy of a plain function; everybody is predicted on arrival unless told otherwise."""
        return super().from_function(function, **{"ask": everybody, **traits})


def check_edges(name: str, edges: tuple[float, ...]) -> None:
    """Raise BadInput unless the edges of classes are positive and ascending."""
    if not all(edge > 0 for edge in edges) or not all(a < b for a, b in pairwise(edges)):
        raise BadInput(f"{name}: edges={edges!r} must be positive and ascending, s")

"""A rule of drafting says how many tokens a request drafts before the target model looks at it again.

It reads the row of the request, whose sizes and ages are output tokens, and what has come of its drafts so far
(`requests.DRAFT`). A user's rule is a plain function:

    def draft(job, seen, params):
        return 4 if seen.batch < 8 else 0
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from llmqueue_gym.jobs import JOB
from llmqueue_gym.policies.base import BasePolicy, Shown
from llmqueue_gym.requests import DRAFT

READABLE = ("arrival", "predicted", "weight", "age", "klass")


@dataclass(frozen=True)
class SpeculationPolicy(BasePolicy):
    """How many tokens are drafted.

    Attributes:
        name: its name.
        draft: plain function `draft(job, seen, params) -> float`, the next draft of a request, tokens; it is rounded,
            and cut to 0 and to the most that there may be.
        params: numbers for it.
        predictor: predictor of the length that the rule brings along, or None.
        prepare: `prepare(times, chance) -> params (k,)`, for rules that are computed from the times of steps and the
            mean chance of acceptance; see `systems.speculative.Times`.
        source: paper, or "ours".

    Raises:
        BadInput: a column does not exist.
        TruthError: the rule reads what is true.
    """

    kind: ClassVar[str] = "drafting rule"
    functions: ClassVar[tuple[str, ...]] = ("draft",)
    shown: ClassVar[tuple[Shown, ...]] = (
        Shown("job", JOB, READABLE, frozenset(("predicted",))),
        Shown("seen", DRAFT, DRAFT.names or (), frozenset(("told",))),
    )

    name: str
    draft: Callable[[Any, Any, np.ndarray], float]
    params: tuple[float, ...] = ()
    predictor: str | None = None
    prepare: Callable[..., np.ndarray] | None = None
    source: str = ""

    def __post_init__(self) -> None:
        self.check()

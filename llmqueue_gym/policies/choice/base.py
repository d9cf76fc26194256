"""Which model a call goes to: the one of least score, and perhaps others after it, or at the same time.

A rule reads the call (`requests.CALL`) and one of the models (`requests.MODEL`). A user's rule is a plain function:

    def score(call, model, params):
        return model.price - 0.01 * model.quality
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.base import BasePolicy, Shown
from llmqueue_gym.requests import CALL, MODEL

Function = Callable[[Any, Any, np.ndarray], float]


@dataclass(frozen=True)
class ChoicePolicy(BasePolicy):
    """Which models are asked.

    Attributes:
        name: its name in the literature; "-like" where the exact rule is not public.
        score: plain function `score(call, model, params) -> float`; the model of least score is asked, ties go to the
            weaker one.
        again: plain function `again(call, model, params)` of a call that has an answer, and of the model that would be
            next; what is not 0 asks that one, too. None never does.
        at_once: models that are asked at the same time; the first answer that passes verification counts, and the
            others are given up.
        params: numbers for both functions.
        predictor: predictor that the rule brings along, or None.
        prepare: see `BasePolicy`.
        source: paper, or "ours".

    Raises:
        BadInput: no model is asked, or a column does not exist.
        TruthError: a function reads what is true.
    """

    kind: ClassVar[str] = "choice of models"
    functions: ClassVar[tuple[str, ...]] = ("score", "again")
    shown: ClassVar[tuple[Shown, ...]] = (
        Shown("call", CALL, CALL.names or (), frozenset(("win",))),
        Shown("model", MODEL, MODEL.names or (), frozenset(("quality", "tokens", "price", "wait", "service"))),
    )

    name: str
    score: Function
    again: Function | None = None
    at_once: int = 1
    params: tuple[float, ...] = ()
    predictor: str | None = None
    prepare: Callable[..., np.ndarray] | None = None
    source: str = ""

    def __post_init__(self) -> None:
        if self.at_once < 1:
            raise BadInput(f"{self.name}: at_once={self.at_once} models; 1 or more")
        self.check()

    def _who(self, record: Any, work: np.ndarray | None) -> str:
        """Return in words which call a `CALL` record is of."""
        return f"call {record['calls']}" if work is not None else super()._who(record, work)

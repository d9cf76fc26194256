"""A model that becomes another in the course of a run: at once, or little by little."""

import copy
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from llmqueue_gym.errors import NotApplicable
from llmqueue_gym.predictors.base import Predictor
from llmqueue_gym.predictors.nested import Nested


@dataclass(frozen=True)
class Drifting(Nested):
    """The first jobs of a run are predicted by one model, the last ones by another.

    In between log Y is a mean of what both say, whose weight goes from one to the other along a straight line. Both are
    given the same random numbers, so predictions before the change are those of the first model alone and predictions
    after it those of the second alone, and log-normal errors grow little by little.

    There is no one law of predictions, so theory looks at `before` and `after` each by itself. Policies that are fitted
    to the predictor are fitted to `before`.

    Attributes:
        before: the first model, or its spec, with `;` for the comma.
        after: the second, likewise.
        at: share of the jobs that come before the change begins.
        over: share of the jobs that come while it lasts; 0 is a jump.
    """

    name: ClassVar[str] = "drifting"
    models: ClassVar[tuple[str, ...]] = ("before", "after")
    before: str | Predictor = "lognormal:sigma=0.3"
    after: str | Predictor = "lognormal:sigma=3"
    at: float = 0.5
    over: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("at", "over"):
            self._check(name, 0 <= getattr(self, name) <= 1, "lie between 0 and 1")

    def believed(self) -> Predictor:
        """Return the first model: nobody has seen the second when policies are fitted."""
        return self.part("before").believed()

    def weights(self, n: int) -> np.ndarray:
        """Return how far each of n jobs is on the way from the first model to the second `(n,)`, from 0 to 1."""
        past = (np.arange(n) + 0.5) / max(n, 1) - self.at
        return np.clip(past / self.over, 0.0, 1.0) if self.over else (past > 0).astype(float)

    def predict(self, sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return predictions of the jobs of a run, in their order."""
        first = self.part("before").predict(sizes, copy.deepcopy(rng))
        second = self.part("after").predict(sizes, rng)
        w = self.weights(len(sizes))
        between = (w > 0) & (w < 1)
        predictions = np.where(w < 1, first, second)
        w, first, second = w[between], first[between], second[between]
        predictions[between] = first ** (1 - w) * second**w
        return predictions

    def cdf(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Refuse: there are two laws."""
        first = f"predictor {self.name!r} changes in the course of a run, so it has no law to analyse"
        raise NotApplicable(f"{first}; look at {self.before} and at {self.after}, or simulate")

"""Some jobs are predicted, and of the others nothing is known."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.predictors.base import Predictor
from llmqueue_gym.predictors.nested import Nested


@dataclass(frozen=True)
class Partly(Nested):
    """A share of the jobs, whatever their size, is predicted by a model; the others are given out as of mean size.

    That number tells them from predicted jobs, to whom it never falls where predictions are continuous. So a policy
    that ranks by predictions takes them for jobs of mean size, and Gittins, which knows all laws, ranks them by their
    age alone. The predicted jobs are predicted as the model alone would do it.

    Attributes:
        share: of the jobs that are predicted.
        model: their model, or its spec, with `;` for the comma.
    """

    name: ClassVar[str] = "partly"
    share: float = 0.7
    model: str | Predictor = "lognormal"
    _unknown: float = field(default=1.0, init=False)  # what the others are given out as, s

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("share", 0 <= self.share <= 1, "lie between 0 and 1")

    def bind(self, size: Distribution) -> "Partly":
        """Return this model with the mean size of a law, and the model fitted to the law."""
        return super().bind(size)._fitted(_unknown=float(size.mean))

    def believed(self) -> Predictor:
        """Return the same with what the model is taken for."""
        return replace(self, model=self.part().believed())._fitted(_unknown=self._unknown)

    def predict(self, sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return predictions, and the mean size of those who have none."""
        predictions = self.part().predict(sizes, rng)
        return np.where(rng.random(len(sizes)) < self.share, predictions, self._unknown)

    def cdf(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return the model's P(Y <= y | S = x), and that of one number, by their shares."""
        return self.share * self.part().cdf(y, x) + (1 - self.share) * (np.asarray(y, float) >= self._unknown)

    def atoms(self) -> np.ndarray | None:
        """Return the model's with the one number, or None where the model's are too many to list."""
        model = self.part().atoms() if self.share > 0 else np.empty(0)
        return model if model is None or self.share == 1 else np.union1d(model, [self._unknown])

    def lumps(self) -> tuple[float, ...]:
        """Return the one number, where the others are continuous."""
        own = () if self.share == 1 or self.atoms() is not None else (self._unknown,)
        return (*self.part().lumps(), *own)

    def breakpoints(self) -> tuple[float, ...]:
        """Return the model's."""
        return self.part().breakpoints()

    def breakpoints_at(self, y: float) -> tuple[float, ...]:
        """Return the model's."""
        return self.part().breakpoints_at(y)

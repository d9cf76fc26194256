"""A model that sees sizes as another number than they are: all too long, or the long ones not long enough."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from llmqueue_gym.predictors.base import Predictor
from llmqueue_gym.predictors.nested import Nested


@dataclass(frozen=True)
class Distorted(Nested):
    """What a model predicts of a job whose size is factor * x^power: a bias, and less spread than there is in sizes.

    A learned predictor that is trained on log sizes regresses to the mean, which is a power below 1.

    Attributes:
        factor: positive; in s^(1 - power).
        power: positive.
        model: of the noise, or its spec, with `;` for the comma.
    """

    name: ClassVar[str] = "distorted"
    factor: float = 1.0
    power: float = 1.0
    model: str | Predictor = "lognormal"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("factor", 0 < self.factor < np.inf, "be positive and finite")
        self._check("power", 0 < self.power <= 100, "be positive and at most 100")

    def predict(self, sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return what the model says of the distorted sizes."""
        return self.part().predict(self._seen(sizes), rng)

    def cdf(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return the model's P(Y <= y) at the distorted size."""
        return self.part().cdf(y, self._seen(x))

    def atoms(self) -> np.ndarray | None:
        """Return the model's."""
        return self.part().atoms()

    def lumps(self) -> tuple[float, ...]:
        """Return the model's."""
        return self.part().lumps()

    def breakpoints(self) -> tuple[float, ...]:
        """Return the sizes that look like those of the model."""
        return self._sizes(self.part().breakpoints())

    def breakpoints_at(self, y: float) -> tuple[float, ...]:
        """Return the sizes that look like those of the model."""
        return self._sizes(self.part().breakpoints_at(y))

    def _seen(self, x: np.ndarray) -> np.ndarray:
        return self.factor * np.asarray(x, float) ** self.power

    def _sizes(self, seen: tuple[float, ...]) -> tuple[float, ...]:
        return tuple((one / self.factor) ** (1 / self.power) for one in seen)

"""Uniform predictions around the truth.

Source: Mitzenmacher, "Scheduling with Predictions and the Price of Misprediction", ITCS 2020 (uniform-alpha).
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.predictors.ratio import Ratio, uniform_cdf


@dataclass(frozen=True)
class Uniform(Ratio):
    """Y given S = x is uniform on [(1 - alpha) x, (1 + alpha) x].

    Attributes:
        alpha: relative error, in [0, 1]; 0 is exact.
    """

    name: ClassVar[str] = "uniform"
    alpha: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise BadInput(f"uniform: alpha={self.alpha:g} must lie between 0 and 1")

    def _ratio_cdf(self, r: np.ndarray) -> np.ndarray:
        return uniform_cdf(r, 1 - self.alpha, 1 + self.alpha)

    def _ratio_ppf(self, u: np.ndarray) -> np.ndarray:
        return 1 + self.alpha * (2 * u - 1)

    def _ratio_edges(self) -> tuple[float, ...]:
        return (1 - self.alpha, 1 + self.alpha) if self.alpha < 1 else (2.0,)

"""Predictions within constant factors of the truth, the assumption of the robustness theorems.

Source: Scully, Grosof, Mitzenmacher, "Uniform Bounds for Scheduling with Job Size Estimates", ITCS 2022, where
predictions lie in [beta x, alpha x]; the uniform law between the two is ours.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.predictors.ratio import Ratio, uniform_cdf


@dataclass(frozen=True)
class Multiplicative(Ratio):
    """Y given S = x is uniform on [low x, high x].

    Attributes:
        low: least factor, positive.
        high: greatest factor, at least `low`.
    """

    name: ClassVar[str] = "multiplicative"
    low: float = 0.5
    high: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.high < np.inf:
            raise BadInput(f"multiplicative: low={self.low:g}, high={self.high:g} must satisfy 0 < low <= high")

    def _ratio_cdf(self, r: np.ndarray) -> np.ndarray:
        return uniform_cdf(r, self.low, self.high)

    def _ratio_ppf(self, u: np.ndarray) -> np.ndarray:
        return self.low + (self.high - self.low) * u

    def _ratio_edges(self) -> tuple[float, ...]:
        return (self.low, self.high)

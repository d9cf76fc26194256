"""Predictions with a relative Gaussian error, redrawn while negative.

Source: the option of Dell'Amico's simulator schedsim; the redrawing is done by inverting the truncated law.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import ndtr, ndtri

from llmqueue_gym.errors import BadInput
from llmqueue_gym.predictors.ratio import Ratio, step_cdf


@dataclass(frozen=True)
class Normal(Ratio):
    """Y = x (1 + sigma N) given that it is not negative, N standard normal.

    Attributes:
        sigma: relative error before the truncation; 0 is exact.
    """

    name: ClassVar[str] = "normal"
    sigma: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.sigma < np.inf:
            raise BadInput(f"normal: sigma={self.sigma:g} must be finite and not negative")

    def _cut(self) -> float:
        """Return the mass below 0, which the redrawing takes away."""
        return float(ndtr(-1 / self.sigma))

    def _ratio_cdf(self, r: np.ndarray) -> np.ndarray:
        if self.sigma == 0:
            return step_cdf(r, 1.0)
        return np.clip((ndtr((r - 1) / self.sigma) - self._cut()) / (1 - self._cut()), 0.0, 1.0)

    def _ratio_ppf(self, u: np.ndarray) -> np.ndarray:
        if self.sigma == 0:
            return np.ones_like(u)
        return np.maximum(1 + self.sigma * ndtri(self._cut() + (1 - self._cut()) * u), 0.0)

    def _ratio_edges(self) -> tuple[float, ...]:
        return (1.0,) if self.sigma == 0 else ()

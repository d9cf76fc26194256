"""Exponential predictions: the anchor model of the literature.

Source: Mitzenmacher, "Scheduling with Predictions and the Price of Misprediction", ITCS 2020; the survey's tables.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from llmqueue_gym.predictors.ratio import Ratio


@dataclass(frozen=True)
class Exponential(Ratio):
    """Y given S = x is exponential with mean x."""

    name: ClassVar[str] = "exponential"

    def _ratio_cdf(self, r: np.ndarray) -> np.ndarray:
        return -np.expm1(-np.maximum(r, 0.0))

    def _ratio_ppf(self, u: np.ndarray) -> np.ndarray:
        return -np.log1p(-u)

"""Models whose error is relative: Y = x R, where the ratio R has the same law for every job.

Every job takes exactly one uniform number, so that two models of this kind with the same seed are coupled: common
random numbers across models and across their parameters.
"""

import numpy as np

from llmqueue_gym.predictors.base import Predictor


class Ratio(Predictor):
    """Y = x R; a model states the law of R and no more."""

    def _ratio_cdf(self, r: np.ndarray) -> np.ndarray:
        """Return P(R <= r) for r of any sign, infinity included."""
        raise NotImplementedError

    def _ratio_ppf(self, u: np.ndarray) -> np.ndarray:
        """Return the quantile of R at u in [0, 1), never negative."""
        raise NotImplementedError

    def _ratio_edges(self) -> tuple[float, ...]:
        """Return the positive ratios at which `_ratio_cdf` jumps or bends."""
        return ()

    def predict(self, sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return size times ratio, one uniform number of `rng` for each job."""
        return sizes * self._ratio_ppf(rng.random(len(sizes)))

    def cdf(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return P(R <= y / x)."""
        y, x = np.asarray(y, float), np.asarray(x, float)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            p = self._ratio_cdf(y / x)
        return np.where(x > 0, p, np.where(y >= 0, 1.0, 0.0))  # a job of size 0 is predicted 0

    def breakpoints_at(self, y: float) -> tuple[float, ...]:
        """Return y over each ratio at which the law of R jumps or bends."""
        return tuple(sorted(y / r for r in self._ratio_edges()))


def step_cdf(r: np.ndarray, at: float) -> np.ndarray:
    """Return P(at <= r), the law of a constant ratio; the slack undoes the rounding of (x * at) / x."""
    return np.where(r >= at * (1 - 1e-15), 1.0, 0.0)


def uniform_cdf(r: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return P(R <= r) for R uniform on [low, high], also where the two are equal."""
    return step_cdf(r, low) if low == high else np.clip((r - low) / (high - low), 0.0, 1.0)

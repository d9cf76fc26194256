"""Models whose error is relative: Y = x R, where the ratio R has the same law for every job.

Every job takes exactly one uniform number, so that two models of this kind with the same seed are coupled: common
random numbers across models and across their parameters.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import gammainc, gammaincinv, ndtr, ndtri

from llmqueue_gym.errors import BadInput
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


@dataclass(frozen=True)
class Exponential(Ratio):
    """Y given S = x is exponential with mean x, the anchor model of the literature.

    Source: Mitzenmacher, "Scheduling with Predictions and the Price of Misprediction", ITCS 2020; the survey's tables.
    """

    name: ClassVar[str] = "exponential"

    def _ratio_cdf(self, r: np.ndarray) -> np.ndarray:
        return -np.expm1(-np.maximum(r, 0.0))

    def _ratio_ppf(self, u: np.ndarray) -> np.ndarray:
        return -np.log1p(-u)


class _Even(Ratio):
    """R is uniform between two ends, which may be equal."""

    def _ends(self) -> tuple[float, float]:
        raise NotImplementedError

    def _ratio_cdf(self, r: np.ndarray) -> np.ndarray:
        low, high = self._ends()
        return _step_cdf(r, low) if low == high else np.clip((r - low) / (high - low), 0.0, 1.0)

    def _ratio_edges(self) -> tuple[float, ...]:
        return tuple(end for end in self._ends() if end > 0)


@dataclass(frozen=True)
class Uniform(_Even):
    """Y given S = x is uniform on [(1 - alpha) x, (1 + alpha) x].

    Source: Mitzenmacher, "Scheduling with Predictions and the Price of Misprediction", ITCS 2020 (uniform-alpha).

    Attributes:
        alpha: relative error, in [0, 1]; 0 is exact.
    """

    name: ClassVar[str] = "uniform"
    alpha: float = 0.5

    def __post_init__(self) -> None:
        self._check("alpha", 0 <= self.alpha <= 1, "lie between 0 and 1")

    def _ends(self) -> tuple[float, float]:
        return 1 - self.alpha, 1 + self.alpha

    def _ratio_ppf(self, u: np.ndarray) -> np.ndarray:
        return 1 + self.alpha * (2 * u - 1)


@dataclass(frozen=True)
class Multiplicative(_Even):
    """Y given S = x is uniform on [low x, high x]: the assumption of the robustness theorems.

    Source: Scully, Grosof, Mitzenmacher, "Uniform Bounds for Scheduling with Job Size Estimates", ITCS 2022, where
    predictions lie in [beta x, alpha x]; the uniform law between the two is ours.

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

    def _ends(self) -> tuple[float, float]:
        return self.low, self.high

    def _ratio_ppf(self, u: np.ndarray) -> np.ndarray:
        return self.low + (self.high - self.low) * u


@dataclass(frozen=True)
class _Gaussian(Ratio):
    """R follows from a standard normal number times sigma; with sigma = 0 it is 1."""

    sigma: float = 0.5

    def __post_init__(self) -> None:
        self._check("sigma", 0 <= self.sigma <= 100, "be from 0 to 100")

    def _ratio_cdf(self, r: np.ndarray) -> np.ndarray:
        return _step_cdf(r, 1.0) if self.sigma == 0 else self._noisy_cdf(r)

    def _ratio_ppf(self, u: np.ndarray) -> np.ndarray:
        return np.ones_like(u) if self.sigma == 0 else self._noisy_ppf(u)

    def _ratio_edges(self) -> tuple[float, ...]:
        return (1.0,) if self.sigma == 0 else ()

    def _noisy_cdf(self, r: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _noisy_ppf(self, u: np.ndarray) -> np.ndarray:
        raise NotImplementedError


@dataclass(frozen=True)
class Lognormal(_Gaussian):
    """Y = x exp(sigma N), N standard normal: errors by factors, over- and underestimates equally likely.

    Source: Dell'Amico, Carra, Pastorelli, Michiardi, "Revisiting Size-Based Scheduling with Estimated Job Sizes",
    MASCOTS 2014, and the simulator schedsim (sigma from 0.125 to 2, 0.5 by default).

    Attributes:
        sigma: standard deviation of log(Y/x); 0 is exact.
    """

    name: ClassVar[str] = "lognormal"

    def _noisy_cdf(self, r: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return ndtr(np.log(np.maximum(r, 0.0)) / self.sigma)

    def _noisy_ppf(self, u: np.ndarray) -> np.ndarray:
        return np.exp(self.sigma * ndtri(u))


@dataclass(frozen=True)
class Normal(_Gaussian):
    """Y = x (1 + sigma N) given that it is not negative, N standard normal.

    Source: the option of Dell'Amico's simulator schedsim, which redraws negative predictions; here the truncated law
    is inverted.

    Attributes:
        sigma: relative error before the truncation; 0 is exact.
    """

    name: ClassVar[str] = "normal"

    def _cut(self) -> float:
        """Return the mass below 0, which the redrawing takes away."""
        return float(ndtr(-1 / self.sigma))

    def _noisy_cdf(self, r: np.ndarray) -> np.ndarray:
        return np.clip((ndtr((r - 1) / self.sigma) - self._cut()) / (1 - self._cut()), 0.0, 1.0)

    def _noisy_ppf(self, u: np.ndarray) -> np.ndarray:
        return np.maximum(1 + self.sigma * ndtri(self._cut() + (1 - self._cut()) * u), 0.0)


@dataclass(frozen=True)
class TwoLognormals(Ratio):
    """Y = x exp(sigma N), where sigma is `wide` for a share of the jobs: predictions that are good, but for some.

    Source: the normal mixture of output lengths that is fitted to ELIS' predictor, with relative errors.

    Attributes:
        sigma: standard deviation of log(Y/x) of most jobs.
        wide: that of the others.
        share: of the jobs that are the others.
    """

    name: ClassVar[str] = "two-lognormals"
    sigma: float = 0.25
    wide: float = 1.0
    share: float = 0.2

    def __post_init__(self) -> None:
        for name in ("sigma", "wide"):
            self._check(name, 0 < getattr(self, name) <= 100, "be positive and at most 100")
        self._check("share", 0 <= self.share <= 1, "lie between 0 and 1")

    def _ratio_cdf(self, r: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            z = np.log(np.maximum(r, 0.0))
        return (1 - self.share) * ndtr(z / self.sigma) + self.share * ndtr(z / self.wide)

    def _ratio_ppf(self, u: np.ndarray) -> np.ndarray:
        """Return the quantile: one number says both who is one of the others and where in the law a job is."""
        other = u < self.share
        with np.errstate(divide="ignore", invalid="ignore"):
            within = np.where(other, u / self.share, (u - self.share) / (1 - self.share))
        return np.exp(np.where(other, self.wide, self.sigma) * ndtri(np.clip(within, 1e-17, 1 - 1e-16)))


@dataclass(frozen=True)
class Laplace(Ratio):
    """Y = x exp(E), where E has the Laplace law: relative errors with tails that fall as a power.

    Attributes:
        scale: mean of |log(Y/x)|; tails of Y/x fall as its power -1/scale.
    """

    name: ClassVar[str] = "laplace"
    scale: float = 0.3

    def __post_init__(self) -> None:
        self._check("scale", 0 < self.scale <= 100, "be positive and at most 100")

    def _ratio_cdf(self, r: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", over="ignore"):
            z = np.log(np.maximum(r, 0.0)) / self.scale
            return np.where(z < 0, 0.5 * np.exp(np.minimum(z, 0.0)), 1 - 0.5 * np.exp(-np.maximum(z, 0.0)))

    def _ratio_ppf(self, u: np.ndarray) -> np.ndarray:
        low = np.log(np.maximum(2 * np.minimum(u, 0.5), 1e-300))
        return np.exp(self.scale * np.where(u < 0.5, low, -np.log(2 * np.minimum(1 - u, 0.5))))


@dataclass(frozen=True)
class Gamma(Ratio):
    """Y given S = x is gamma with mean x; shape 1 is the model `exponential`.

    Attributes:
        shape: one over the squared coefficient of variation of Y.
    """

    name: ClassVar[str] = "gamma"
    shape: float = 4.0

    def __post_init__(self) -> None:
        self._check("shape", 1e-3 <= self.shape <= 1e6, "be from 0.001 to 1,000,000")

    def _ratio_cdf(self, r: np.ndarray) -> np.ndarray:
        return gammainc(self.shape, self.shape * np.maximum(r, 0.0))

    def _ratio_ppf(self, u: np.ndarray) -> np.ndarray:
        return gammaincinv(self.shape, u) / self.shape


def _step_cdf(r: np.ndarray, at: float) -> np.ndarray:
    """Return P(at <= r), the law of a constant ratio; the slack undoes the rounding of (x * at) / x."""
    return np.where(r >= at * (1 - 1e-15), 1.0, 0.0)

"""What every service-time law offers. A law states its survival function; the rest is derived here by quadrature.

The public methods take scalars and arrays; behind each stands a hook of the same name with an underscore, which a law
overrides where it knows a closed form. The moments take `method="quadrature"`, which skips the law's hook and derives
the value from `sf`, so that tests compare the two.
"""

import contextlib
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from llmqueue_gym.distributions.integration import gauss_legendre, panel_nodes, panels
from llmqueue_gym.errors import BadInput, NotApplicable
from llmqueue_gym.registry import spec_of

_SMALL = 1e-100  # the smallest mean, and the largest is its inverse: squares of sizes are numbers
_LEAST = 1e-300  # the smallest probability that is followed into a tail


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """The law of a job size S > 0. Methods take scalars or arrays and return the same shape.

    Attributes:
        mean: E[S], in the unit of size (s or tokens).

    Raises:
        BadInput: a parameter is out of range; the message names the value.
    """

    name: ClassVar[str] = "law"
    mean: float = 1.0

    def __post_init__(self) -> None:
        self._check("mean", _SMALL <= self.mean <= 1 / _SMALL, f"from {_SMALL:g} to {1 / _SMALL:g}")

    def _check(self, parameter: str, good: bool, rule: str) -> None:
        if not good:
            raise BadInput(f"size law {self.name!r}: {parameter} must be {rule}, not {getattr(self, parameter)!r}")

    def __str__(self) -> str:
        """Return the form that the registry reads, such as `weibull:shape=0.5`; a mean of one is left out."""
        return spec_of(self, self.name, mean=1.0)

    def scaled(self, mean: float) -> Self:
        """Return the same law with another mean."""
        return dataclasses.replace(self, mean=mean)

    @classmethod
    def fit(cls, samples: ArrayLike) -> Self:
        """Return the law of this family that fits positive `samples` `(n,)`, its mean included."""
        raise NotApplicable(f"size law {cls.name!r} cannot be fitted to samples")

    @classmethod
    def _positive(cls, samples: ArrayLike) -> np.ndarray:
        """Return `samples` as float64 `(n,)`; BadInput names the first that is not positive and finite."""
        array = np.asarray(samples, float)
        if array.ndim != 1 or not array.size:
            raise BadInput(f"size law {cls.name!r} needs a list of samples, not an array of shape {array.shape}")
        bad = np.flatnonzero(~((array > 0) & (array < np.inf)))
        if bad.size:
            what = f"sample {bad[0] + 1} must be positive and finite, not {array[bad[0]]!s}"
            raise BadInput(f"size law {cls.name!r}: {what}")
        return array

    @classmethod
    def _likely(cls, parameter: str, score: Callable[[float], float], low: float, high: float) -> float:
        """Return the root of a monotone `score`, the derivative of the log likelihood, between `low` and `high`."""
        from scipy import optimize  # which takes a while, and is only needed to fit a law

        if not score(low) * score(high) <= 0:  # the samples are all equal, for example
            what = f"no {parameter} from {low:g} to {high:g} is likely"
            raise BadInput(f"size law {cls.name!r} does not fit the samples: {what}")
        return float(optimize.brentq(score, low, high))

    # The law.

    def sf(self, x: ArrayLike) -> np.ndarray:
        """Return P(S > x), accurate relative to itself."""
        return self._sf(np.maximum(x, 0.0))[()]

    def cdf(self, x: ArrayLike) -> np.ndarray:
        """Return P(S <= x)."""
        return self._cdf(np.maximum(x, 0.0))[()]

    def pdf(self, x: ArrayLike) -> np.ndarray:
        """Return the density at x; zero below zero and at inf.

        Raises:
            NotApplicable: the law is discrete and has no density.
        """
        inside = (np.asarray(x) >= 0) & (np.asarray(x) < np.inf)
        return np.where(inside, self._pdf(np.where(inside, x, self.mean)), 0.0)[()]

    def hazard(self, x: ArrayLike) -> np.ndarray:
        """Return the completion rate pdf(x) / sf(x) at age x; inf where sf is zero, NotApplicable as in `pdf`."""
        return np.where(np.asarray(x) >= 0, self._hazard(np.maximum(x, 0.0)), 0.0)[()]

    def between(self, low: ArrayLike, high: ArrayLike) -> np.ndarray:
        """Return P(low < S <= high), accurate near zero and in the tail."""
        lower = self.cdf(low)
        return np.where(lower < 0.5, self.cdf(high) - lower, self.sf(low) - self.sf(high))[()]

    def ppf(self, q: ArrayLike) -> np.ndarray:
        """Return the least x with cdf(x) >= q."""
        with np.errstate(divide="ignore"):  # ppf(1) may be inf
            return self._ppf(np.asarray(q, float))[()]

    def isf(self, p: ArrayLike) -> np.ndarray:
        """Return the least x with sf(x) <= p; accurate for p far below the float epsilon."""
        with np.errstate(divide="ignore"):  # isf(0) may be inf
            return self._isf(np.asarray(p, float))[()]

    # The hooks: `_sf` is the one that each law states. They get float arrays, x >= 0.

    def _sf(self, x: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _cdf(self, x: np.ndarray) -> np.ndarray:
        return 1.0 - self._sf(x)

    def _pdf(self, x: np.ndarray) -> np.ndarray:
        step = 1e-5 * np.maximum(x, 1e-300)  # a central difference: an error of step^2 and one of epsilon / step
        return self.between(x - step, x + step) / (2 * step)

    def _hazard(self, x: np.ndarray) -> np.ndarray:
        sf = self._sf(x)
        return np.divide(self._pdf(x), sf, out=np.full(np.shape(sf), np.inf), where=sf > 0)

    def _ppf(self, q: np.ndarray) -> np.ndarray:
        return self._least(lambda x: self._cdf(x) >= q, q)

    def _isf(self, p: np.ndarray) -> np.ndarray:
        return self._least(lambda x: self._sf(x) <= p, p)

    def _least(self, reached: Callable[[np.ndarray], np.ndarray], target: np.ndarray) -> np.ndarray:
        """Return the least x that is `reached`, by doubling and bisection, one for each entry of `target`."""
        low = high = np.full(np.shape(target), float(self.mean))
        with np.errstate(over="ignore"):  # the bracket may grow to inf, which is then the answer
            while (short := ~reached(high) & (high < np.inf)).any():
                low, high = np.where(short, high, low), np.where(short, high * 2, high)
            while (over := reached(low) & (low > 0)).any():
                low, high = np.where(over, low / 2, low), np.where(over, low, high)
        for _ in range(60):  # a bracket of ratio two needs 53 halvings
            middle = low + (high - low) / 2
            enough = reached(middle)
            low, high = np.where(enough, low, middle), np.where(enough, middle, high)
        return high

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return `n` independent sizes, float64 `(n,)`."""
        return self.ppf(rng.random(n))

    # Moments.

    @property
    def variance(self) -> float:
        """Var[S]."""
        return float(self.moment(2)) - self.mean**2

    @property
    def scv(self) -> float:
        """Squared coefficient of variation, Var[S] / E[S]^2."""
        return self.variance / self.mean**2

    def moment(self, k: float, method: str = "formula") -> float:
        """Return E[S^k], k >= 0, from the closed form where there is one, or by `method="quadrature"` from `sf`."""
        with np.errstate(over="ignore"), contextlib.suppress(OverflowError):
            return float(self._source(k, method)._moment(self, k))
        return float("inf")  # it is larger than any number

    def partial_moment(self, k: float, x: ArrayLike, method: str = "formula") -> np.ndarray:
        """Return E[S^k; S <= x], k >= 0; `method` as in `moment`."""
        return self._source(k, method)._partial_moment(self, k, np.maximum(x, 0.0))[()]

    def tail_moment(self, k: float, x: ArrayLike, method: str = "formula") -> np.ndarray:
        """Return E[S^k; S > x], k >= 0, accurate relative to itself far in the tail; `method` as in `moment`."""
        return self._source(k, method)._tail_moment(self, k, np.maximum(x, 0.0))[()]

    def _source(self, k: float, method: str) -> type["Distribution"]:
        if method not in ("formula", "quadrature"):
            raise BadInput(f"unknown method {method!r}; choose from: formula, quadrature")
        if not 0 <= k < np.inf:
            raise BadInput(f"the order of a moment must be a number >= 0, not {k!r}")
        return type(self) if method == "formula" else Distribution

    def _moment(self, k: float) -> float:
        return float(Distribution._tail_moment(self, k, np.zeros(())))

    def _partial_moment(self, k: float, x: np.ndarray) -> np.ndarray:
        def one(x: float) -> float:  # E[S^k; S <= x] = int_0^x k t^(k-1) P(t < S <= x) dt
            top = min(x, float(self.isf(_LEAST)))
            return self._integral(k, 0.0, top, lambda t: self.between(t, x)) if k else float(self.cdf(x))

        return np.vectorize(one, otypes=[float])(x)

    def _tail_moment(self, k: float, x: np.ndarray) -> np.ndarray:
        def one(x: float) -> float:  # E[S^k; S > x] = x^k P(S > x) + int_x^inf k t^(k-1) P(S > t) dt
            sf = float(self.sf(x))
            if sf == 0 or k == 0:
                return sf
            return x**k * sf + self._integral(k, x, float(self.isf(max(sf * 1e-40, _LEAST))), self.sf)

        return np.vectorize(one, otypes=[float])(x)

    def _integral(self, k: float, low: float, high: float, weight: Callable[[np.ndarray], np.ndarray]) -> float:
        """Return the integral of k t^(k-1) weight(t) over [low, high], on panels that follow the quantiles."""
        if high <= low:
            return 0.0
        levels = np.geomspace(1e-15, 0.5, 40)
        t, dt = panel_nodes(panels(low, high, np.concatenate([self.ppf(levels), self.isf(levels), self._kinks()])), 16)
        return float(np.sum(k * t ** (k - 1) * weight(t) * dt))

    # Where the law is not smooth, and sums that stand for expectations.

    def atoms(self) -> np.ndarray | None:
        """Return the ascending support `(n_atoms,)` of a discrete law, or None where S is continuous."""
        return None

    def breakpoints(self) -> tuple[float, ...]:
        """Return the points where the density jumps, ascending; none where they are too many to be of use."""
        return ()

    def _kinks(self) -> np.ndarray:
        """Return all points where `sf` is not smooth, however many."""
        return np.asarray(self.breakpoints(), float)

    def quadrature(self, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return points and probabilities whose sum over g is E[g(S); edges[0] < S <= edges[-1]].

        Each cell (edges[i], edges[i + 1]] holds points that stand for exactly its own probability, so a g that
        jumps only at an edge is integrated without loss. Cells are split where the density jumps.

        Args:
            edges: ascending cell edges `(n_cells + 1,)`, edges[0] >= 0.

        Returns:
            points `(n,)`, ascending, and probabilities `(n,)`; cells of no probability give no point.
        """
        kinks = self._kinks()
        edges = np.union1d(edges, kinks[(kinks > edges[0]) & (kinks < edges[-1])])
        mass = self.between(edges[:-1], edges[1:])
        x, dx = panel_nodes(edges, 4)
        nodes, weights = gauss_legendre(4)
        share = dx * self.pdf(x)
        total = share.sum(axis=1, keepdims=True)
        share = np.where(total > 0, share / np.where(total > 0, total, 1.0), weights)
        if edges[0] == 0 and mass[0] > 0:  # a density may be singular at zero: equal steps of probability there
            x[0], share[0] = self.ppf(mass[0] * nodes), weights
        kept = mass > 0
        return x[kept].ravel(), (share * mass[:, None])[kept].ravel()

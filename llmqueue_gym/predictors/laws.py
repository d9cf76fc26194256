"""A model that names a law for each job, in place of a number, and says how sure it is."""

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from scipy.special import ndtr, ndtri

from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.errors import BadInput
from llmqueue_gym.predictors.base import Predictor

_CELLS = 4000  # of the size law, for the means


@dataclass(frozen=True)
class Laws(Predictor):
    """The prediction of a job is one of 2k laws: k places by two spreads, one of jobs that are easy to predict.

    The place is the cell of a noisy number x exp(sigma N); cells are cut by the size law into k that are equally
    likely. For a share of the jobs, whatever their size, sigma is `wide`, and the predictor knows for which. The law
    that it names is that of the size of a job given what it saw, if its spreads were `claimed` times what they are: 1
    is calibrated, less is overconfident. A law is given out by its mean, by which it is known, so a policy that reads
    predictions goes by means, and policies that are computed from the predictor go by the laws that it names.

    Attributes:
        k: number of places.
        sigma: spread of most jobs.
        wide: spread of the others.
        share: of the jobs that are the others.
        claimed: factor on both spreads that the predictor believes.
    """

    name: ClassVar[str] = "laws"
    k: int = 16
    sigma: float = 0.25
    wide: float = 1.0
    share: float = 0.5
    claimed: float = 1.0
    _edges: tuple[float, ...] = field(default=(), init=False)  # of the places
    _values: tuple[float, ...] = field(default=(), init=False)  # means of all laws, ascending
    _order: tuple[int, ...] = field(default=(), init=False)  # the law that has each of these

    def __post_init__(self) -> None:
        self._check("k", 1 <= self.k <= 1000, "be from 1 to 1000")
        for name in ("sigma", "wide", "claimed"):
            self._check(name, 0 < getattr(self, name) <= 100, "be positive and at most 100")
        self._check("share", 0 <= self.share <= 1, "lie between 0 and 1")

    def bind(self, size: Distribution) -> "Laws":
        """Return this model with the places and the means of a size law."""
        if not np.isfinite(size.mean):
            raise BadInput(f"laws: the size law has mean {size.mean:g}, so there are laws without a mean")
        edges = tuple(np.unique(size.ppf(np.arange(1, self.k) / self.k)).tolist())
        x, p = size.quadrature(np.unique(size.isf(np.linspace(1 - 1e-9, 1e-9, _CELLS))))
        seen = self._fitted(_edges=edges)._claim()._chances(x) * p
        mass = seen.sum(axis=1)
        with np.errstate(invalid="ignore"):
            means = np.where(mass > 0, seen @ x / mass, size.mean)
        order = np.argsort(means, kind="stable")
        values = means[order] * (1 + 1e-9 * np.arange(len(means)))  # laws of one mean are still two
        return self._fitted(_edges=edges, _values=tuple(values.tolist()), _order=tuple(order.tolist()))

    def believed(self) -> "Laws":
        """Return the model that this one takes itself for."""
        return self._claim()._fitted(_values=self._values, _order=self._order)

    def predict(self, sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the mean of the law that each job is given."""
        self._bound()
        noise, other = ndtri(np.maximum(rng.random(len(sizes)), 1e-17)), rng.random(len(sizes)) < self.share
        place = np.searchsorted(self._edges, sizes * np.exp(np.where(other, self.wide, self.sigma) * noise))
        law = place + other * (len(self._edges) + 1)
        return np.array(self._values)[np.argsort(self._order)[law]]

    def cdf(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return the chance of the laws whose means are at most y."""
        self._bound()
        y, x = np.asarray(y, float), np.asarray(x, float)
        shape = np.broadcast_shapes(y.shape, x.shape)
        points, at = np.unique(x, return_inverse=True)
        sums = np.cumsum(self._chances(points)[list(self._order)], axis=0)
        sums = np.concatenate([np.zeros((1, len(points))), sums])
        sums[-1] = 1.0
        told = np.searchsorted(self._values, y, side="right")
        return np.minimum(sums, 1.0)[np.broadcast_to(told, shape), np.broadcast_to(at.reshape(x.shape), shape)]

    def atoms(self) -> np.ndarray:
        """Return the means of the laws."""
        self._bound()
        return np.array(self._values)

    def _bound(self) -> None:
        if not self._values:
            raise BadInput("laws: there are none before bind(size)")

    def _claim(self) -> Any:
        """Return the same places with the spreads that are claimed."""
        claim = replace(self, sigma=self.sigma * self.claimed, wide=self.wide * self.claimed, claimed=1.0)
        return claim._fitted(_edges=self._edges)

    def _chances(self, x: np.ndarray) -> np.ndarray:
        """Return the chance of each law for sizes `(n,)`, `(2 k, n)`; the places of `wide` come last."""
        with np.errstate(divide="ignore"):
            z = np.log(np.array(self._edges))[:, None] - np.log(x)
        parts = []
        for spread, share in ((self.sigma, 1 - self.share), (self.wide, self.share)):
            below = np.concatenate([np.zeros((1, len(x))), ndtr(z / spread), np.ones((1, len(x)))])
            parts.append(share * np.diff(below, axis=0))
        return np.concatenate(parts)

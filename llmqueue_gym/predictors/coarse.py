"""Models that tell only which cell a noisy prediction falls in, by one number for each cell.

The cells are `(-inf, edges[0]], (edges[0], edges[1]], ..., (edges[-1], inf)`.
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.errors import BadInput
from llmqueue_gym.predictors import predictor
from llmqueue_gym.predictors.base import Predictor


class Coarse(Predictor):
    """A noisy prediction Y' is replaced by the value of its cell.

    Attributes:
        noise: the model of Y', or its spec; within the spec of this model a `;` stands for the comma, as in
            `one-bit:threshold=1,noise=multiplicative:low=0.5;high=2`.
    """

    noise: str | Predictor

    def __post_init__(self) -> None:
        if isinstance(self.noise, str):
            object.__setattr__(self, "noise", predictor(self.noise.replace(";", ",")))

    def cells(self) -> tuple[np.ndarray, np.ndarray]:
        """Return increasing edges `(k - 1,)` and the increasing values given out `(k,)`, both in s."""
        raise NotImplementedError

    def predict(self, sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the value of the cell of each noisy prediction."""
        edges, values = self.cells()
        return values[np.searchsorted(edges, predictor(self.noise).predict(sizes, rng))]

    def cdf(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return P(Y <= y | S = x), from the noise's law at the edges."""
        edges, values = self.cells()
        told = np.searchsorted(values, y, side="right")  # Y <= y means that Y' fell in one of the first `told` cells
        p = predictor(self.noise).cdf(np.concatenate([[0.0], edges, [0.0]])[told], x)
        return np.where(told == 0, 0.0, np.where(told == len(values), 1.0, p))

    def atoms(self) -> np.ndarray:
        """Return the values given out."""
        return self.cells()[1]

    def breakpoints(self) -> tuple[float, ...]:
        """Return the sizes at which the noise's law at an edge jumps or bends."""
        noise = predictor(self.noise)
        return tuple(sorted({x for edge in self.cells()[0] for x in noise.breakpoints_at(float(edge))}))


@dataclass(frozen=True)
class OneBit(Coarse):
    """Short where a noisy prediction Y' is at most the threshold; given out as threshold / 2, or 2 threshold for long.

    A one-bit policy with the same threshold reads these two numbers right.
    Source: Mitzenmacher, "Queues with Small Advice", ACDA 2021.

    Attributes:
        threshold: s.
        noise: the model of Y', or its spec; "exact" gives the true bit.
    """

    name: ClassVar[str] = "one-bit"
    threshold: float = 1.0
    noise: str | Predictor = "exact"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("threshold", 0 < self.threshold < np.inf, "be positive and finite")

    def bind(self, size: Distribution) -> "OneBit":
        """Return this model with its noise fitted to a size law."""
        return replace(self, noise=predictor(self.noise).bind(size))

    def cells(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the threshold and the two numbers given out."""
        return np.array([self.threshold]), np.array([self.threshold / 2, self.threshold * 2])


@dataclass(frozen=True)
class Buckets(Coarse):
    """The bucket of a noisy prediction Y', given out as the mean size of the jobs that belong in that bucket.

    The buckets are k size ranges that are equally likely, as of the classifiers of LLM serving such as S3 (Jin et al.,
    NeurIPS 2023) and SSJF (Qiu et al., 2024). They need a size law: `bind(size)` makes them. A discrete law may give
    fewer than k, because edges that fall on the same atom are merged.

    Attributes:
        k: number of buckets, equally likely under the size law.
        noise: the model of Y', or its spec; "exact" gives the true bucket.
    """

    name: ClassVar[str] = "buckets"
    k: int = 8
    noise: str | Predictor = "exact"
    _edges: tuple[float, ...] = field(default=(), init=False)
    _values: tuple[float, ...] = field(default=(), init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("k", self.k >= 1, "be at least 1")

    def bind(self, size: Distribution) -> "Buckets":
        """Return this model with the buckets of a size law; needs a finite mean."""
        if not np.isfinite(size.mean):
            raise BadInput(f"buckets: the size law has mean {size.mean:g}, so its last bucket has no mean size")
        edges = np.unique(size.ppf(np.arange(1, self.k) / self.k))
        edges = edges[size.sf(edges) > 1e-12]  # nothing lies above the greatest atom
        mass = np.diff(size.cdf(edges), prepend=0.0, append=1.0)
        work = np.diff(size.partial_moment(1, edges), prepend=0.0, append=size.mean)
        noise = predictor(self.noise).bind(size)
        return self._fitted(noise=noise, _edges=tuple(edges.tolist()), _values=tuple((work / mass).tolist()))

    def cells(self) -> tuple[np.ndarray, np.ndarray]:
        """Return edges and values; BadInput before `bind`."""
        if not self._values:
            raise BadInput("buckets: there are none before bind(size), which cuts the size law into them")
        return np.array(self._edges), np.array(self._values)

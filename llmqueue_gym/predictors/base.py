"""What every prediction model offers: a sample of predictions, and the law of a prediction given the true size.

The second is the standard form that the theory integrates: `cdf(y, x) = P(Y <= y | S = x)`. Any model that can
state it is analysed with no new theory code, whether its predictions are continuous, a few classes or exact.
"""

import copy
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.errors import NotApplicable
from llmqueue_gym.registry import Named


@dataclass(frozen=True)
class Model(Named):
    """A prediction model of any kind, of job sizes, of output lengths or of speed-ups.

    Attributes:
        name: in the registry.
        informative: False where the prediction says nothing about the job.
    """

    name: ClassVar[str] = "model"
    informative: ClassVar[bool] = True

    def _fitted(self, **found: Any) -> Self:
        """Return a copy with what was found while binding in its hidden fields."""
        bound = copy.copy(self)
        for name, value in found.items():
            object.__setattr__(bound, name, value)
        return bound


@dataclass(frozen=True)
class Predictor(Model):
    """A prediction model: the law of the prediction Y of a job, given its true size x."""

    name: ClassVar[str] = "predictor"

    def bind(self, size: Distribution) -> "Predictor":
        """Return this model fitted to a size law; most models need no fitting and return themselves."""
        return self

    def believed(self) -> "Predictor":
        """Return the model that policies are fitted to: this one, unless it is not what it is taken for."""
        return self

    def predict(self, sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return one prediction per job.

        Args:
            sizes: true sizes `(n_jobs,)`, s.
            rng: the stream that belongs to predictions alone.

        Returns:
            predictions `(n_jobs,)`, s.
        """
        raise NotImplementedError

    def cdf(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return P(Y <= y | S = x), with `y` and `x` broadcast against each other.

        Raises:
            NotApplicable: the model does not state it, so it can be simulated but not analysed.
        """
        raise NotApplicable(f"predictor {self.name!r} states no cdf(y, x), which theory integrates; use simulate")

    def atoms(self) -> np.ndarray | None:
        """Return all values that Y can take, sorted, or None where they are too many to list."""
        return None

    def lumps(self) -> tuple[float, ...]:
        """Return the values that have a probability of their own although most of Y is continuous."""
        return ()

    def breakpoints(self) -> tuple[float, ...]:
        """Return the sizes x at which `cdf(y, x)` jumps or bends whatever y is; quadrature over x splits there."""
        return ()

    def breakpoints_at(self, y: float) -> tuple[float, ...]:
        """Return the sizes x at which `cdf(y, x)` jumps or bends for this one y."""
        return self.breakpoints()


@dataclass(frozen=True)
class Uninformed(Predictor):
    """Y = 0, always, so that a policy cannot tell jobs apart."""

    name: ClassVar[str] = "none"
    informative: ClassVar[bool] = False

    def predict(self, sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return zeros."""
        return np.zeros(len(sizes))

    def cdf(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return 1 where y >= 0, else 0."""
        y, _ = np.broadcast_arrays(y, x)
        return np.where(y >= 0, 1.0, 0.0)

    def atoms(self) -> np.ndarray:
        """Return the one value, 0."""
        return np.zeros(1)


@dataclass(frozen=True)
class Exact(Predictor):
    """Y = x: clairvoyant policies are the predicted ones with this model, so SRPT is SPRPT here."""

    name: ClassVar[str] = "exact"

    def predict(self, sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return a copy, because the truth itself must not reach a policy."""
        return np.array(sizes, dtype=float)

    def cdf(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return 1 where x <= y, else 0."""
        return np.where(np.asarray(x) <= np.asarray(y), 1.0, 0.0)

    def breakpoints_at(self, y: float) -> tuple[float, ...]:
        """Return y itself."""
        return (y,)

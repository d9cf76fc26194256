"""What every prediction model offers: a sample of predictions, and the law of a prediction given the true size.

The second is the standard form that the theory integrates: `cdf(y, x) = P(Y <= y | S = x)`. Any model that can
state it is analysed with no new theory code, whether its predictions are continuous, a few classes or exact.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.registry import spec_of


@dataclass(frozen=True)
class Predictor:
    """A prediction model: the law of the prediction Y of a job, given its true size x.

    Attributes:
        name: in the registry.
        informative: False where the prediction says nothing about the job.
    """

    name: ClassVar[str] = "predictor"
    informative: ClassVar[bool] = True

    def __str__(self) -> str:
        """Return the form that the registry reads, such as `lognormal:sigma=0.5`."""
        return spec_of(self, self.name)

    def bind(self, size: Distribution) -> "Predictor":
        """Return this model fitted to a size law; most models need no fitting and return themselves."""
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
        """Return P(Y <= y | S = x), with `y` and `x` broadcast against each other."""
        raise NotImplementedError

    def atoms(self) -> np.ndarray | None:
        """Return all values that Y can take, sorted, or None where they are too many to list."""
        return None

    def breakpoints(self) -> tuple[float, ...]:
        """Return the sizes x at which `cdf(y, x)` jumps or bends whatever y is; quadrature over x splits there."""
        return ()

    def breakpoints_at(self, y: float) -> tuple[float, ...]:
        """Return the sizes x at which `cdf(y, x)` jumps or bends for this one y."""
        return self.breakpoints()

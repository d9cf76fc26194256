"""What every arrival process offers, and the plainest one."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.registry import spec_of


@dataclass(frozen=True)
class ArrivalProcess:
    """A law of arrival times, scaled to whatever mean rate is wanted.

    Attributes:
        name: in the registry.
    """

    name: ClassVar[str] = "arrival process"

    def __str__(self) -> str:
        """Return the form that the registry reads, such as `mmpp:ratio=4,period=100`."""
        return spec_of(self, self.name)

    def times(self, n: int, rate: float, rng: np.random.Generator) -> np.ndarray:
        """Return the first arrival times after 0.

        Args:
            n: number of arrivals, at least 1.
            rate: mean rate, 1/s.
            rng: the stream that belongs to arrivals alone.

        Returns:
            sorted arrival times `(n,)`, s.

        Raises:
            BadInput: n or rate is out of range.
        """
        if n < 1:
            raise BadInput(f"n={n}: at least one arrival is needed")
        if not 0 < rate < np.inf:
            raise BadInput(f"rate={rate:g} must be positive and finite")
        return self._times(n, rate, rng)

    def _times(self, n: int, rate: float, rng: np.random.Generator) -> np.ndarray:
        raise NotImplementedError


@dataclass(frozen=True)
class Poisson(ArrivalProcess):
    """Independent exponential gaps: the M of M/G/1."""

    name: ClassVar[str] = "poisson"

    def _times(self, n: int, rate: float, rng: np.random.Generator) -> np.ndarray:
        return np.cumsum(rng.standard_exponential(n)) / rate

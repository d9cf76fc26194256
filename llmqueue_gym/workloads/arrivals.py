"""What every arrival process offers, and the plainest one."""

from dataclasses import dataclass

import numpy as np

from llmqueue_gym.errors import BadInput


@dataclass(frozen=True)
class ArrivalProcess:
    """A law of arrival times, scaled to whatever mean rate is wanted."""

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

    def _times(self, n: int, rate: float, rng: np.random.Generator) -> np.ndarray:
        return np.cumsum(rng.standard_exponential(n)) / rate

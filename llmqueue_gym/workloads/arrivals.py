"""Arrival processes: what every one offers, and Poisson, renewal, Markov-modulated and recorded arrivals."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from llmqueue_gym.distributions import size_law
from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.errors import BadInput
from llmqueue_gym.registry import Named
from llmqueue_gym.workloads.streams import apart
from llmqueue_gym.workloads.traces import load_trace

SLOWEST, FASTEST = 1e-12, 1e12  # arrivals per s
SPELLS = 100  # most sojourns in the mean gap between arrivals


@dataclass(frozen=True)
class ArrivalProcess(Named):
    """A law of arrival times, scaled to whatever mean rate is wanted.

    Attributes:
        name: in the registry.
    """

    name: ClassVar[str] = "arrival process"

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
        if not SLOWEST <= rate <= FASTEST:
            raise BadInput(f"rate={rate:g} must be positive and finite, from {SLOWEST:g} to {FASTEST:g} a second")
        return self._times(n, rate, rng)

    def _times(self, n: int, rate: float, rng: np.random.Generator) -> np.ndarray:
        raise NotImplementedError


@dataclass(frozen=True)
class Poisson(ArrivalProcess):
    """Independent exponential gaps: the M of M/G/1."""

    name: ClassVar[str] = "poisson"

    def _times(self, n: int, rate: float, rng: np.random.Generator) -> np.ndarray:
        return _sums(rng.standard_exponential(n), rng) / rate


@dataclass(frozen=True)
class Renewal(ArrivalProcess):
    """Gaps drawn from one law; a gap has just begun at time 0.

    Attributes:
        law: the law of a gap, of any mean, or its spec. Within the spec of this process a `;` stands for the comma, as
            in `renewal:law=weibull:shape=0.5;mean=2`.
    """

    name: ClassVar[str] = "renewal"
    law: str | Distribution = "hyperexponential"

    def __post_init__(self) -> None:
        if isinstance(self.law, str):
            object.__setattr__(self, "law", size_law(self.law.replace(";", ",")))

    def _times(self, n: int, rate: float, rng: np.random.Generator) -> np.ndarray:
        return _sums(size_law(self.law).scaled(1 / rate).sample(n, rng), rng)


@dataclass(frozen=True)
class MarkovModulated(ArrivalProcess):
    """Poisson arrivals whose rate switches between a busy and a calm state; stationary from time 0 on.

    Source: Fischer, Meier-Hellstern, "The Markov-modulated Poisson process (MMPP) cookbook", Performance Evaluation
    1993.

    Attributes:
        ratio: rate in the busy state over rate in the calm one, at least 1 (1 is Poisson).
        period: mean sojourn in each state, exponential, s.
    """

    name: ClassVar[str] = "mmpp"
    ratio: float = 4.0
    period: float = 100.0

    def __post_init__(self) -> None:
        self._check("ratio", 1 <= self.ratio <= FASTEST, f"lie between 1 and {FASTEST:g}")
        self._check("period", 0 < self.period <= FASTEST, f"be positive, and {FASTEST:g} s at most")

    def _times(self, n: int, rate: float, rng: np.random.Generator) -> np.ndarray:
        # A Poisson process of rate 1, read on the clock of the cumulative intensity.
        clock = np.cumsum(rng.standard_exponential(n))
        calm = 2 * rate / (1 + self.ratio)  # both states are equally likely, so the mean rate is `rate`
        intensity = np.array([calm, calm * self.ratio])
        if rate * self.period < 1 / SPELLS:
            raise BadInput(
                f"{self.name}: period={self.period:g} s is so short beside the gaps between arrivals, {1 / rate:g} s, "
                "that they are Poisson; take poisson, or a longer one"
            )
        time, count = np.zeros(1), np.zeros(1)  # knots of the cumulative intensity
        state = int(rng.integers(2))
        while count[-1] < clock[-1]:
            spells = rng.exponential(self.period, size=2 * int(1 + clock[-1] / (rate * self.period)))
            states = (state + np.arange(len(spells))) % 2  # an even number of spells, so the next lot starts alike
            time = np.append(time, time[-1] + np.cumsum(spells))
            count = np.append(count, count[-1] + np.cumsum(spells * intensity[states]))
        return np.interp(clock, count, time)


@dataclass(frozen=True)
class Replay(ArrivalProcess):
    """The gaps of a trace in their order, from a random one on, wrapping round at the end: bursts as they were.

    Attributes:
        file: a trace in any known format.
        format: name of the format; "auto" looks at the header.
    """

    name: ClassVar[str] = "replay"
    file: str
    format: str = "auto"
    _gaps: np.ndarray = field(init=False, repr=False, compare=False)  # (rows - 1,), mean 1

    def __post_init__(self) -> None:
        gaps = np.diff(load_trace(self.file, self.format).arrival_s)
        if not gaps.any():
            raise BadInput(f"{self.file}: all rows arrive at one time, so there are no gaps to replay")
        object.__setattr__(self, "_gaps", gaps / gaps.mean())

    def _times(self, n: int, rate: float, rng: np.random.Generator) -> np.ndarray:
        start = rng.integers(len(self._gaps))
        return np.cumsum(self._gaps[(start + np.arange(n)) % len(self._gaps)]) / rate


def _sums(gaps: np.ndarray, rng: Any) -> np.ndarray:
    """Return when each gap ends; every run begins at 0."""
    runs = len(apart(rng))
    return gaps.reshape(runs, -1).cumsum(axis=1).ravel() if runs > 1 else gaps.cumsum()

"""The two-state Markov-modulated Poisson process: busy spells and calm ones.

Source: Fischer, Meier-Hellstern, "The Markov-modulated Poisson process (MMPP) cookbook", Performance Evaluation 1993.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.workloads.arrivals import ArrivalProcess


@dataclass(frozen=True)
class MarkovModulated(ArrivalProcess):
    """Poisson arrivals whose rate switches between a busy and a calm state; stationary from time 0 on.

    Attributes:
        ratio: rate in the busy state over rate in the calm one, at least 1 (1 is Poisson).
        period: mean sojourn in each state, exponential, s.
    """

    name: ClassVar[str] = "mmpp"
    ratio: float = 4.0
    period: float = 100.0

    def __post_init__(self) -> None:
        if not 1 <= self.ratio < np.inf:
            raise BadInput(f"mmpp: ratio={self.ratio:g} must be finite and at least 1")
        if not 0 < self.period < np.inf:
            raise BadInput(f"mmpp: period={self.period:g} must be positive and finite")

    def _times(self, n: int, rate: float, rng: np.random.Generator) -> np.ndarray:
        # A Poisson process of rate 1, read on the clock of the cumulative intensity.
        clock = np.cumsum(rng.standard_exponential(n))
        calm = 2 * rate / (1 + self.ratio)  # both states are equally likely, so the mean rate is `rate`
        intensity = np.array([calm, calm * self.ratio])
        time, count = np.zeros(1), np.zeros(1)  # knots of the cumulative intensity
        state = int(rng.integers(2))
        while count[-1] < clock[-1]:
            spells = rng.exponential(self.period, size=2 * int(1 + clock[-1] / (rate * self.period)))
            states = (state + np.arange(len(spells))) % 2  # an even number of spells, so the next lot starts alike
            time = np.append(time, time[-1] + np.cumsum(spells))
            count = np.append(count, count[-1] + np.cumsum(spells * intensity[states]))
        return np.interp(clock, count, time)

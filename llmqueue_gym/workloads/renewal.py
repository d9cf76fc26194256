"""Renewal arrivals: independent gaps of any law, burstier or more regular than Poisson."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from llmqueue_gym.distributions import size_law
from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.workloads.arrivals import ArrivalProcess


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
        return np.cumsum(size_law(self.law).scaled(1 / rate).sample(n, rng))

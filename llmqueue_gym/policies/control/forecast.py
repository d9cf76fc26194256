"""As many replicas as the largest rate takes that is forecast for when they will serve, and some more."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from llmqueue_gym.policies.control.base import Controller, Seen
from llmqueue_gym.policies.control.smoothing import forecast


@dataclass(frozen=True)
class Forecast(Controller):
    """Triple exponential smoothing of the tokens/s, looked ahead over the start-up time and one period more.

    Attributes:
        period: s over which rates are taken together, and between two decisions.
        season: periods after which the load is as it was.
        margin: share that is added to what is forecast.
    """

    name: ClassVar[str] = "forecast"
    source: ClassVar[str] = "Winters, Management Science 1960"
    profiled: ClassVar[bool] = True

    period: float = 900.0
    season: int = 96
    margin: float = 0.2

    def __post_init__(self) -> None:
        self._check("period", self.period > 0, "be positive")
        self._check("season", self.season >= 1, "be at least 1")
        self._check("margin", self.margin > -1, "be above -1")

    def targets(self, seen: Seen, memory: dict[Any, Any]) -> np.ndarray:
        """Return what the forecast takes, anew in each period."""
        per = max(round(self.period / seen.tick), 1)
        whole = len(seen.arrivals) // per
        if whole == memory.get("periods", 0):
            return seen.asked[-1]
        memory["periods"], wanted = whole, seen.asked[-1].copy()
        ahead = int(np.ceil(seen.start_up / self.period)) + 1
        for role in seen.roles:
            rates = seen.tokens(role)[: whole * per].reshape(whole, per).mean(axis=1)
            expected = float(forecast(rates, self.season, ahead).max()) * (1 + self.margin)
            wanted[role] = max(int(np.ceil(expected / self.profile_of(seen).tokens[role])), 1)
        return wanted

"""What predictions cost, and who makes them.

* `where=outside`: they take no time, and each has a price, which is added to the mean response time.
* `where=server`: they are work of the server that serves the jobs, s each.
* `where=servers`: they are work of `servers` servers of their own, first come first served, and a job is not served
  while it waits for its prediction or is being predicted.

Besides, a job may be profiled wherever predictions are made: it runs at a lower speed for a while, then its size is
predicted.

Source: Shahout, Mitzenmacher, "SkipPredict: When to Invest in Predictions for Scheduling", NeurIPS 2024 (outside, and
on the server); Mitzenmacher, Shahout, "Queueing, Predictions, and LLMs", 2025, section 2.4 (the others).
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.registry import Named, Registry, spec_of

MOST_SERVERS = 100_000
OUTSIDE, SERVER, SERVERS = WHERE = ("outside", "server", "servers")


@dataclass(frozen=True)
class PredictorCost(Named):
    """What predictions cost. What is left out costs nothing.

    Attributes:
        cheap: of a cheap prediction, s of a server, or the price where they are made outside, in s of response time.
        expensive: of the prediction of a size, likewise.
        where: outside, server or servers.
        servers: of predictions alone, with where=servers.
        profile: s of service in which a job is profiled, 0 where it cannot be.
        slow: share of its speed that the server loses meanwhile.
    """

    name: ClassVar[str] = "predictions"

    cheap: float = 0.0
    expensive: float = 0.0
    where: str = OUTSIDE
    servers: int = 1
    profile: float = 0.0
    slow: float = 0.5

    def __post_init__(self) -> None:
        for name in ("cheap", "expensive", "profile"):
            value = getattr(self, name)
            if not 0 <= value < np.inf:
                raise BadInput(f"{name}={value:g} must be a number that is not negative")
        if self.where not in WHERE:
            raise BadInput(f"where={self.where!r}; {nearest(str(self.where), WHERE)}")
        if not 1 <= self.servers <= MOST_SERVERS:
            raise BadInput(f"servers={self.servers} must be from 1 to {MOST_SERVERS:,}")
        if self.servers != 1 and self.where != SERVERS:
            raise BadInput(f"servers={self.servers} goes with where=servers")
        if not 0 <= self.slow < 1:
            raise BadInput(f"slow={self.slow:g} must lie in [0, 1)")

    def __str__(self) -> str:
        """Return the form that is read back, such as `cheap=0.5,expensive=2`."""
        usual = {"where": OUTSIDE, "servers": 1, "profile": 0.0, "slow": 0.5}
        return spec_of(self, self.name, **usual).partition(":")[2]


_COSTS = Registry("cost of", {PredictorCost.name: PredictorCost}, PredictorCost)


def predictor_cost(given: Any) -> PredictorCost:
    """Return costs from their spec, such as `cheap=0.01,expensive=0.05,where=server`, or the costs themselves.

    Raises:
        BadInput: an unknown key or a value out of range.
    """
    try:
        return _COSTS(":".join(filter(None, (PredictorCost.name, given))) if isinstance(given, str) else given)
    except BadInput as error:
        raise BadInput(f"predictor_cost={str(given)!r}: {error}") from None

"""SageServe's controllers: a plan for each hour by forecast and integer program, followed in one of three ways.

At once (LT-I), one replica after another as utilisation asks (LT-U), or so and beyond the plan towards the end of an
hour in which much more comes than was expected, or much less (LT-UA). The forecast is of the largest rate in the hour,
by triple exponential smoothing rather than ARIMA.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from llmqueue_gym.policies.control.base import Controller, Seen
from llmqueue_gym.policies.control.program import cheapest
from llmqueue_gym.policies.control.smoothing import forecast

PIECES = 12  # of an hour, of which the one with the largest rate counts


@dataclass(frozen=True)
class AtOnce(Controller):
    """The plan of the hour, at once.

    Attributes:
        hour: s between two plans.
        season: hours after which the load is as it was, a day.
        ahead: hours that a plan looks ahead.
        cost: of a replica for an hour.
        start: of switching one on; that of the 155 s in which a model is loaded, unless told otherwise.
    """

    name: ClassVar[str] = "sageserve-now"
    source: ClassVar[str] = "SageServe, POMACS 2025, LT-I; shashwatj07/SageServe"
    profiled: ClassVar[bool] = True

    hour: float = 3600.0
    season: int = 24
    ahead: int = 1
    cost: float = 98.32
    start: float = 4.23

    def __post_init__(self) -> None:
        for name in ("hour", "season", "ahead"):
            self._check(name, getattr(self, name) > 0, "be positive")
        for name in ("cost", "start"):
            self._check(name, getattr(self, name) >= 0, "not be negative")

    def targets(self, seen: Seen, memory: dict[Any, Any]) -> np.ndarray:
        """Return the plan of this hour."""
        self.keep_plan(seen, memory)
        return self.followed(seen, memory)

    def keep_plan(self, seen: Seen, memory: dict[Any, Any]) -> None:
        """Note a plan and what it expects of each role where an hour begins: `plan` and `expected`, both `(3,)`."""
        hour = int(seen.clock / self.hour)
        memory.setdefault("plan", seen.asked[-1])
        memory.setdefault("expected", np.full(3, np.nan))
        if hour <= memory.get("hour", 0):
            return
        memory["hour"], roles = hour, list(seen.roles)
        unit = self.profile_of(seen)
        expected = [forecast(self.largest(seen, role), self.season, self.ahead) for role in roles]
        planned = cheapest(
            seen.asked[-1][roles],
            np.array(expected).T,
            unit.tokens[roles],
            np.full(len(roles), self.cost),
            np.full(len(roles), self.start),
            seen.least,
            seen.most,
        )
        memory["plan"], memory["expected"] = np.zeros(3, np.int64), np.full(3, np.nan)
        memory["plan"][roles], memory["expected"][roles] = planned[0], [series[0] for series in expected]

    def largest(self, seen: Seen, role: int) -> np.ndarray:
        """Return the largest tokens/s of each hour so far `(hours,)`, in any of its `PIECES`."""
        per_piece = max(round(self.hour / seen.tick / PIECES), 1)
        per_hour = max(round(self.hour / seen.tick), 1)
        tokens = seen.tokens(role)
        whole = len(tokens) // per_hour
        return np.array([pieces(tokens[k * per_hour : (k + 1) * per_hour], per_piece).max() for k in range(whole)])

    def followed(self, seen: Seen, memory: dict[Any, Any]) -> np.ndarray:
        """Return what is to be on now."""
        return np.array(memory["plan"])


@dataclass(frozen=True)
class Deferred(AtOnce):
    """The plan of the hour, one replica after another as utilisation asks.

    Attributes:
        hour: s between two plans.
        season: hours after which the load is as it was.
        ahead: hours that a plan looks ahead.
        cost: of a replica for an hour.
        start: of switching one on.
        up: share of KV blocks in use above which one more of the plan is switched on.
        down: share below which one more of those beyond the plan is switched off.
        cool: s until the next change.
    """

    name: ClassVar[str] = "sageserve-deferred"
    source: ClassVar[str] = "SageServe, POMACS 2025, LT-U; shashwatj07/SageServe"

    up: float = 0.7
    down: float = 0.3
    cool: float = 15.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("up", 0 < self.up <= 1, "be a share, above 0 and at most 1")
        self._check("down", 0 <= self.down < self.up, f"be a share below up={self.up:g}")
        self._check("cool", self.cool >= 0, "not be negative")

    def followed(self, seen: Seen, memory: dict[Any, Any]) -> np.ndarray:
        """Return one more or one less where that is towards the plan and utilisation asks for it."""
        wanted = seen.asked[-1].copy()
        for role in seen.roles if len(seen.arrivals) else ():
            if seen.clock - memory.get(("changed", role), -np.inf) < self.cool:
                continue
            step, share = self.beyond(seen, memory, role), seen.kv_share(role)
            if share > self.up and wanted[role] < memory["plan"][role]:
                step = 1
            elif share < self.down and wanted[role] > memory["plan"][role]:
                step = -1
            if step and wanted[role] + step >= 1:
                wanted[role] += step
                memory["changed", role] = seen.clock
        return wanted

    def beyond(self, seen: Seen, memory: dict[Any, Any], role: int) -> int:
        """Return how many more or less than before are wanted whatever the plan says."""
        return 0


@dataclass(frozen=True)
class Corrected(Deferred):
    """Likewise, and beyond the plan in the last third of an hour that is not what was expected.

    Attributes:
        hour: s between two plans.
        season: hours after which the load is as it was.
        ahead: hours that a plan looks ahead.
        cost: of a replica for an hour.
        start: of switching one on.
        up: share of KV blocks in use above which one more of the plan is switched on.
        down: share below which one more of those beyond the plan is switched off.
        cool: s until the next change.
        out: times the expected tokens/s above which one more is switched on.
        into: times the expected tokens/s below which one is switched off.
    """

    name: ClassVar[str] = "sageserve-corrected"
    source: ClassVar[str] = "SageServe, POMACS 2025, LT-UA; shashwatj07/SageServe"

    out: float = 5.0
    into: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("into", 0 <= self.into < self.out, f"be below out={self.out:g}")

    def beyond(self, seen: Seen, memory: dict[Any, Any], role: int) -> int:
        """Return one more or less in the last third of the hour where observed and expected differ so much."""
        expected = memory["expected"][role]
        if not expected > 0 or seen.clock / self.hour % 1.0 < 2 / 3:
            return 0
        latest = seen.tokens(role)[-max(round(self.hour / seen.tick / PIECES), 1) :].mean()
        return int(latest > self.out * expected) - int(latest < self.into * expected)


def pieces(series: np.ndarray, size: int) -> np.ndarray:
    """Return the means of a series in pieces of a size; what is left at its end is left out."""
    whole = max(len(series) // size, 1)
    return series[: whole * size].reshape(whole, -1).mean(axis=1)

"""The fewest replicas with which, by the M/M/k, few wait long: rate and mean service time are measured."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from llmqueue_gym.policies.control.base import Controller, Seen
from llmqueue_gym.theory.erlang import MMk

MOST = 100_000  # replicas that are looked at


def replicas_for(rate: float, service: float, seats: int, wait: float, share: float) -> int:
    """Return the least k for which at most a share of arrivals waits longer in the M/M/(k seats).

    Args:
        rate: arrivals per s.
        service: mean time of a request on its seat, s.
        seats: of a replica.
        wait: s.
        share: of the arrivals.
    """
    offered = rate * service
    if offered <= 0:
        return 1
    for k in range(int(offered / seats) + 1, MOST):
        servers = k * seats
        if offered < servers and MMk(servers, offered / servers, service).wait_tail(wait) <= share:
            return k
    return MOST


@dataclass(frozen=True)
class Erlang(Controller):
    """Erlang's delay formula over the seats of all replicas; each role by itself.

    Service times of requests in a batch are those at the present load, which they depend on; the model does not know.

    Attributes:
        wait: s.
        share: of the requests that may wait longer than that.
        window: s over which rate and service time are measured.
        seats: of a replica; None takes what its memory holds of mean requests.
    """

    name: ClassVar[str] = "erlang"
    source: ClassVar[str] = "Erlang 1917; square-root staffing, Halfin and Whitt, Operations Research 1981"
    profiled: ClassVar[bool] = True

    wait: float = 1.0
    share: float = 0.05
    window: float = 300.0
    seats: int | None = None

    def __post_init__(self) -> None:
        self._check("wait", self.wait >= 0, "not be negative")
        self._check("share", 0 < self.share < 1, "lie between 0 and 1")
        self._check("window", self.window > 0, "be positive")
        if self.seats is not None:
            self._check("seats", self.seats >= 1, "be at least 1")

    def targets(self, seen: Seen, memory: dict[Any, Any]) -> np.ndarray:
        """Return the fewest that do, by what was measured; as before where nobody has been served."""
        wanted, k = seen.asked[-1].copy(), max(round(self.window / seen.tick), 1)
        rate = float(seen.arrivals[-k:].mean()) / seen.tick if len(seen.arrivals) else 0.0
        for role in seen.roles:
            ended = float(seen.ended[-k:, role].sum())
            if ended > 0:
                service = float(seen.busy[-k:, role].sum()) / ended
                seats = self.seats or max(int(self.profile_of(seen).seats[role]), 1)
                wanted[role] = replicas_for(rate, service, seats, self.wait, self.share)
        return wanted

"""A replica changes sides where prompts wait much longer than answers, or the other way round."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.control.base import Controller, Seen
from llmqueue_gym.requests import DECODE, PREFILL


@dataclass(frozen=True)
class Roles(Controller):
    """One replica goes from decode to prefill, or back, where the other side's queue per replica is so much longer.

    Attributes:
        ratio: of the requests that wait for a replica on either side, each counted with one more.
        cool: s until the next change.
    """

    name: ClassVar[str] = "roles"
    source: ClassVar[str] = "after the mixed pool of Splitwise, ISCA 2024, with a drain before the change"

    ratio: float = 2.0
    cool: float = 30.0

    def __post_init__(self) -> None:
        self._check("ratio", self.ratio >= 1, "be at least 1")
        self._check("cool", self.cool >= 0, "not be negative")

    def targets(self, seen: Seen, memory: dict[Any, Any]) -> np.ndarray:
        """Return one replica more on the side whose queue is longer, and one less on the other."""
        if PREFILL not in seen.roles:
            raise BadInput("controller 'roles' changes roles: choose a fleet with prefill=1 or more")
        wanted = seen.asked[-1].copy()
        if len(seen.arrivals) == 0 or seen.clock - memory.get("changed", -np.inf) < self.cool:
            return wanted
        queues = {role: seen.waiting[seen.role == role].sum() + 1.0 for role in (PREFILL, DECODE)}
        queues[PREFILL] += seen.held
        longer, shorter = sorted(queues, key=lambda role: -queues[role] / max(wanted[role], 1))
        per = [queues[role] / max(wanted[role], 1) for role in (longer, shorter)]
        if per[0] > self.ratio * per[1] and wanted[shorter] > 1:
            wanted[longer] += 1
            wanted[shorter] -= 1
            memory["changed"] = seen.clock
        return wanted

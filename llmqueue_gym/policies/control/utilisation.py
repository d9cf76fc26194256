"""One replica more where memory is used above a share, one less where it is below another, and then some time of rest.

Replicas that are about to serve count as empty, as Kubernetes counts pods that are not ready, so that a long start-up
does not ask for one replica after another. What is used at one moment goes up and down by chance, so that with `steady`
at 0, which is as published, two and three replicas can take turns for ever at a constant rate. Therefore one less is
wanted only after a while in which there was no reason for as many, as in Kubernetes.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from llmqueue_gym.policies.control.base import Controller, Seen


@dataclass(frozen=True)
class Utilisation(Controller):
    """Thresholds of the share of KV blocks in use, with hysteresis; each role by itself.

    Attributes:
        up: share above which one more is wanted.
        down: share below which one less is.
        cool: s until the next change.
        steady: s for which the share has to be below before there is one less.
    """

    name: ClassVar[str] = "utilisation"
    source: ClassVar[str] = "the reactive baseline of SageServe, POMACS 2025; Kubernetes, horizontal pod autoscaling"

    up: float = 0.7
    down: float = 0.3
    cool: float = 15.0
    steady: float = 300.0

    def __post_init__(self) -> None:
        self._check("up", 0 < self.up <= 1, "be a share, above 0 and at most 1")
        self._check("down", 0 <= self.down < self.up, f"be a share below up={self.up:g}")
        self._check("cool", self.cool >= 0, "not be negative")
        self._check("steady", self.steady >= 0, "not be negative")

    def targets(self, seen: Seen, memory: dict[Any, Any]) -> np.ndarray:
        """Return one more or one less where a threshold is passed."""
        wanted = seen.asked[-1].copy()
        if len(seen.arrivals) == 0:
            return wanted
        for role in seen.roles:
            share = seen.kv_share(role)
            if share >= self.down or ("needed", role) not in memory:
                memory["needed", role] = seen.clock
            if seen.clock - memory.get(("changed", role), -np.inf) < self.cool:
                continue
            calm = seen.clock - memory["needed", role] >= self.steady
            step = int(share > self.up) - int(share < self.down and calm)
            if step and wanted[role] + step >= 1:
                wanted[role] += step
                memory["changed", role] = seen.clock
        return wanted

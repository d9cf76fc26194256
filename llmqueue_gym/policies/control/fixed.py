"""As many replicas as at first, or as many as told, whatever happens."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from llmqueue_gym.policies.control.base import Controller, Seen
from llmqueue_gym.requests import BOTH, DECODE, PREFILL


@dataclass(frozen=True)
class Leave(Controller):
    """All replicas are on."""

    name: ClassVar[str] = "none"

    def targets(self, seen: Seen, memory: dict[Any, Any]) -> np.ndarray:
        """Return what there was at first."""
        return seen.asked[0]


@dataclass(frozen=True)
class Fixed(Controller):
    """A number of replicas is on.

    Attributes:
        replicas: how many.
        prefill: of them, those that read prompts alone, in a fleet that has such.
    """

    name: ClassVar[str] = "fixed"

    replicas: int
    prefill: int = 1

    def __post_init__(self) -> None:
        self._check("replicas", self.replicas >= 1, "be at least 1")
        self._check("prefill", 1 <= self.prefill <= self.replicas, f"be from 1 to {self.replicas}")

    def targets(self, seen: Seen, memory: dict[Any, Any]) -> np.ndarray:
        """Return this number."""
        wanted = np.zeros(3, np.int64)
        if BOTH in seen.roles:
            wanted[BOTH] = self.replicas
        else:
            wanted[PREFILL], wanted[DECODE] = self.prefill, self.replicas - self.prefill
        return wanted

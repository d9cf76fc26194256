"""The draft of the greatest speed-up of a request alone, by the chance of acceptance that it has shown so far.

The chance is estimated from its own drafts that were looked at, and from what was predicted of it as if that were some
drafts more. What a draft costs where others are served at the same time is not asked.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.speculation.base import SpeculationPolicy


def draft(job, seen, params):
    chance = (seen.accepted + params[0] * seen.told) / (seen.tried + params[0])
    best, most, tokens, power = 0.0, 0.0, 0.0, 1.0
    for g in range(seen.most + 1):
        tokens += power
        power *= chance
        speed = tokens / (1.0 + g * params[1])
        if speed > most:
            best, most = float(g), speed
    return best


@dataclass(frozen=True)
class Numbers:
    """The numbers of `draft`.

    Attributes:
        worth: drafts that what was known before is worth.
    """

    worth: float

    def __call__(self, times: Any, chance: float) -> np.ndarray:
        """Return them `(k,)`."""
        return np.array([self.worth, times.draft(1) / times.verify(1, 1)])


def by_acceptance(worth: float = 10.0) -> SpeculationPolicy:
    """Drafts by the chance of acceptance.

    Args:
        worth: drafts that a prediction is worth, positive.
    """
    if not worth > 0:
        raise BadInput(f"by-acceptance: worth={worth:g} must be positive, for example 10")

    source = "ours, by Leviathan, Kalman, Matias, ICML 2023, theorem 3.8"
    return SpeculationPolicy("by-acceptance", draft, prepare=Numbers(worth), source=source)

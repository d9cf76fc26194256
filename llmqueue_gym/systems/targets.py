"""How many replicas of a fleet are on in each role: what may be asked for, and all that an agent can choose from."""

import itertools
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.requests import ROLES

MOST = 10_000  # choices of an agent


def within(wanted: np.ndarray, there: np.ndarray, least: int, most: int) -> np.ndarray:
    """Return what is wanted by role `(3,)` with at least one replica in each role that there is, from least to most.

    Where there are too many, the role with most has one less, and where too few, one more.

    Args:
        wanted: replicas by role `(3,)`, finite.
        there: which roles there are `(3,)`.
        least: replicas in all.
        most: likewise.
    """
    made = np.where(there, np.clip(np.rint(wanted), 1, most), 0).astype(np.int64)
    while made.sum() > most:
        made[made.argmax()] -= 1
    while made.sum() < least:
        made[made.argmax()] += 1
    return made


def targets_of(fleet: Any) -> np.ndarray:
    """Return all that can be asked for `(n, 3)`, replicas by role; the fewest that read and decode first, and so on.

    Raises:
        BadInput: there are too many to choose from.
    """
    most, roles = fleet.most or len(fleet.members), sorted({member.role for member in fleet.members})
    if (most - len(roles) + 1) ** len(roles) > MOST * 2:
        raise BadInput(
            f"{most} replicas of {len(roles)} roles are more than an agent can choose from; set most to less"
        )
    choices = itertools.product(*(range(1, most + 1) if role in roles else (0,) for role in ROLES))
    return np.array([one for one in choices if fleet.least <= sum(one) <= most], np.int64)

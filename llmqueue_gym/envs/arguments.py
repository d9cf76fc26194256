"""The checks of keyword arguments that all families of environments share; each names the bad value in one line."""

from collections.abc import Collection
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput, nearest


def check_counts(config: Any, *names: str) -> None:
    """Raise BadInput unless each is a whole number of at least 1."""
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
            raise BadInput(f"{name}={value!r} must be a whole number of at least 1")


def check_positive(config: Any, *names: str) -> None:
    """Raise BadInput unless each is a positive number; infinity is one."""
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, (int, float, np.number)) or isinstance(value, bool) or not value > 0:
            raise BadInput(f"{name}={value!r} must be a positive number")


def check_kinds(config: Any, **kinds: type) -> None:
    """Raise BadInput unless each is a name or an object of its kind."""
    for name, kind in kinds.items():
        value = getattr(config, name)
        if not isinstance(value, (str, kind)):
            raise BadInput(f"{name}={value!r} must be a name or a {kind.__name__}")


def check_reward(reward: Any, rewards: Collection[str]) -> None:
    """Raise BadInput unless a reward of this name exists."""
    if reward not in rewards:
        raise BadInput(f"unknown reward {reward!r}; {nearest(str(reward), rewards)}")


def check_workload(workload: Any, arguments: str) -> None:
    """Raise BadInput unless the workload is None or can be sampled."""
    if workload is not None and not callable(getattr(workload, "sample", None)):
        raise BadInput(f"workload={workload!r} has no method sample({arguments})")

"""E episodes side by side: the tables that a kernel advances, and their reading for Gymnasium.

The scalar environment is a batch of one, so scalar and vector cannot differ.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Protocol

import numpy as np
from gymnasium.spaces import Dict, Discrete

from llmqueue_gym._jit import records
from llmqueue_gym.engines.state import SKIP, START, STEP

Report = tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]
PARTS = ("jobs", "system", "action_mask")  # of an observation, in the order in which kernels take them


class Config(Protocol):
    """The checked keyword arguments of a family of environments."""

    def spaces(self) -> tuple[Dict, Discrete]:
        """Return the observation space, a `Dict` of `PARTS`, and the action space of one environment."""


class Episodes(ABC):
    """The state of E runs. No attribute is a view of another, so copies and pickles keep working.

    A family of environments is a subclass: it makes its tables in `__init__`, after this one, and writes the abstract
    methods.

    Attributes:
        config_type: class of the keyword arguments of the family.
        config: the keyword arguments of the environment.
        observation_space: of one run.
        action_space: of one run.
        steps: `STEP` rows `(E,)`, what came of the last `advance`.
        actions: `(E,)`, what the next `advance` does: an action, START or SKIP.
        observation: the buffers of the observation, each with E as its first axis.
    """

    config_type: ClassVar[type]

    def __init__(self, config: Config, size: int):
        spaces: tuple[Any, Any] = config.spaces()
        self.config = config
        self.observation_space, self.action_space = spaces
        self.steps = records(np.zeros(size, STEP))
        self.actions = np.full(size, SKIP, np.int64)
        self.observation: dict[str, np.ndarray] = {}
        for part in PARTS:
            space = self.observation_space[part]
            self.observation[part] = np.zeros((size, *space.shape), space.dtype)

    def begin(self, e: int, seed: int) -> None:
        """Lay out the episode of a seed in run `e`; the next `advance` goes to its first decision."""
        self.lay_out(e, seed)
        self.actions[e] = START

    @abstractmethod
    def lay_out(self, e: int, seed: int) -> None:
        """Draw the episode of a seed and write it to the tables of run `e`."""

    @abstractmethod
    def advance(self) -> None:
        """Carry out `actions` in every run, up to its next decision; write `steps` and `observation`."""

    @abstractmethod
    def count(self, e: int) -> int:
        """Return the number of jobs in the episode of run `e`."""

    @abstractmethod
    def response_times(self) -> np.ndarray:
        """Return completion minus arrival `(E, n)`, s; NaN for a job that has not left or does not exist."""

    @abstractmethod
    def metrics(self, e: int) -> dict[str, Any]:
        """Return the figures of the episode of run `e`, for `info["episode_metrics"]`."""

    def report(self, e: int) -> Report:
        """Return what `Env.step` returns of run `e`, in fresh arrays."""
        reward, dt, clock, in_system, illegal, terminated, truncated = self.steps.item(e)
        observation = {name: buffer[e].copy() for name, buffer in self.observation.items()}
        info = {"dt": dt, "clock": clock, "n_in_system": in_system, "action_mask": observation["action_mask"]}
        if illegal:
            info["illegal_action"] = True
        if terminated or truncated:
            info["episode_metrics"] = self.metrics(e)
        return observation, reward, terminated, truncated, info

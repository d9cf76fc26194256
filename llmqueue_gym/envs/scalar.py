"""The scalar environment of all families: Gymnasium's contract, and no dynamics."""

from operator import index
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded

from llmqueue_gym.envs.episodes import Episodes
from llmqueue_gym.errors import BadInput


class CompiledEnv(gym.Env[dict[str, np.ndarray], int]):
    """One environment that a kernel advances from decision to decision.

    A family of environments is a subclass with its `batch_type` and what it exposes beyond this.
    """

    batch_type: ClassVar[type[Episodes]]
    actions_are: ClassVar[str] = "in the action space"  # words of an error line
    config: Any
    _batch: Episodes
    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (typed so in the base class)

    def __init__(self, **kwargs: Any):
        """Make the environment; the keyword arguments are the fields of its `config`."""
        self.config = self.batch_type.config_type(**kwargs)
        self._batch = self.batch_type(self.config, 1)
        self.observation_space, self.action_space = self._batch.observation_space, self._batch.action_space
        self._n_actions = int(self._batch.action_space.n)
        self._over = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin an episode and go to its first decision. There are no options."""
        super().reset(seed=seed)
        if options:
            raise BadInput(f"options={options!r}: there are none")
        self._batch.begin(0, seed if seed is not None else int(self.np_random.integers(2**63)))
        self._batch.advance()
        observation, _, terminated, truncated, info = self._batch.report(0)
        self._over = terminated or truncated
        return observation, info

    def step(self, action: int) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Carry out an action and go to the next decision.

        Raises:
            BadInput: the action is outside the action space.
            ResetNeeded: no episode is under way.
        """
        if self._over:
            raise ResetNeeded("no episode is under way: call reset() before step()")
        chosen = index(action)
        if not 0 <= chosen < self._n_actions:
            raise BadInput(f"action {chosen} is not {self.actions_are}: choose 0 to {self._n_actions - 1}")
        self._batch.actions[0] = chosen
        self._batch.advance()
        report = self._batch.report(0)
        self._over = report[2] or report[3]
        return report

    def action_masks(self) -> np.ndarray:
        """Return the mask of the present decision, int8 `(n_actions,)`, as MaskablePPO asks for it."""
        return self._batch.observation["action_mask"][0].copy()

    @property
    def response_times(self) -> np.ndarray:
        """Completion minus arrival of each job of the episode `(n,)`, s; NaN where it has not left."""
        return self._batch.response_times()[0, : self._batch.count(0)]

"""The scalar environment of all families: Gymnasium's contract, and no dynamics."""

from operator import index
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded

from llmqueue_gym.envs.episodes import Episodes
from llmqueue_gym.envs.rendering import FPS, MODES, drawn, scene_of
from llmqueue_gym.envs.rendering.scene import Scene
from llmqueue_gym.errors import BadInput, nearest


class CompiledEnv(gym.Env[dict[str, np.ndarray], int]):
    """One environment that a kernel advances from decision to decision.

    A family of environments is a subclass with its `batch_type` and what it exposes beyond this.
    """

    batch_type: ClassVar[type[Episodes]]
    actions_are: ClassVar[str] = "in the action space"  # words of an error line
    config: Any
    _batch: Episodes
    metadata: dict[str, Any] = {"render_modes": list(MODES), "render_fps": FPS}  # noqa: RUF012 (typed so in the base)

    def __init__(self, *, render_mode: str | None = None, **kwargs: Any):
        """Make the environment.

        Args:
            render_mode: "rgb_array" for images `(400, 640, 3)`, "ansi" for text, None for neither; see `render`.
            **kwargs: the fields of its `config`.

        Raises:
            BadInput: a value is out of range; the message names it.
        """
        if render_mode is not None and render_mode not in MODES:
            raise BadInput(f"render_mode={render_mode!r}; {nearest(str(render_mode), MODES)}")
        self.render_mode = render_mode
        self.config = self.batch_type.config_type(**kwargs)
        self._batch = self.batch_type(self.config, 1)
        self.observation_space, self.action_space = self._batch.observation_space, self._batch.action_space
        self._n_actions = int(self._batch.action_space.n)
        self._over, self._begun = True, False

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
        self._over, self._begun = terminated or truncated, True
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

    def render(self) -> Any:
        """Return a frame of the present decision, or None without a render mode.

        A frame shows predictions, and true sizes only of those who have left. It changes nothing in the episode.

        Raises:
            ResetNeeded: no episode has begun.
            BadInput: Pillow is missing, or the family has no frames.
        """
        if self.render_mode is None:
            return None
        if not self._begun:
            raise ResetNeeded("no episode has begun: call reset() before render()")
        return drawn(self.scene(), self.render_mode)

    def scene(self) -> Scene:
        """Return what a frame shows; a family without an entry in `rendering.SCENES` overrides this."""
        return scene_of(self._batch, self.spec.id if self.spec is not None else type(self).__name__)

    def action_masks(self) -> np.ndarray:
        """Return the mask of the present decision, int8 `(n_actions,)`, as MaskablePPO asks for it."""
        return self._batch.observation["action_mask"][0].copy()

    @property
    def response_times(self) -> np.ndarray:
        """Completion minus arrival of each job of the episode `(n,)`, s; NaN where it has not left."""
        return self._batch.response_times()[0, : self._batch.count(0)]

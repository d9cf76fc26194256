"""The scalar environment of all systems: Gymnasium's contract, and no dynamics."""

from operator import index
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded

from llmqueue_gym.envs.opened import opened, options_of
from llmqueue_gym.envs.rendering import FPS, MODES, drawn
from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.systems import Run, Scenario, System


class QueueEnv(gym.Env[dict[str, np.ndarray], int]):
    """A scenario in which the decisions that the view names are the agent's; a kernel goes from one to the next.

    The raw reward is minus the integral of the cost rate since the last decision, so that the undiscounted raw return
    is minus the total response time (or its weighted form). The reward is that in the unit of the view,
    `reward_unit`, less what the view discounts and takes off. `terminated`: all have left. `truncated`: the horizon
    came first, or the run can never end.

    `info` has "dt" (s since the last decision), "clock" (s), "n_in_system", "action_mask", "raw_reward", "return" (the
    raw return so far), "discount" (what the next reward counts, see `View.discount_time`), "illegal_action" (whether
    the action was not open) and "episode_metrics": what came of the episode, a dict whose numbers are 0 before its end.
    The keys are the same in every step and reset, as recorders of data sets want them.

    The first episode after `reset(seed=s)` has the jobs of `scenario.draw(s)`; later ones draw their seed from
    `np_random`.

    Attributes:
        scenario: what comes and what serves.
        view: what is seen, decided and paid.
        episodes: the run behind it, a batch of one.
    """

    metadata: dict[str, Any] = {"render_modes": list(MODES), "render_fps": FPS}  # noqa: RUF012 (typed so in the base)

    def __init__(self, system: str | System | Scenario = "mg1", *, render_mode: str | None = None, **given: Any):
        """Make the environment.

        Args:
            system: kind of system, the system, or the whole scenario.
            render_mode: "rgb_array" for images `(400, 640, 3)`, "ansi" for text, None for neither; see `render`.
            **given: fields of scenario, system and view.

        Raises:
            BadInput: a value is out of range; the message names it.
        """
        if render_mode is not None and render_mode not in MODES:
            raise BadInput(f"render_mode={render_mode!r}; {nearest(str(render_mode), MODES)}")
        self.render_mode = render_mode
        self.scenario, self.view = opened(system, given)
        self.episodes = self.scenario.system.open(self.scenario, self.view, 1)
        self.observation_space, self.action_space = self.episodes.observation_space, self.episodes.action_space
        self._n_actions = int(self.episodes.action_space.n)
        self._over, self._begun, self._return = True, False, 0.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin an episode and go to its first decision.

        Args:
            seed: of its jobs.
            options: fields of the scenario that are otherwise in this episode, such as `{"load": 0.9}`; see `OPTIONS`
                of `systems.varied`. Units stay those of the environment.
        """
        super().reset(seed=seed)
        drawn = seed if seed is not None else int(self.np_random.integers(2**63))
        self.episodes.begin(0, drawn, **options_of(options))
        self.episodes.proceed()
        observation, _, terminated, truncated, info = self.episodes.report(0)
        self._over, self._begun = terminated or truncated, True
        info["return"] = self._return = 0.0
        return observation, info

    def step(self, action: int) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Carry out an action and go to the next decision.

        Raises:
            BadInput: the action is outside the action space.
            ResetNeeded: no episode is under way, or the environment is closed.
        """
        if self._over:
            raise ResetNeeded("no episode is under way: call reset() before step()")
        try:
            chosen = index(action)
        except TypeError:
            chosen = -1
        if not 0 <= chosen < self._n_actions:
            raise BadInput(f"action {action!r} is not in the action space: choose 0 to {self._n_actions - 1}")
        self.episodes.actions[0] = chosen
        self.episodes.proceed()
        observation, reward, terminated, truncated, info = self.episodes.report(0)
        self._over = terminated or truncated
        self._return += info["raw_reward"]
        info["return"] = self._return
        return observation, reward, terminated, truncated, info

    def render(self) -> Any:
        """Return a frame of the present decision, or None without a render mode.

        A frame shows predictions, and true sizes only of those who have left. It changes nothing in the episode.

        Raises:
            ResetNeeded: no episode has begun.
            BadInput: Pillow is missing.
        """
        if self.render_mode is None:
            return None
        if not self._begun:
            raise ResetNeeded("no episode has begun: call reset() before render()")
        title = self.spec.id if self.spec is not None else self.scenario.system.title
        return drawn(self.episodes.scene(title), self.render_mode)

    def close(self) -> None:
        """End the episode; `reset` begins another."""
        self._over, self._begun = True, False

    def action_masks(self) -> np.ndarray:
        """Return the mask of the present decision, int8 `(n_actions,)`, as MaskablePPO asks for it."""
        return self.episodes.observation["action_mask"][0].copy()

    def run(self, player: str = "agent", elapsed: float = 0.0) -> Run:
        """Return what has come of the episode so far, as the closed loop does."""
        return self.episodes.run(0, player, elapsed)

    @property
    def outcome(self) -> np.ndarray:
        """The `OUTCOME` or `SERVICE` rows `(n,)` of the episode so far."""
        return self.run().outcome

    @property
    def response_times(self) -> np.ndarray:
        """Completion minus arrival of each job of the episode `(n,)`, s; NaN where it has not left."""
        return self.run().response_times

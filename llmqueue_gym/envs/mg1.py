"""One server, one queue: the agent chooses which visible job runs until the next decision.

`llmqueue/MG1-v0` decides when the server becomes free, `llmqueue/MG1Preemptive-v0` at every arrival and completion
and, if asked, after every quantum of service. A decision with one job in system is not asked for, except the first.
Observation and action are described in `envs.observation`, the keyword arguments in `MG1Config`.
"""

from operator import index
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode

from llmqueue_gym.envs.batch import MG1Batch
from llmqueue_gym.envs.config import MG1Config
from llmqueue_gym.envs.observation import action_space, observation_space
from llmqueue_gym.envs.vector import CompiledVectorEnv
from llmqueue_gym.errors import BadInput


class MG1Env(gym.Env[dict[str, np.ndarray], int]):
    """The single server as a Gymnasium environment.

    The reward is minus the integral of the cost rate since the last decision, so that the undiscounted return is
    minus the total response time (or its weighted form). `terminated`: all jobs have left. `truncated`: the clock
    reached the horizon first.

    `info` has "dt" (s since the last decision, to discount by gamma ** dt), "clock" (s), "n_in_system" and
    "action_mask"; "illegal_action" after an action that named an empty slot; "episode_metrics" at the end, with the
    "mean_response_time" (s) of the "jobs" that have left.

    The first episode after `reset(seed=s)` has the jobs of `draw(..., seed=s)`; later ones draw their seed from
    `np_random`.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (typed so in the base class)

    def __init__(self, **kwargs: Any):
        """Make the environment; the keyword arguments are those of `MG1Config`."""
        self.config = MG1Config(**kwargs)
        self.observation_space = observation_space(self.config.slots)
        self.action_space = action_space(self.config.slots)
        self._slots = int(self.config.slots)
        self._batch = MG1Batch(self.config, 1)
        self._over = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin an episode and go to its first arrival. There are no options."""
        super().reset(seed=seed)
        if options:
            raise BadInput(f"options={options!r}: there are none")
        self._batch.begin(0, seed if seed is not None else int(self.np_random.integers(2**63)))
        self._batch.advance()
        self._over = False
        observation, _, _, _, info = self._batch.report(0)
        return observation, info

    def step(self, action: int) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Serve the job in slot `action` up to the next decision.

        Raises:
            BadInput: the action is outside the action space.
            ResetNeeded: no episode is under way.
        """
        if self._over:
            raise ResetNeeded("no episode is under way: call reset() before step()")
        slot = index(action)
        if not 0 <= slot < self._slots:
            raise BadInput(f"action {slot} is not a slot: choose 0 to {self._slots - 1}")
        self._batch.actions[0] = slot
        self._batch.advance()
        report = self._batch.report(0)
        self._over = report[2] or report[3]
        return report

    def action_masks(self) -> np.ndarray:
        """Return the mask of the present decision, int8 `(slots,)`, as MaskablePPO asks for it."""
        return self._batch.observation["action_mask"][0].copy()

    def visible_jobs(self) -> np.ndarray:
        """Return the `JOB` rows `(n_visible,)` behind the slots, in float64; they hold no truth."""
        seen = min(self._slots, int(self._batch.states["in_system"][0]))
        return self._batch.jobs[0, self._batch.live[0, :seen]]

    @property
    def outcome(self) -> np.ndarray:
        """The `OUTCOME` rows `(n_jobs,)` of the episode so far."""
        return self._batch.outcome[0, : self._batch.n_jobs[0]].copy()

    @property
    def response_times(self) -> np.ndarray:
        """Completion minus arrival of each job of the episode `(n_jobs,)`, s; NaN where it has not left."""
        return self._batch.response_times()[0, : self._batch.n_jobs[0]]


class MG1VectorEnv(CompiledVectorEnv):
    """Many single servers in one compiled step; what `gym.make_vec` returns."""

    metadata = MG1Env.metadata

    def __init__(
        self,
        num_envs: int = 1,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        copy: bool = False,
        **kwargs: Any,
    ):
        """Make the environments; `kwargs` are those of `MG1Config`, the others those of `CompiledVectorEnv`."""
        if not isinstance(num_envs, (int, np.integer)) or num_envs < 1:
            raise BadInput(f"num_envs={num_envs!r} must be a whole number of at least 1")
        self.config = MG1Config(**kwargs)
        spaces = observation_space(self.config.slots), action_space(self.config.slots)
        super().__init__(MG1Batch(self.config, num_envs), num_envs, *spaces, autoreset_mode, copy)

    @property
    def response_times(self) -> np.ndarray:
        """Completion minus arrival of each job of each episode `(num_envs, n_jobs)`, s; NaN where it has not left.

        Under NEXT_STEP the last episode is there until the step that begins the next one.
        """
        return self._batch.response_times()

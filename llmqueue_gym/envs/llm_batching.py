"""One replica that batches requests under a KV cache: the agent admits, preempts or ranks.

`llmqueue/LLMBatching-v0` admits: which waiting request joins the batch next, or run the iteration.
`llmqueue/LLMPreemptive-v0` also preempts running requests. `llmqueue/LLMRank-v0` sets a request's rank on arrival and
on each refresh of its prediction, few decisions for slow learners. All other decisions follow a rule set. Observation
and actions are described in `envs.serving_observation`, the keyword arguments in `ServingConfig`.
"""

from operator import index
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode

from llmqueue_gym.engines.batching.tables import queue
from llmqueue_gym.envs.serving_batch import ServingBatch
from llmqueue_gym.envs.serving_config import ServingConfig
from llmqueue_gym.envs.serving_observation import action_space, observation_space
from llmqueue_gym.envs.vector import CompiledVectorEnv
from llmqueue_gym.errors import BadInput


class LLMBatchingEnv(gym.Env[dict[str, np.ndarray], int]):
    """A replica as a Gymnasium environment.

    The reward is minus the integral of the cost rate since the last decision, so that the undiscounted return is
    minus the total end-to-end latency (or its weighted form). `terminated`: all requests have left. `truncated`: the
    horizon came first, or the run can never end ("stuck", "livelock"); `info["episode_metrics"]["ended"]` says which.

    `info` has "dt" (s since the last decision, to discount by gamma ** dt), "clock" (s), "n_in_system" and
    "action_mask"; "illegal_action" after an action that was not open; "episode_metrics" at the end.

    The first episode after `reset(seed=s)` has the requests of `config.draw(s)`; later ones draw their seed from
    `np_random`.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (typed so in the base class)

    def __init__(self, **kwargs: Any):
        """Make the environment; the keyword arguments are those of `ServingConfig`."""
        self.config = ServingConfig(**kwargs)
        self.observation_space, self.action_space = spaces(self.config)
        self._actions = int(self.action_space.n)  # type: ignore[attr-defined]
        self._batch = ServingBatch(self.config, 1)
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
        if not 0 <= chosen < self._actions:
            raise BadInput(f"action {chosen} is not in the action space: choose 0 to {self._actions - 1}")
        self._batch.actions[0] = chosen
        self._batch.advance()
        report = self._batch.report(0)
        self._over = report[2] or report[3]
        return report

    def action_masks(self) -> np.ndarray:
        """Return the mask of the present decision, int8 `(n_actions,)`, as MaskablePPO asks for it."""
        return self._batch.observation["action_mask"][0].copy()

    def visible_requests(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the `REQUEST` rows behind the slots of the queue and of the running list; they hold no truth."""
        replica, system = self._batch.replica, self._batch.replica.system[0]
        waiting = queue(replica, 0)[: self.config.window]
        running = replica.running[0, : system["running"]][: self.config.seats]
        requests = replica.requests[0].view(np.recarray)
        return requests[waiting], requests[running]

    @property
    def system(self) -> Any:
        """The `SYSTEM` record of the replica, as policies read it."""
        return self._batch.replica.system.view(np.recarray)[0]

    @property
    def service(self) -> np.ndarray:
        """The `SERVICE` rows `(n_requests,)` of the episode so far."""
        return self._batch.replica.service[0, : self._batch.replica.state["n"][0]].copy()

    @property
    def response_times(self) -> np.ndarray:
        """Completion minus arrival of each request of the episode `(n_requests,)`, s; NaN where it has not left."""
        return self._batch.response_times()[0, : self._batch.replica.state["n"][0]]


class LLMBatchingVectorEnv(CompiledVectorEnv):
    """Many replicas in one compiled step; what `gym.make_vec` returns."""

    metadata = LLMBatchingEnv.metadata

    def __init__(
        self,
        num_envs: int = 1,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        copy: bool = False,
        **kwargs: Any,
    ):
        """Make the environments; `kwargs` are those of `ServingConfig`, the others those of `CompiledVectorEnv`."""
        if not isinstance(num_envs, (int, np.integer)) or num_envs < 1:
            raise BadInput(f"num_envs={num_envs!r} must be a whole number of at least 1")
        self.config = ServingConfig(**kwargs)
        super().__init__(ServingBatch(self.config, num_envs), num_envs, *spaces(self.config), autoreset_mode, copy)

    @property
    def response_times(self) -> np.ndarray:
        """Completion minus arrival of each request `(num_envs, n_requests)`, s; NaN where it has not left.

        Under NEXT_STEP the last episode is there until the step that begins the next one.
        """
        return self._batch.response_times()


def spaces(config: ServingConfig) -> tuple[Any, Any]:
    """Return observation and action space."""
    sizes = (config.decides, int(config.window), int(config.seats), int(config.levels))
    return observation_space(*sizes), action_space(*sizes)

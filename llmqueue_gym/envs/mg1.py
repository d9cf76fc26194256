"""One server, one queue: the agent chooses which visible job runs until the next decision.

`llmqueue/MG1-v0` decides when the server becomes free, `llmqueue/MG1Preemptive-v0` at every arrival and completion
and, if asked, after every quantum of service. A decision with one job in system is not asked for, except the first.
Observation and action are described in `envs.observation`, the keyword arguments in `MG1Config`.
"""

import numpy as np

from llmqueue_gym.envs.batch import MG1Batch
from llmqueue_gym.envs.config import MG1Config
from llmqueue_gym.envs.scalar import CompiledEnv
from llmqueue_gym.envs.vector import CompiledVectorEnv


class MG1Env(CompiledEnv):
    """The single server as a Gymnasium environment; the keyword arguments are those of `MG1Config`.

    The reward is minus the integral of the cost rate since the last decision, so that the undiscounted return is
    minus the total response time (or its weighted form). `terminated`: all jobs have left. `truncated`: the clock
    reached the horizon first.

    `info` has "dt" (s since the last decision, to discount by gamma ** dt), "clock" (s), "n_in_system" and
    "action_mask"; "illegal_action" after an action that named an empty slot; "episode_metrics" at the end, with the
    "mean_response_time" (s) of the "jobs" that have left.

    The first episode after `reset(seed=s)` has the jobs of `draw(..., seed=s)`; later ones draw their seed from
    `np_random`.
    """

    batch_type = MG1Batch
    actions_are = "a slot"
    config: MG1Config
    _batch: MG1Batch

    def visible_jobs(self) -> np.ndarray:
        """Return the `JOB` rows `(n_visible,)` behind the slots, in float64; they hold no truth."""
        seen = min(self.config.slots, int(self._batch.states["in_system"][0]))
        return self._batch.jobs[0, self._batch.live[0, :seen]]

    @property
    def outcome(self) -> np.ndarray:
        """The `OUTCOME` rows `(n_jobs,)` of the episode so far."""
        return self._batch.outcome[0, : self._batch.count(0)].copy()


class MG1VectorEnv(CompiledVectorEnv):
    """Many single servers in one compiled step; what `gym.make_vec` returns.

    The keyword arguments are those of `MG1Config` beside those of `CompiledVectorEnv`.
    """

    batch_type = MG1Batch
    config: MG1Config

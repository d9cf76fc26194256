"""One replica that batches requests under a KV cache: the agent admits, preempts or ranks.

`llmqueue/LLMBatching-v0` admits: which waiting request joins the batch next, or run the iteration.
`llmqueue/LLMPreemptive-v0` also preempts running requests. `llmqueue/LLMRank-v0` sets a request's rank on arrival and
on each refresh of its prediction, few decisions for slow learners. All other decisions follow a rule set. Observation
and actions are described in `envs.serving_observation`, the keyword arguments in `ServingConfig`.
"""

from typing import Any

import numpy as np

from llmqueue_gym.engines.batching.tables import queue
from llmqueue_gym.envs.scalar import CompiledEnv
from llmqueue_gym.envs.serving_batch import ServingBatch
from llmqueue_gym.envs.serving_config import ServingConfig
from llmqueue_gym.envs.vector import CompiledVectorEnv


class LLMBatchingEnv(CompiledEnv):
    """A replica as a Gymnasium environment; the keyword arguments are those of `ServingConfig`.

    The reward is minus the integral of the cost rate since the last decision, so that the undiscounted return is
    minus the total end-to-end latency (or its weighted form). `terminated`: all requests have left. `truncated`: the
    horizon came first, or the run can never end ("stuck", "livelock"); `info["episode_metrics"]["ended"]` says which.

    `info` has "dt" (s since the last decision, to discount by gamma ** dt), "clock" (s), "n_in_system" and
    "action_mask"; "illegal_action" after an action that was not open; "episode_metrics" at the end.

    The first episode after `reset(seed=s)` has the requests of `config.draw(s)`; later ones draw their seed from
    `np_random`.
    """

    batch_type = ServingBatch
    config: ServingConfig
    _batch: ServingBatch

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
        return self._batch.replica.service[0, : self._batch.count(0)].copy()


class LLMBatchingVectorEnv(CompiledVectorEnv):
    """Many replicas in one compiled step; what `gym.make_vec` returns.

    The keyword arguments are those of `ServingConfig` beside those of `CompiledVectorEnv`.
    """

    batch_type = ServingBatch
    config: ServingConfig

"""Several servers, one queue: the agent picks waiting jobs for free servers, one by one.

`llmqueue/MGk-v0` decides when a server is free and more than one job could have it, `llmqueue/MGkPreemptive-v0` at
every arrival and completion, where all jobs are up for choice. In `llmqueue/Abandonment-v0` jobs lose their patience
and a job served is worth 1; in `llmqueue/Deadline-v0` it is worth 1 by its deadline and nothing after, one bit is known
of its size, and jobs may be sent away; in `llmqueue/MultiserverJob-v0` a job occupies several servers at once.
Observation and action are described in `envs.server_observation`, the keyword arguments in `ServerConfig`.
"""

import numpy as np

from llmqueue_gym._jit import records
from llmqueue_gym.engines.pick_steps import step_batch
from llmqueue_gym.engines.picks import PICKS, SERVICE
from llmqueue_gym.envs.job_episodes import JobEpisodes
from llmqueue_gym.envs.scalar import CompiledEnv
from llmqueue_gym.envs.server_config import ServerConfig
from llmqueue_gym.envs.vector import CompiledVectorEnv
from llmqueue_gym.errors import BadInput
from llmqueue_gym.jobs import ClusterInstance


class ServerEpisodes(JobEpisodes):
    """The state of E runs.

    Attributes:
        states: `PICKS` rows `(E,)`.
        patience: `(E, n)`, s.
        live: `(E, n)`, rows of those who wait, the earliest first.
        service: `SERVICE` rows `(E, servers)`.
        taken: `(E, servers)`, see `engines.picks`.
    """

    config: ServerConfig
    config_type = ServerConfig

    def __init__(self, config: ServerConfig, size: int):
        super().__init__(config, size)
        n, servers = int(config.n_jobs), int(config.servers)
        self.states, self.service = records(np.zeros(size, PICKS)), records(np.zeros((size, servers), SERVICE))
        self.patience, self.live = np.full((size, n), np.inf), np.zeros((size, n), np.int64)
        self.taken = np.zeros((size, servers), np.int64)
        self._arguments = (
            *(self.states, self.steps, self.n_jobs, self.jobs, self.truth, self.patience, self.outcome, self.live),
            *(self.service, config.server_speeds, self.taken, self.actions, *self.observation.values()),
            *(int(config.slots), bool(config.preemptive), bool(config.may_pass), bool(config.may_drop)),
            *(bool(config.firm), float(config.per_job), float(config.horizon)),
        )

    def give(self, e: int, instance: ClusterInstance) -> None:
        """Let run `e` begin with these jobs, at idle servers."""
        super().give(e, instance)
        if instance.jobs["need"].max() > self.config.servers:
            worst = int(instance.jobs["need"].max())
            raise BadInput(f"a job needs {worst} servers, and there are {self.config.servers}")
        self.states[e] = np.zeros(1, PICKS)[0]
        self.states["free"][e] = self.config.servers
        self.taken[e] = 0
        self.patience[e, : len(instance.patience)] = instance.patience

    def advance(self) -> None:
        """Carry out `actions` in every run, up to its next decision."""
        step_batch(*self._arguments)


class MultiServerEnv(CompiledEnv):
    """Several servers as a Gymnasium environment; the keyword arguments are those of `ServerConfig`.

    The reward is minus the integral of the cost rate since the last decision, or with `per_job` a sum for each job
    served since. `terminated`: all jobs have left, served or not. `truncated`: the clock reached the horizon first.
    """

    batch_type = ServerEpisodes
    config: ServerConfig
    _batch: ServerEpisodes

    def visible_jobs(self) -> np.ndarray:
        """Return the `JOB` rows `(n_visible,)` behind the slots, in float64; they hold no truth."""
        seen = min(self.config.slots, int(self._batch.states["waiting"][0]))
        return self._batch.jobs[0, self._batch.live[0, :seen]]

    def jobs_in_service(self) -> np.ndarray:
        """Return the `JOB` rows `(n_in_service,)` of those picked that are not done, in float64, likewise."""
        return self._batch.jobs[0, self._batch.service["row"][0, : int(self._batch.states["active"][0])]]

    @property
    def clock(self) -> float:
        """The time, s."""
        return float(self._batch.states["clock"][0])

    @property
    def outcome(self) -> np.ndarray:
        """The `OUTCOME` rows `(n_jobs,)` of the episode so far."""
        return self._batch.outcome[0, : self._batch.count(0)].copy()


class MultiServerVectorEnv(CompiledVectorEnv):
    """Many clusters in one compiled step; what `gym.make_vec` returns."""

    batch_type = ServerEpisodes
    config: ServerConfig

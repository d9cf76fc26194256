"""Many servers with a queue each: for every arrival the agent picks the queue that it joins for good.

It sees all queues or some that are drawn at random, with predicted work; inside a queue a named order serves.
With `sees=2` it is the supermarket model with predictions (Mitzenmacher and Dell'Amico, arXiv 1905.12155).
Observation and action are described in `envs.dispatch_observation`, the keyword arguments in `DispatchConfig`.
"""

import numpy as np

from llmqueue_gym._jit import records
from llmqueue_gym.engines.dispatch import CONSTANT, FALLING
from llmqueue_gym.engines.dispatch_steps import SENT, idle_sites, step_batch
from llmqueue_gym.envs.dispatch_config import ORDERS, DispatchConfig
from llmqueue_gym.envs.job_episodes import JobEpisodes
from llmqueue_gym.envs.scalar import CompiledEnv
from llmqueue_gym.envs.vector import CompiledVectorEnv
from llmqueue_gym.jobs import QUEUE, ClusterInstance


class DispatchEpisodes(JobEpisodes):
    """The state of E runs of k servers; an arrival sees d queues, or all where d = 0.

    Attributes:
        states: `SENT` rows `(E,)`.
        links: `(E, n)`, see `engines.dispatch`.
        sites: `SITE` rows `(E, k)`.
        times: `(E, 2 k)`, s, see `engines.dispatch_steps`.
        choices: `(E, n, d)`, the servers that each job sees.
        ties: `(E, n)`, numbers in [0, 1) with which a policy may choose among equal queues.
        queues: `QUEUE` rows `(E, visible)`, what is seen at the present decision, in float64.
    """

    config: DispatchConfig
    config_type = DispatchConfig

    def __init__(self, config: DispatchConfig, size: int):
        super().__init__(config, size)
        n, servers, order = int(config.n_jobs), int(config.servers), config.discipline
        self.states, self.links = records(np.zeros(size, SENT)), np.zeros((size, n), np.int64)
        self.sites = records(np.tile(idle_sites(config.server_speeds), (size, 1)))
        self.times = np.full((size, 2 * servers), np.inf)
        self.choices = np.zeros((size, n, int(config.sees or 0)), np.int64)
        self.ties = np.zeros((size, n))
        self.queues = records(np.zeros((size, config.visible), QUEUE))
        self.observation["action_mask"][:] = 1
        self._idle = idle_sites(config.server_speeds)
        self._arguments = (
            *(self.states, self.steps, self.n_jobs, self.jobs, self.truth, self.outcome, self.links, self.sites),
            *(self.times, self.choices, self.queues, self.actions, self.observation["jobs"]),
            *(self.observation["system"], np.array(ORDERS[config.order]), float(config.split), order.preemptive),
            *(FALLING if order.shape == "falling" else CONSTANT, order.lcfs_up_to, float(config.horizon)),
        )

    def give(self, e: int, instance: ClusterInstance) -> None:
        """Let run `e` begin with these jobs, at idle servers."""
        super().give(e, instance)
        self.states[e] = np.zeros(1, SENT)[0]
        self.sites[e].view(np.int64)[:] = self._idle.view(np.int64)  # records would be copied column by column
        self.times[e] = np.inf
        self.choices[e, : len(instance.choices)] = instance.choices
        self.ties[e, : len(instance.ties)] = instance.ties

    def advance(self) -> None:
        """Carry out `actions` in every run, up to the next arrival."""
        step_batch(*self._arguments)

    def present_ties(self) -> np.ndarray:
        """Return the numbers of the present decisions `(E,)`."""
        return self.ties[np.arange(len(self.ties)), self.states["arrived"] - 1]


class DispatchEnv(CompiledEnv):
    """A queue for each server as a Gymnasium environment; the keyword arguments are those of `DispatchConfig`.

    The reward is minus the integral of the cost rate since the last decision; that of the last step goes on until all
    queues are empty. `terminated`: all jobs have been served. `truncated`: a job arrived at the horizon or later.
    """

    batch_type = DispatchEpisodes
    config: DispatchConfig
    _batch: DispatchEpisodes

    def visible_queues(self) -> np.ndarray:
        """Return the `QUEUE` rows `(visible,)` behind the rows of the observation, in float64; they hold no truth."""
        return self._batch.queues[0]

    def arrived(self) -> np.ndarray:
        """Return the `JOB` row `(1,)` of the job to be sent."""
        last = int(self._batch.states["arrived"][0]) - 1
        return self._batch.jobs[0, last : last + 1]

    @property
    def ties(self) -> np.ndarray:
        """A number in [0, 1) for the present decision `(1,)`, with which a policy may choose among equal queues."""
        return self._batch.present_ties()

    @property
    def outcome(self) -> np.ndarray:
        """The `OUTCOME` rows `(n_jobs,)` of the episode so far."""
        return self._batch.outcome[0, : self._batch.count(0)].copy()


class DispatchVectorEnv(CompiledVectorEnv):
    """Many such clusters in one compiled step; what `gym.make_vec` returns."""

    batch_type = DispatchEpisodes
    config: DispatchConfig
    _batch: DispatchEpisodes

    @property
    def ties(self) -> np.ndarray:
        """A number in [0, 1) for each present decision `(num_envs,)`, to choose among equal queues."""
        return self._batch.present_ties()

"""E runs of the single server side by side."""

import numpy as np

from llmqueue_gym._jit import records
from llmqueue_gym.engines.single_server import step_batch
from llmqueue_gym.engines.state import fresh_state
from llmqueue_gym.envs.config import MG1Config
from llmqueue_gym.envs.job_episodes import JobEpisodes
from llmqueue_gym.jobs import Instance

_FRESH = fresh_state()[0]


class MG1Batch(JobEpisodes):
    """The state of E runs.

    Attributes:
        states: `STATE` rows `(E,)`.
        live: `(E, n)`, rows of the jobs in system, the earliest first.
    """

    config: MG1Config
    config_type = MG1Config

    def __init__(self, config: MG1Config, size: int):
        super().__init__(config, size)
        self.states = records(fresh_state(size))
        self.live = np.zeros((size, int(config.n_jobs)), np.int64)
        self._arguments = (
            *(self.states, self.steps, self.n_jobs, self.jobs, self.truth, self.outcome, self.live, self.actions),
            *self.observation.values(),
            *(bool(config.preemptive), float(config.quantum), float(config.horizon)),
        )

    def give(self, e: int, instance: Instance) -> None:
        """Let run `e` begin with these jobs, at an idle server."""
        super().give(e, instance)
        self.states[e] = _FRESH

    def advance(self) -> None:
        """Carry out `actions` in every run, up to its next decision."""
        step_batch(*self._arguments)

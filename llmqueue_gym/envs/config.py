"""The keyword arguments of the single-server environments, checked in one place for scalar and vector alike."""

from dataclasses import dataclass

import numpy as np
from gymnasium.spaces import Dict, Discrete

from llmqueue_gym.envs.arguments import check_counts, check_positive
from llmqueue_gym.envs.job_config import JobConfig
from llmqueue_gym.envs.observation import action_space, observation_space
from llmqueue_gym.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class MG1Config(JobConfig):
    """What is seen and decided; what is served and what is paid stands in `JobConfig`.

    Attributes:
        slots: jobs that the agent can see and choose from.
        quantum: longest service between decisions, s; needs `preemptive`.
        preemptive: whether the agent decides at arrivals too, and not only when the server is free.

    Raises:
        BadInput: a value is out of range; the message names it.
    """

    slots: int = 16
    quantum: float = np.inf
    preemptive: bool = False

    def __post_init__(self) -> None:
        check_counts(self, "slots")
        check_positive(self, "quantum")
        if not isinstance(self.preemptive, (bool, np.bool_)):
            raise BadInput(f"preemptive={self.preemptive!r} must be True or False")
        if self.quantum < np.inf and not self.preemptive:
            raise BadInput(f"quantum={self.quantum:g} needs preemptive=True: otherwise a job runs to its end")
        super().__post_init__()

    def spaces(self) -> tuple[Dict, Discrete]:
        """Return observation and action space of one environment."""
        return observation_space(int(self.slots)), action_space(int(self.slots))

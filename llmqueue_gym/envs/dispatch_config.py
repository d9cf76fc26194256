"""The keyword arguments of the environment of a queue for each server."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from gymnasium.spaces import Dict, Discrete

from llmqueue_gym.distributions import size_law
from llmqueue_gym.envs.arguments import check_counts, check_positive
from llmqueue_gym.envs.dispatch_observation import observation_space
from llmqueue_gym.envs.job_config import JobConfig
from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.jobs import ClusterInstance
from llmqueue_gym.policies import Policy, policy
from llmqueue_gym.policies.dispatch.base import different
from llmqueue_gym.workloads import Workload, arrival_process
from llmqueue_gym.workloads.cluster import speeds_of
from llmqueue_gym.workloads.instance import Samples, draw, stream

# Ranks a * predicted - b * age of the orders that a step can serve in without a pointer to compiled code.
ORDERS: dict[str, tuple[float, float]] = {
    "fcfs": (0.0, 0.0),
    "spjf": (1.0, 0.0),
    "pspjf": (1.0, 0.0),
    "sprpt": (1.0, 1.0),
}
CHOICES, TIES = 4, 5  # random streams; see `evaluation.cluster.scenario` for the others


@dataclass(frozen=True, kw_only=True)
class DispatchConfig(JobConfig):
    """Who serves in which order and what is seen; what is served and what is paid stands in `JobConfig`.

    Here `load` is the arrival rate times the mean size over the total speed, and an episode is truncated at the first
    arrival from `horizon` on. Once all jobs have been sent it runs to its end, since nothing is left to decide.

    Attributes:
        servers: how many, with a queue each.
        speeds: one of each server; all 1 unless told otherwise.
        sees: queues drawn at random that an arrival can see and join; None for all.
        order: of the jobs in each queue, a name in `ORDERS`: `fcfs`, `spjf`, `pspjf` or `sprpt`.
            By default the one that Mitzenmacher and Dell'Amico (arXiv 1905.12155) find best most often.
        split: s; the agent sees how many waiting jobs are predicted on the same side of it as the arrival.

    Raises:
        BadInput: a value is out of range; the message names it.
    """

    servers: int = 10
    speeds: tuple[float, ...] | None = None
    sees: int | None = None
    order: str = "sprpt"
    split: float = np.inf

    def __post_init__(self) -> None:
        check_counts(self, "servers")
        if self.sees is not None:
            check_counts(self, "sees")
            if self.sees > self.servers:
                raise BadInput(
                    f"sees={self.sees} queues of {self.servers}; choose 1 to {self.servers}, or None for all of them"
                )
        if self.order not in ORDERS:
            raise BadInput(f"unknown order {self.order!r}; {nearest(str(self.order), ORDERS)}")
        check_positive(self, "load", "split")
        _ = self.server_speeds
        super().__post_init__()
        self.discipline.params_for(self.law, self.bound_predictor)

    @property
    def visible(self) -> int:
        """How many queues an arrival sees."""
        return int(self.servers if self.sees is None else self.sees)

    @property
    def discipline(self) -> Policy:
        """The order inside a queue, as a policy."""
        return policy(self.order)

    @cached_property
    def server_speeds(self) -> np.ndarray:
        """The speed of each server `(servers,)`, the fastest first."""
        return speeds_of(self.servers, self.speeds)

    @cached_property
    def source(self) -> Samples:
        """What draws the jobs: the servers are busy for `load` of the time, if no queue is favoured too much."""
        if self.workload is not None:
            return self.workload
        load = float(self.load) * float(self.server_speeds.sum())
        return Workload(size_law(self.size), load, arrival_process(self.arrivals))

    def draw(self, seed: int) -> ClusterInstance:  # type: ignore[override]
        """Return the jobs, predictions included, their truth and the queues that they see in the episode of a seed."""
        jobs, sizes = draw(self.source, self.bound_predictor, self.n_jobs, seed)
        n = len(jobs)
        choices, ties = np.zeros((n, 0), np.int64), np.zeros(n)
        if self.sees is None:
            ties = stream(seed, TIES).random(n)
        else:
            choices = different(n, self.sees, self.servers, stream(seed, CHOICES))
        return ClusterInstance(jobs, sizes, np.full(n, np.inf), choices, ties)

    def spaces(self) -> tuple[Dict, Discrete]:
        """Return observation and action space of one environment."""
        return observation_space(self.visible), Discrete(self.visible)

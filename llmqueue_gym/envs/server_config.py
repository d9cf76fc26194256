"""The keyword arguments of the environments of several servers with one queue."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from gymnasium.spaces import Dict, Discrete

from llmqueue_gym.distributions import Distribution, size_law
from llmqueue_gym.envs.arguments import check_counts, check_positive
from llmqueue_gym.envs.job_config import JobConfig
from llmqueue_gym.envs.server_observation import n_actions, observation_space
from llmqueue_gym.errors import BadInput
from llmqueue_gym.jobs import ClusterInstance
from llmqueue_gym.workloads import Workload, arrival_process
from llmqueue_gym.workloads.cluster import patience_of, speeds_of
from llmqueue_gym.workloads.instance import Samples, draw, stream

PATIENCE, NEEDS = 3, 6  # random streams; see `evaluation.cluster.scenario` for the others


@dataclass(frozen=True, kw_only=True)
class ServerConfig(JobConfig):
    """Who serves, what is seen and decided; what is served and what is paid stands in `JobConfig`.

    Attributes:
        servers: how many.
        speeds: one of each server; all 1 unless told otherwise.
        slots: waiting jobs that the agent can see and choose from.
        preemptive: whether all jobs are up for choice again at every arrival and completion.
        patience: law of the time, s, that a job waits before it first runs, or with `firm` stays in all; None for ever.
        firm: whether patience is a deadline that the agent sees and after which a job is worth nothing.
        may_pass: whether servers may be left idle though somebody fits.
        may_drop: whether waiting jobs may be sent away.
        told: whether the agent sees when a job's patience ends; with `firm` it always does.
        needs: servers that a job occupies at once, each equally likely; its size is how long. A workload with an
            attribute `needs`, all that may occur, brings them in the column `need` of its jobs instead.
        per_job: reward of a job served, in place of `reward`; 0 for that.

    Raises:
        BadInput: a value is out of range; the message names it.
    """

    servers: int = 4
    speeds: tuple[float, ...] | None = None
    slots: int = 16
    preemptive: bool = False
    patience: str | Distribution | None = None
    firm: bool = False
    told: bool = False
    may_pass: bool = False
    may_drop: bool = False
    needs: tuple[int, ...] = (1,)
    per_job: float = 0.0

    def __post_init__(self) -> None:
        check_counts(self, "servers", "slots")
        if self.firm and self.patience is None:
            raise BadInput("firm=True needs patience, the law of the time to a job's deadline")
        for need in self.job_needs:
            if not isinstance(need, (int, np.integer)) or not 1 <= need <= self.servers:
                raise BadInput(
                    f"a job that needs {need!r} servers cannot run on {self.servers}: choose 1 to {self.servers}"
                )
        if not self.job_needs:
            raise BadInput("needs is empty; (1,) has every job on one server")
        if self.speeds is not None and max(self.job_needs) > 1:
            raise BadInput("jobs that need several servers need servers of one speed: leave out speeds")
        check_positive(self, "load")
        _ = self.server_speeds, self.patience_law
        super().__post_init__()

    @cached_property
    def server_speeds(self) -> np.ndarray:
        """The speed of each server `(servers,)`, the fastest first."""
        return speeds_of(self.servers, self.speeds)

    @cached_property
    def patience_law(self) -> Distribution | None:
        """The law of patience, or None."""
        return patience_of(self.patience)

    @cached_property
    def job_needs(self) -> tuple[int, ...]:
        """All servers at once that a job may need."""
        return tuple(getattr(self.workload, "needs", self.needs))

    @property
    def knows_deadlines(self) -> bool:
        """Whether the agent sees until when a job stays."""
        return self.firm or self.told

    @cached_property
    def source(self) -> Samples:
        """What draws the jobs: the servers are busy for `load` of the time, if all jobs are served."""
        if self.workload is not None:
            return self.workload
        load = float(self.load) * float(self.server_speeds.sum()) / float(np.mean(self.needs))
        return Workload(size_law(self.size), load, arrival_process(self.arrivals))

    def draw(self, seed: int) -> ClusterInstance:  # type: ignore[override]
        """Return the jobs, predictions included, and their truth of the episode of a seed."""
        jobs, sizes = draw(self.source, self.bound_predictor, self.n_jobs, seed)
        n, law = len(jobs), self.patience_law
        patience = np.full(n, np.inf) if law is None else law.sample(n, stream(seed, PATIENCE))
        if self.needs != (1,) and not hasattr(self.source, "needs"):
            jobs["need"] = stream(seed, NEEDS).choice(self.needs, n)
        if self.knows_deadlines:
            jobs["deadline"] = jobs["arrival"] + patience
        return ClusterInstance(jobs, sizes, patience, np.zeros((n, 0), np.int64), np.zeros(0))

    def spaces(self) -> tuple[Dict, Discrete]:
        """Return observation and action space of one environment."""
        actions = n_actions(int(self.slots), self.may_pass, self.may_drop)
        return observation_space(int(self.slots), int(self.servers), actions), Discrete(actions)

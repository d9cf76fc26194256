"""How good an agent of any library is: its mean response time between first come first served and the clairvoyant."""

from functools import cached_property
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.cluster.scenario import ClusterScenario
from llmqueue_gym.evaluation.rollout import rollout
from llmqueue_gym.evaluation.scenario import Scenario
from llmqueue_gym.evaluation.statistics import Estimate, across_seeds

BASE = "fcfs"


class Yardstick:
    """An environment's jobs of some seeds, on which everybody is measured.

    Attributes:
        scenario: what an environment's keyword arguments say of its jobs.
        seeds: of the runs.
        bound: the policy whose score is 1; it is told the true sizes.
        rivals: policies worth comparing with, first come first served first, the bound last.
    """

    def __init__(self, env_id: str, config: Any, seeds: range, n_jobs: int):
        """Take the measure.

        Args:
            env_id: environment in which an agent is played.
            config: `env.unwrapped.config` of the environment in which it was trained.
            seeds: of the runs.
            n_jobs: jobs in each.

        Raises:
            BadInput: the environment is not one of jobs that all have to be served, by one server each.
        """
        self.scenario: Scenario | ClusterScenario = _scenario(env_id, config, n_jobs)
        self.seeds, self._env_id = seeds, env_id
        self._options = {name: getattr(config, name) for name in ("slots", "quantum") if hasattr(config, name)}
        self.bound, between = ("srpt", ["sprpt"]) if config.preemptive else ("sjf", ["spjf"])
        self.rivals = [BASE, *between, self.bound]

    def mean_response_times(self, player: Any) -> np.ndarray:
        """Return the mean response time `(seeds,)`, s, of a policy or an agent in each run; see `rollout`."""
        runs = (rollout(player, self.scenario, seed, self._env_id, **self._options) for seed in self.seeds)
        return np.array([run.response_times.mean() for run in runs])

    @cached_property
    def _ends(self) -> tuple[np.ndarray, np.ndarray]:
        return self.mean_response_times(BASE), self.mean_response_times(self.bound)

    def score(self, player: Any) -> Estimate:
        """Return (FCFS - x) / (FCFS - bound) of the means over the seeds, with the interval of a ratio of paired means.

        Source: Law, "Simulation Modeling and Analysis", chapter 9 (ratio estimators): the interval is that of what is
        left of each seed's gain when the score is taken out.
        """
        base, bound = self._ends
        gain, worth = base - self.mean_response_times(player), base - bound
        score = float(gain.mean() / worth.mean())
        return across_seeds(score + (gain - score * worth) / worth.mean())


def _scenario(env_id: str, config: Any, n_jobs: int) -> Scenario | ClusterScenario:
    names = ("size", "predictor", "load", "arrivals")
    jobs: dict[str, Any] = {**{name: getattr(config, name, None) for name in names}, "n_jobs": n_jobs}
    kind = type(config).__name__
    if kind == "MG1Config":
        return Scenario(**jobs, workload=config.workload)
    if kind == "ServerConfig" and config.patience is None and config.job_needs == (1,) and config.workload is None:
        return ClusterScenario(**jobs, servers=config.servers, speeds=config.speeds)
    raise BadInput(f"env_id={env_id!r}: only MG1 and MGk are scored, whose jobs all get served, by one server each")

"""A rank policy as an agent: the baseline that a learned one has to beat, playing by the same rules."""

from dataclasses import replace
from typing import Any

import numpy as np

from llmqueue_gym._jit import compile_rank, kernel, records
from llmqueue_gym.envs.config import MG1Config
from llmqueue_gym.envs.observation import FEATURES
from llmqueue_gym.errors import BadInput
from llmqueue_gym.jobs import JOB, RUNNING
from llmqueue_gym.policies import Policy, policy
from llmqueue_gym.predictors import predictor


@kernel
def least_rank(rows, present, stays, rank, params, lcfs_up_to, actions):
    """Choose the slot of least rank in each of E decisions.

    Args:
        rows: `JOB` rows `(E, slots)`.
        present: `(E, slots)`, whether the slot holds a job; those that do come first.
        stays: `(E, slots)`, whether the job keeps the server whatever its rank.
        rank: compiled rank function.
        params: its parameters `(k,)`.
        lcfs_up_to: equal ranks up to this number go to the later arrival, others to the earlier.
        actions: `(E,)`, written.
    """
    for e in range(rows.shape[0]):
        best, least = 0, np.inf
        for k in range(rows.shape[1]):
            if not present[e, k]:
                break
            if stays[e, k]:
                best = k
                break
            value = rank(rows[e, k], params)
            if value < least or (value == least and value <= lcfs_up_to):
                best, least = k, value
        actions[e] = best


class RankAgent:
    """Serves the job of least rank among those in the slots, as the engine does among all.

    In a preemptive environment a policy without preemption stays with the job in service.

    Attributes:
        policy: the policy.
    """

    def __init__(self, given: Any, config: MG1Config | None = None, **kwargs: Any):
        """Prepare a policy for an environment.

        Args:
            given: a policy, its spec or a rank function.
            config: `env.unwrapped.config` of a scalar or a vector environment; the default is that of `MG1Config`.
            **kwargs: the keyword arguments of the environment that differ from it.

        Raises:
            BadInput: the policy brings a predictor along which is not that of the environment.
        """
        config = replace(config or MG1Config(), **kwargs)
        self.policy: Policy = policy(given)
        told = self.policy.predictor
        if told is not None and predictor(told).bind(config.law) != config.bound_predictor:
            raise BadInput(f"policy {self.policy.name!r} needs an environment with predictor={told!r}")
        self._params = self.policy.params_for(config.law, config.bound_predictor)
        self._rank = compile_rank(self.policy.rank, cache=self.policy.rank.__module__.startswith("llmqueue_gym."))

    def act(self, observation: dict[str, np.ndarray]) -> Any:
        """Return the action for an observation, or actions `(E,)` for a batch of them.

        `job.arrival` is minus the time in system, so it is right up to a constant. Features are float32, so ranks
        that differ by less than that count as tied.
        """
        features = dict(zip(FEATURES, np.moveaxis(observation["jobs"], -1, 0), strict=True))
        rows = np.zeros(features["present"].shape, JOB)
        for column in ("predicted", "age", "weight"):
            rows[column] = features[column]
        rows["arrival"] = -features["time_in_system"]
        actions = self._choose(rows, features["present"] > 0, features["in_service"] > 0)
        return actions if rows.ndim > 1 else int(actions[0])

    def act_env(self, env: Any) -> int:
        """Return the action for the present decision of a scalar environment, from its features in float64."""
        rows = env.unwrapped.visible_jobs()
        return int(self._choose(rows, np.ones(len(rows), bool), rows["status"] == RUNNING)[0])

    def _choose(self, rows: np.ndarray, present: np.ndarray, in_service: np.ndarray) -> np.ndarray:
        rows, present, in_service = np.atleast_2d(rows), np.atleast_2d(present), np.atleast_2d(in_service)
        stays = in_service & (not self.policy.preemptive)
        actions = np.zeros(len(rows), np.int64)
        least_rank(records(rows), present, stays, self._rank, self._params, self.policy.lcfs_up_to, actions)
        return actions

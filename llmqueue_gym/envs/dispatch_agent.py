"""A dispatch policy as an agent: the baseline that a learned one has to beat, playing by the same rules."""

from dataclasses import replace
from typing import Any

import numpy as np

from llmqueue_gym._jit import compile_dispatch, records
from llmqueue_gym.engines.dispatch_steps import least_score
from llmqueue_gym.envs.dispatch_config import DispatchConfig
from llmqueue_gym.envs.dispatch_observation import FEATURES, SYSTEM
from llmqueue_gym.errors import BadInput
from llmqueue_gym.jobs import JOB, QUEUE, job_table
from llmqueue_gym.policies.dispatch import DispatchPolicy, dispatch_policy


class DispatchAgent:
    """Sends each job to the visible queue of least score, as the engine does.

    Attributes:
        policy: the policy.
    """

    def __init__(self, given: Any, config: DispatchConfig | None = None, **kwargs: Any):
        """Prepare a policy for an environment.

        Args:
            given: a dispatch policy, its spec or a plain function `score(job, queue, params)`.
            config: `env.unwrapped.config` of a scalar or a vector environment; the default is that of
                `DispatchConfig`.
            **kwargs: the keyword arguments of the environment that differ from it.

        Raises:
            BadInput: the policy looks at other queues than the environment shows, or has another split.
        """
        config = replace(config or DispatchConfig(), **kwargs)
        if callable(given):
            looks: Any = {"looks": "all"} if config.sees is None else {"d": config.sees}
            given = DispatchPolicy(given.__name__, given, split=config.split, **looks)
        self.policy: DispatchPolicy = dispatch_policy(given)
        _refuse_others(self.policy, config)
        self._numbers = self.policy.numbers(config.law, config.bound_predictor, config.server_speeds)
        score = self.policy.score
        self._score = compile_dispatch(score, cache=score.__module__.startswith("llmqueue_gym."))

    def act(self, observation: dict[str, np.ndarray], ties: np.ndarray | float = 0.0) -> Any:
        """Return the action for an observation, or actions `(E,)` for a batch of them.

        Features are float32, so scores that differ by less than that count as tied; and an observation has of the job
        its predicted size and weight alone.

        Args:
            observation: of a scalar or a vector environment.
            ties: `env.unwrapped.ties`, which choose among equals where all queues are visible, as in the closed loop;
                0 takes the first, which is the fastest server.
        """
        features = dict(zip(FEATURES, np.moveaxis(observation["jobs"], -1, 0), strict=True))
        queues = np.zeros(features["present"].shape, QUEUE)
        columns = {"jobs": "jobs", "work": "work", "left": "work_left", "alike": "alike", "speed": "speed"}
        for column, feature in {**columns, "index": "server"}.items():
            queues[column] = features[feature]
        system = np.atleast_2d(observation["system"])
        predicted, weight = system[:, SYSTEM.index("predicted")], system[:, SYSTEM.index("weight")]
        actions = self._choose(job_table(np.zeros(len(system)), predicted, weight), np.atleast_2d(queues), ties)
        return actions if queues.ndim > 1 else int(actions[0])

    def act_env(self, env: Any) -> int:
        """Return the action for the present decision of a scalar environment, from what is seen in float64."""
        inner = env.unwrapped
        return int(self._choose(inner.arrived(), np.atleast_2d(inner.visible_queues()), inner.ties)[0])

    def _choose(self, jobs: np.ndarray, queues: np.ndarray, ties: np.ndarray | float) -> np.ndarray:
        actions, scores = np.zeros(len(jobs), np.int64), np.zeros(queues.shape[1])
        ties = np.broadcast_to(np.asarray(ties, float), actions.shape).copy()
        tables = records(np.ascontiguousarray(jobs, JOB)), records(np.ascontiguousarray(queues, QUEUE))
        if least_score(*tables, ties, self._score, self._numbers, scores, actions):
            raise BadInput(f"dispatch policy {self.policy.name!r} gives score NaN; it must be a number")
        return actions


def _refuse_others(policy: DispatchPolicy, config: DispatchConfig) -> None:
    """Raise BadInput unless the environment shows what the policy looks at."""
    if policy.looks == "turn":
        raise BadInput(
            f"dispatch policy {policy.name!r} does not look: with sees=None job i takes action i % {config.servers}"
        )
    sees = None if policy.looks == "all" else policy.d
    if sees != config.sees:
        raise BadInput(f"dispatch policy {policy.name!r} needs an environment with sees={sees}, not {config.sees}")
    if np.isfinite(policy.split) and policy.split != config.split:
        raise BadInput(
            f"dispatch policy {policy.name!r} needs an environment with split={policy.split:g}, not {config.split:g}"
        )

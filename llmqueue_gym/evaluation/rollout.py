"""One function that plays anything: a policy in closed loop, an agent in its environment, on the same jobs."""

import inspect
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.closed_loop import simulate
from llmqueue_gym.evaluation.run import Run
from llmqueue_gym.evaluation.scenario import Scenario
from llmqueue_gym.policies import policy

Act = Callable[[Any], Any]  # observation -> action


def rollout(player: Any, scenario: Scenario, seed: int, env: str = "llmqueue/MG1Preemptive-v0", **options: Any) -> Run:
    """Play one run of a scenario.

    Args:
        player: a policy (a name, a `Policy`, or a function `rank(job, params)`), or an agent: an object with
            `act(observation) -> action`, or with `predict(observation, ...) -> (action, state)` as in
            stable-baselines3, which is given `action_masks` where it takes them.
        scenario: where it is played.
        seed: of the jobs; the same seed gives every player the same arrivals and sizes.
        env: for an agent, the id of the environment that it is played in.
        options: for an agent, further arguments of that environment, such as `slots`.

    Raises:
        BadInput: the policy is unknown, cannot be compiled, or needs a prediction where there is none; the agent left
            jobs unfinished.
    """
    act = _act(player)
    if act is not None:
        return _play(act, type(player).__name__, scenario, seed, env, options)
    discipline = policy(player)
    instance = scenario.draw(discipline, seed)
    return simulate(instance, discipline, scenario.law, scenario.bound_predictor(discipline))


def _act(player: Any) -> Act | None:
    """Return an agent's choice as a function of the observation, or None where the player is no agent."""
    if callable(getattr(player, "act", None)):
        return player.act
    predict = getattr(player, "predict", None)
    if not callable(predict):
        return None
    takes = inspect.signature(predict).parameters
    sure = {"deterministic": True} if "deterministic" in takes else {}
    if "action_masks" in takes:
        return lambda seen: predict(seen, action_masks=np.asarray(seen["action_mask"], bool), **sure)[0]
    return lambda seen: predict(seen, **sure)[0]


def _play(act: Act, name: str, scenario: Scenario, seed: int, env_id: str, options: dict[str, Any]) -> Run:
    import gymnasium

    where = {"load": scenario.load, "arrivals": scenario.arrivals, "workload": scenario.workload}
    told = {"size": scenario.law, "predictor": scenario.predictor, "n_jobs": scenario.n_jobs}
    env = gymnasium.make(env_id, **{**where, **told, **options})
    seen, _ = env.reset(seed=seed)
    over, start = False, time.perf_counter()
    while not over:
        seen, _, terminated, truncated, _ = env.step(int(act(seen)))
        over = terminated or truncated
    elapsed = time.perf_counter() - start
    outcome = env.unwrapped.outcome  # type: ignore[attr-defined]
    env.close()
    if not terminated:
        left = int(np.isnan(outcome["completion"]).sum())
        raise BadInput(f"agent {name!r}: the episode was cut off with {left} of {len(outcome)} jobs unfinished")
    jobs, sizes = scenario.draw(None, seed)
    return Run(name, jobs, sizes, outcome, elapsed)

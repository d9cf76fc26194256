"""One function that plays anything: a policy in closed loop, an agent in its environment, on the same jobs."""

import inspect
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.systems import Run, Scenario

Act = Callable[[Any], Any]  # observation -> action


def rollout(player: Any, scenario: Scenario, seed: int, **view: Any) -> Run:
    """Play one run of a scenario.

    Args:
        player: a policy of the scenario's system (a name, the policy, or a plain function), or an agent: an object with
            `act(observation) -> action`, or with `predict(observation, ...) -> (action, state)` as in
            Stable-Baselines3, which is given `action_masks` where it takes them.
        scenario: where it is played.
        seed: of the jobs; the same seed gives every player the same arrivals and sizes.
        view: for an agent, what it sees and decides, such as `slots`; see the view of the system.

    Raises:
        BadInput: the policy is unknown, cannot be compiled or lacks a prediction that it needs; or the agent left
            jobs undone.
    """
    act = acting(player)
    if act is None:
        return scenario.simulate(player, seed)
    env, name = scenario.env(**view), type(player).__name__
    seen, info = env.reset(seed=seed)
    over, start = False, time.perf_counter()
    while not over:
        seen, _, terminated, truncated, info = env.step(int(act(seen)))
        over = terminated or truncated
    run: Run = env.run(name, time.perf_counter() - start)
    if not terminated:
        left = f"with {info['n_in_system']} of {len(run)} jobs in system"
        raise BadInput(f"agent {name!r}: the episode was cut off at {info['clock']:g} s, {left}")
    return run


def acting(player: Any) -> Act | None:
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

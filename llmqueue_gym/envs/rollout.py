"""What plays anything: a policy in closed loop, an agent in its environment, on the same jobs."""

import inspect
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Dict

from llmqueue_gym.engines.state import SKIP
from llmqueue_gym.envs.opened import opened
from llmqueue_gym.errors import BadInput
from llmqueue_gym.systems import Run, Scenario

Observation = dict[str, np.ndarray]
Act = Callable[[Observation], Any]  # observations of E runs -> actions (E,)


def rollout(player: Any, scenario: Scenario, seed: int, **view: Any) -> Run:
    """Play one run of a scenario.

    Args:
        player: a policy of the scenario's system (a name, the policy, or a plain function), or an agent; see `acting`.
        scenario: where it is played.
        seed: of the jobs; the same seed gives every player the same arrivals and sizes.
        view: for an agent, what it sees and decides, such as `slots`; see the view of the system.

    Raises:
        BadInput: the policy is unknown, cannot be compiled or lacks a prediction that it needs; or the agent left
            jobs undone.
    """
    return rollouts(player, scenario, [seed], **view)[0]


def rollouts(player: Any, scenario: Scenario, seeds: Sequence[int], **view: Any) -> list[Run]:
    """Play a run for each seed; an agent plays them side by side. For the rest see `rollout`."""
    if not isinstance(scenario, Scenario):
        raise BadInput(f"{scenario!r} is not a Scenario; write Scenario({scenario!r}), as in Scenario('mg1')")
    act = acting(player)
    if act is None:
        return [scenario.simulate(player, seed) for seed in seeds]
    scenario, shown = opened(scenario, view)
    episodes, name = scenario.system.open(scenario, shown, len(seeds)), type(player).__name__
    for e, seed in enumerate(seeds):
        episodes.begin(e, seed)
    episodes.proceed()
    steps, n_actions, start = episodes.steps, int(episodes.action_space.n), time.perf_counter()
    whole = getattr(player, "remembers", False)  # then each run keeps its row until all are over
    while (going := ~(steps["terminated"] | steps["truncated"])).any():
        actions = np.asarray(act(episodes.shown(slice(None) if whole else going))).reshape(-1)
        actions = actions[going] if whole and len(actions) == len(going) else actions
        if len(actions) != going.sum() or actions.dtype.kind not in "iu":
            raise BadInput(f"agent {name!r} returned {actions!r}, not a whole number for each of {going.sum()} runs")
        bad = actions[(actions < 0) | (actions >= n_actions)]
        if len(bad):
            raise BadInput(f"agent {name!r}: action {bad[0]} is not in the action space: choose 0 to {n_actions - 1}")
        episodes.actions[:] = SKIP
        episodes.actions[going] = actions
        episodes.proceed()
    elapsed = (time.perf_counter() - start) / len(seeds)
    runs = [episodes.run(e, name, elapsed) for e in range(len(seeds))]
    for run, step in zip(runs, steps, strict=True):
        if not step["terminated"]:
            left = f"with {step['in_system']} of {len(run)} jobs in system"
            raise BadInput(f"agent {name!r}: the episode was cut off at {step['clock']:g} s, {left}")
    return runs


def acting(player: Any) -> Act | None:
    """Return the choice of an agent for several runs at once, or None where the player is no agent.

    An agent is an object with `act(observation) -> action`, which is asked about one run at a time unless it has
    `batched = True`; or with `predict(observations, ...) -> (actions, state)` as in Stable-Baselines3, which is given
    `action_masks` where it takes them.

    Raises:
        BadInput: the agent sees something else than the environment shows.
    """
    act = getattr(player, "act", None)
    if callable(act):
        return act if getattr(player, "batched", False) else lambda seen: _one_by_one(act, seen)
    predict = getattr(player, "predict", None)
    if not callable(predict):
        return None
    space = getattr(player, "observation_space", None)
    if space is not None and not isinstance(space, Dict):
        words = f"agent {type(player).__name__!r} sees {type(space).__name__}, not the Dict of an environment"
        raise BadInput(f"{words}: what was trained on `learner` or `Learnable` plays as `env.agent(model)`")
    takes = inspect.signature(predict).parameters
    sure = {"deterministic": True} if "deterministic" in takes else {}
    if "action_masks" in takes:
        return lambda seen: predict(seen, action_masks=seen["action_mask"] > 0, **sure)[0]
    return lambda seen: predict(seen, **sure)[0]


def _one_by_one(act: Callable[[Observation], Any], seen: Observation) -> list[Any]:
    """Return the action for each of E runs."""
    return [act({part: rows[e] for part, rows in seen.items()}) for e in range(len(seen["action_mask"]))]

"""What a standard learner wants of an environment: a short vector, the likely choices first, rewards about zero.

    name = "llmqueue/MG1Preemptive-v0"
    env = Learnable(gym.make(name, relative_to=order_of(name)))  # for any library that takes Gymnasium's environments
    envs = LearnableVector(gym.make_vec(name, num_envs=16, relative_to=order_of(name)))

* **Order.** A policy by hand says who would be chosen. Action 0 is what it does; the others are what could be done
  instead, the likely first: open rows of each group of `jobs`, and among them those that the policy prefers. So a plain
  network need not learn to sort, and learns where to depart from the policy. Rows that are not among the first few are
  seen as their mean alone. Where actions are levels, the others are those next to the policy's. Who runs can be
  preempted only where the policy preempts, too, as it loses its work; who waits holds nothing, so it is sent away at
  will only where others are out of sight.
* **Scale.** All numbers are sign(x) log(1 + |x|) of what the environment shows, in which heavy tails are harmless.
* **Masks.** The last numbers of the vector say what is open. An action that is not, or means the same as action 0,
  stands for action 0; so all may be taken, which is what `action_masks()` says. With the others closed a learner that
  heeds masks begins far from the policy by hand, and was slower to come back. To run a replica with seats left empty,
  which a discount by the step would pay for, is no alternative.
* **Rewards.** What the policy is paid on the same jobs is taken off if the environment is made with
  `relative_to=order_of(id)`. So most of the chance in a reward cancels, returns are about zero, and a discount by the
  step, which is all that most libraries know, does not pay for putting costs off by steps in which nothing happens.

`info` is that of the environment; `info["return"]` is the undiscounted raw return.
"""

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space

from llmqueue_gym.envs.opened import baseline_agent, order_of

Observation = Mapping[str, np.ndarray]
NEAR = 4  # levels beside that of the policy by hand


class Sight:
    """How a learner sees an environment, and what its actions mean there.

    Attributes:
        observation_space: of one environment.
        action_space: likewise.
    """

    def __init__(self, env: Any, order: Any = None):
        """Prepare for an environment.

        Args:
            env: a scalar or vector environment.
            order: policy by hand; the one to which rewards are relative, or that of the id, unless told otherwise.
        """
        inner, spec = env.unwrapped, env.spec
        usual = inner.view.relative_to or order_of(spec.id if spec is not None else "", inner.scenario)
        self._agent = baseline_agent(order or usual, inner)
        view, scenario = inner.view, inner.scenario
        self._groups = view.groups(scenario)
        taken = {g.action + k for g in self._groups if g.action is not None for k in range(g.rows)}
        others = () if not (view.waits or view.graded) else range(view.n_actions(scenario))
        self._rest = np.array([a for a in others if a not in taken], np.int64)
        self._graded = view.graded
        self._displacing = [
            g.action + k for g in self._groups if g.action is not None and g.displaces for k in range(g.rows)
        ]
        self._unseen = [*view.system, "unseen"].index("unseen")
        chosen = sum(min(g.shown, g.rows) for g in self._groups if g.action is not None)
        rows = sum(min(g.shown, g.rows) + 1 for g in self._groups)
        n = 1 + chosen + (min(NEAR, len(self._rest) - 1) if self._graded else len(self._rest))
        length = rows * len(view.jobs) + len(view.system) + n
        self.observation_space = spaces.Box(-np.inf, np.inf, (length,), np.float32)
        self.action_space = spaces.Discrete(n)

    @property
    def remembers(self) -> bool:
        """Whether the policy by hand remembers what it has seen of the run in each row."""
        return bool(getattr(self._agent, "remembers", False))

    def look(self, observation: Observation) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return what a learner sees `(E, features)`, what is open `(E, n)`, and the actions behind its own `(E, n)`.

        Args:
            observation: of E environments.
        """
        jobs, mask = observation["jobs"], observation["action_mask"] > 0
        seen = self._agent.read(self._agent.raw(observation))
        preferences = self._agent.preferences(seen)
        by_hand = self._agent.choose(seen)[:, None]
        parts, opens, actions = [], [], []
        for g, values in zip(self._groups, preferences, strict=True):
            rows = jobs[:, g.first : g.first + g.rows]
            present = rows[..., 0] > 0
            is_open = present if g.action is None else mask[:, g.action : g.action + g.rows] & present
            if g.displaces:
                is_open = is_open & np.isin(by_hand, self._displacing)
            if g.clears:
                is_open = is_open & (observation["system"][:, self._unseen] > 0)[:, None]
            first = values.argsort(axis=1, kind="stable")
            again = np.take_along_axis(2 - is_open - present.astype(int), first, 1).argsort(axis=1, kind="stable")
            shown = np.take_along_axis(first, again, 1)[:, : g.shown]
            parts += [np.take_along_axis(rows, shown[..., None], 1).reshape(len(rows), -1), rows.mean(axis=1)]
            if g.action is not None:
                opens.append(np.take_along_axis(is_open, shown, 1))
                actions.append(g.action + shown)
        rest = np.broadcast_to(self._rest, (len(jobs), len(self._rest)))
        if self._graded:
            nearest = np.abs(rest - by_hand).argsort(axis=1, kind="stable")[:, 1 : 1 + NEAR]  # the first is its own
            rest = np.take_along_axis(rest, nearest, 1)
        opens.append(np.take_along_axis(mask, rest, 1))
        others = np.concatenate([*actions, rest], 1)
        opened = np.concatenate([np.ones_like(by_hand, bool), np.concatenate(opens, 1) & (others != by_hand)], 1)
        acts = np.concatenate([by_hand, others], 1)
        features = np.concatenate([*parts, observation["system"], opened], axis=1, dtype=np.float32)
        return np.sign(features) * np.log1p(np.abs(features)), opened, acts


def meant(chosen: Any, opened: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """Return the actions of the environment `(E,)` behind a learner's; one that is not open stands for action 0."""
    chosen, each = np.asarray(chosen, np.int64).reshape(-1), np.arange(len(opened))
    return actions[each, np.where(opened[each, chosen], chosen, 0)]


class Learnable(gym.Wrapper[Any, Any, Any, Any]):
    """A scalar environment for a standard learner; see this module."""

    def __init__(self, env: gym.Env[Any, Any], order: Any = None):
        super().__init__(env)
        self.sight = Sight(env, order)
        self.observation_space, self.action_space = self.sight.observation_space, self.sight.action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._look(observation, info), info

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Take the action at a place of the order."""
        there = int(meant(action, self._opened, self._actions)[0])
        observation, reward, terminated, truncated, info = self.env.step(there)
        return self._look(observation, info), float(reward), terminated, truncated, info

    def _look(self, observation: Observation, info: dict[str, Any]) -> np.ndarray:
        features, self._opened, self._actions = self.sight.look({part: o[None] for part, o in observation.items()})
        info["action_mask"] = self.action_masks().astype(np.int8)
        return features[0]

    def action_masks(self) -> np.ndarray:
        """Return what may be taken, bool `(n,)`: everything."""
        return np.ones(len(self._opened[0]), bool)

    def agent(self, model: Any) -> "Trained":
        """Return a model that was trained here as an agent of the environment behind."""
        return Trained(model, self.sight)


class LearnableVector(VectorWrapper):
    """A vector environment for a standard learner; see this module."""

    def __init__(self, env: VectorEnv[Any, Any, Any], order: Any = None):
        super().__init__(env)
        self.sight = Sight(env, order)
        self.single_observation_space, self.single_action_space = self.sight.observation_space, self.sight.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin episodes."""
        observation, infos = self.env.reset(seed=seed, options=options)
        return self._look(observation, infos), infos

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Take the action at a place of the order in each environment."""
        observation, *came, infos = self.env.step(meant(actions, self._opened, self._actions))
        for e in infos["_final_obs"].nonzero()[0] if "final_obs" in infos else ():
            infos["final_obs"][e] = self.sight.look({k: o[None] for k, o in infos["final_obs"][e].items()})[0][0]
        return self._look(observation, infos), *came, infos

    def _look(self, observation: Observation, infos: dict[str, Any]) -> np.ndarray:
        features, self._opened, self._actions = self.sight.look(observation)
        infos["action_mask"] = self.action_masks().astype(np.int8)
        return features

    def action_masks(self) -> np.ndarray:
        """Return what may be taken, bool `(num_envs, n)`: everything."""
        return np.ones_like(self._opened)

    def agent(self, model: Any) -> "Trained":
        """Return a model that was trained here as an agent of the environments behind."""
        return Trained(model, self.sight)


class Trained:
    """A trained model as an agent of the environment itself, for `rollout` and boards."""

    batched = True

    def __init__(self, model: Any, sight: Sight):
        self._predict, self._sight, self._name = model.predict, sight, type(model).__name__
        self.remembers = sight.remembers

    def __repr__(self) -> str:
        return f"<what {self._name} has learnt>"

    def act(self, observation: Observation) -> Any:
        """Return the action for an observation, or actions `(E,)` for a batch of them."""
        alone = observation["jobs"].ndim == 2
        given = {part: rows[None] if alone else rows for part, rows in observation.items()}
        features, opened, actions = self._sight.look(given)
        chosen, _ = self._predict(features, deterministic=True)
        found = meant(chosen, opened, actions)
        return int(found[0]) if alone else found

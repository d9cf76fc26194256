"""The bases that all families of environments share, on a small family of their own."""

import copy
import pickle
import warnings
from dataclasses import dataclass

import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from llmqueue_gym.engines.state import SKIP, START
from llmqueue_gym.envs.arguments import check_counts
from llmqueue_gym.envs.episodes import Episodes
from llmqueue_gym.envs.scalar import CompiledEnv
from llmqueue_gym.envs.vector import CompiledVectorEnv
from llmqueue_gym.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class PileConfig:
    most: int = 9

    def __post_init__(self):
        check_counts(self, "most")

    def spaces(self):
        seen = {"jobs": Box(0, np.inf, (1, 1)), "system": Box(0, np.inf, (2,)), "action_mask": MultiBinary(3)}
        return Dict(seen), Discrete(3)


class Piles(Episodes):
    """A pile of equal jobs, of which up to 3 are served each second; 3 at once is not open where fewer are left."""

    config_type = PileConfig

    def __init__(self, config, size):
        super().__init__(config, size)
        self.left, self.began = np.zeros(size, np.int64), np.zeros(size, np.int64)

    def lay_out(self, e, seed):
        self.began[e] = self.left[e] = np.random.default_rng(seed).integers(1, self.config.most + 1)
        self.steps[e] = 0

    def advance(self):
        for e in np.flatnonzero(self.actions != SKIP):
            step, action = self.steps[e], self.actions[e]
            step["illegal"], step["dt"], step["reward"] = False, 0.0, 0.0
            if action != START:
                step["illegal"] = action >= self.left[e]
                step["dt"], step["reward"] = 1.0, -self.left[e]
                step["clock"] += 1
                self.left[e] -= 1 if step["illegal"] else action + 1
            step["in_system"], step["terminated"] = self.left[e], self.left[e] == 0
            self.observation["jobs"][e] = self.left[e]
            self.observation["system"][e] = step["clock"], step["dt"]
            self.observation["action_mask"][e] = np.arange(3) < self.left[e]

    def count(self, e):
        return int(self.began[e])

    def response_times(self):
        return np.tile(self.steps["clock"], (self.config.most, 1)).T

    def metrics(self, e):
        return {"seconds": float(self.steps["clock"][e])}


class PileEnv(CompiledEnv):
    batch_type = Piles


class PileVectorEnv(CompiledVectorEnv):
    batch_type = Piles


def equal(a, b):
    """Compare nested infos, observations and arrays."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            equal(a[key], b[key])
    elif isinstance(a, tuple) or (isinstance(a, np.ndarray) and a.dtype == object):
        for x, y in zip(a, b, strict=True):
            equal(x, y)
    else:
        np.testing.assert_array_equal(a, b)


def test_gymnasium_accepts_a_family_of_one_class_of_episodes():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Box observation space (minimum|maximum) value is .*infinity.*")
        check_env(PileEnv(), skip_render_check=True)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_its_vector_environment_equals_a_loop_over_scalar_ones(mode):
    ours = PileVectorEnv(num_envs=4, autoreset_mode=mode, copy=True, most=5)
    loop = SyncVectorEnv([lambda: PileEnv(most=5)] * 4, autoreset_mode=mode)
    equal(ours.reset(seed=2), loop.reset(seed=2))
    rng, ends = np.random.default_rng(0), 0
    for _ in range(60):
        actions = rng.integers(3, size=4)
        mine = ours.step(actions)
        equal(mine, loop.step(actions))
        ends += int(mine[2].sum())
    assert ends > 40


def test_an_episode_by_hand():
    env = PileEnv(most=1)
    observation, info = env.reset(seed=0)
    assert list(observation) == ["jobs", "system", "action_mask"] and info["n_in_system"] == 1
    np.testing.assert_array_equal(env.action_masks(), [1, 0, 0])
    _, reward, terminated, truncated, info = env.step(2)
    assert (reward, terminated, truncated) == (-1.0, True, False)
    assert info["illegal_action"] and info["episode_metrics"] == {"seconds": 1.0}
    np.testing.assert_array_equal(env.response_times, [1.0])
    with pytest.raises(ResetNeeded):
        env.step(0)


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_copies_share_nothing(twin):
    env = PileEnv()
    env.reset(seed=next(s for s in range(99) if np.random.default_rng(s).integers(1, 10) == 9))
    other = twin(env)
    other.step(2)
    assert env.step(0)[1] == -9.0
    assert (env._batch.left[0], other._batch.left[0]) == (8, 6)


def test_bad_use_is_an_error():
    with pytest.raises(BadInput, match="most=0"):
        PileEnv(most=0)
    with pytest.raises(BadInput, match="num_envs=0"):
        PileVectorEnv(num_envs=0)
    env = PileEnv()
    env.reset(seed=0)
    with pytest.raises(BadInput, match="action 3 is not in the action space: choose 0 to 2"):
        env.step(3)


def test_episodes_that_cannot_advance_cannot_be_made():
    class Idle(Episodes):
        config_type = PileConfig

    with pytest.raises(TypeError, match="advance"):
        Idle(PileConfig(), 1)

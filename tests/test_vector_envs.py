"""The compiled vector environment: the same numbers as scalar environments, in Gymnasium's three autoreset modes."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import llmqueue_gym  # noqa: F401 (registers the ids)
from llmqueue_gym.envs import ENVIRONMENTS
from llmqueue_gym.envs.baseline import RankAgent
from llmqueue_gym.errors import BadInput
from llmqueue_gym.workloads.toy import Toy

NAMES = [name for name in ENVIRONMENTS if "MG1" in name]
MG1, PREEMPTIVE = NAMES
MODES = list(AutoresetMode)
SMALL = {"n_jobs": 12, "slots": 4, "load": 0.9}
N = 3


def equal(a, b, where=""):
    """Compare nested infos, observations and arrays, types of arrays included."""
    if isinstance(a, dict):
        assert a.keys() == b.keys(), (where, a.keys() ^ b.keys())
        for key in a:
            equal(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, tuple) or (isinstance(a, np.ndarray) and a.dtype == object):
        for x, y in zip(a, b, strict=True):
            equal(x, y, where)
    elif a is None:
        assert b is None, where
    else:
        assert np.asarray(a).dtype == np.asarray(b).dtype, where
        np.testing.assert_array_equal(a, b, err_msg=where)


def pair(name, mode, **kwargs):
    """The compiled vector environment and Gymnasium's loop over scalar ones."""
    kwargs = {**SMALL, **kwargs}
    compiled = gym.make_vec(name, num_envs=N, autoreset_mode=mode, copy=True, **kwargs)
    loop = SyncVectorEnv([lambda: gym.make(name, **kwargs) for _ in range(N)], autoreset_mode=mode)
    return compiled, loop


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("horizon", [np.inf, 8.0])
def test_the_vector_environment_equals_a_loop_over_scalar_ones(name, mode, horizon):
    compiled, loop = pair(name, mode, horizon=horizon)
    assert compiled.metadata["autoreset_mode"] is mode
    for space in ("observation_space", "action_space", "single_observation_space", "single_action_space"):
        assert getattr(compiled, space) == getattr(loop, space)
    equal(loop.reset(seed=5), compiled.reset(seed=5))
    rng, ends = np.random.default_rng(0), 0
    for _ in range(80):
        actions = rng.integers(4, size=N)  # some of them name empty slots
        expected, got = loop.step(actions), compiled.step(actions)
        equal(expected, got)
        assert got[0] in compiled.observation_space
        over = got[2] | got[3]
        ends += over.sum()
        if mode is AutoresetMode.DISABLED and over.any():
            with pytest.raises(ResetNeeded):
                compiled.step(actions)
            equal(loop.reset(options={"reset_mask": over}), compiled.reset(options={"reset_mask": over}))
    assert ends > 5


@pytest.mark.parametrize("mode", MODES)
def test_seed_lists_and_unseeded_resets(mode):
    compiled, loop = pair(MG1, mode)
    for seed in ([9, None, 2], None):
        if seed:
            compiled.reset(seed=1)
            loop.reset(seed=1)
        equal(loop.reset(seed=seed), compiled.reset(seed=seed))
    assert compiled.np_random_seed == loop.np_random_seed == (9, 2, 2)
    assert [r.random() for r in compiled.np_random] == [r.random() for r in loop.np_random]
    fresh, _ = pair(MG1, mode)
    fresh.reset()
    fresh.step(np.zeros(N, int))


@pytest.mark.parametrize(("name", "rule"), [(MG1, "spjf"), (PREEMPTIVE, "sprpt")])
def test_a_policy_plays_a_batch_as_it_plays_one(name, rule):
    vector = gym.make_vec(name, num_envs=4, n_jobs=60, autoreset_mode="SameStep")
    agent = RankAgent(rule, vector.unwrapped.config)
    observation, _ = vector.reset(seed=20)
    means = {}
    while len(means) < 4:
        observation, _, _, _, infos = vector.step(agent.act(observation))
        for e in np.flatnonzero(infos.get("_final_info", ())):
            means.setdefault(e, infos["final_info"]["episode_metrics"]["mean_response_time"][e])
    for e, mean in means.items():
        env = gym.make(name, n_jobs=60)
        env.reset(seed=20 + int(e))
        terminated = False
        while not terminated:
            _, _, terminated, _, info = env.step(agent.act_env(env))
        assert mean == pytest.approx(info["episode_metrics"]["mean_response_time"], abs=1e-9)


def test_episodes_of_different_lengths_share_a_batch():
    class Ragged:
        def sample(self, n, arrival_rng, size_rng):
            return Toy().sample(int(arrival_rng.integers(2, 6)), None, None)

    compiled, loop = pair(PREEMPTIVE, AutoresetMode.SAME_STEP, workload=Ragged())
    equal(loop.reset(seed=0), compiled.reset(seed=0))
    for _ in range(60):
        expected, got = loop.step(np.zeros(N, int)), compiled.step(np.zeros(N, int))
        equal(expected, got)


def test_observations_are_written_in_place_unless_copied():
    vector = gym.make_vec(PREEMPTIVE, num_envs=N)
    first, _ = vector.reset(seed=0)
    second, *_ = vector.step(np.zeros(N, int))
    assert all(np.shares_memory(first[key], second[key]) for key in first)
    vector = gym.make_vec(PREEMPTIVE, num_envs=N, copy=True)
    first, _ = vector.reset(seed=0)
    second, *_ = vector.step(np.zeros(N, int))
    assert not any(np.shares_memory(first[key], second[key]) for key in first)


def test_masks():
    vector = gym.make_vec(MG1, num_envs=N)
    observation, infos = vector.reset(seed=0)
    masks = vector.unwrapped.action_masks()
    assert masks.shape == (N, 16) and masks.dtype == np.int8
    np.testing.assert_array_equal(masks, observation["action_mask"])
    np.testing.assert_array_equal(masks, infos["action_mask"])
    actions = vector.action_space.sample()
    assert actions.shape == (N,)


def test_bad_use_is_an_error():
    with pytest.raises(BadInput, match="num_envs=0"):
        gym.make_vec(MG1, num_envs=0)
    with pytest.raises(BadInput, match="autoreset_mode='never'"):
        gym.make_vec(MG1, num_envs=N, autoreset_mode="never")
    with pytest.raises(TypeError, match="sloots"):
        gym.make_vec(MG1, num_envs=N, sloots=3)
    vector = gym.make_vec(MG1, num_envs=N, **SMALL)
    with pytest.raises(ResetNeeded):
        vector.step(np.zeros(N, int))
    with pytest.raises(BadInput, match="2 seeds"):
        vector.reset(seed=[1, 2])
    for mask in (np.zeros(N, bool), np.ones(N + 1, bool), np.ones(N), [True] * N):
        with pytest.raises(BadInput, match="reset_mask"):
            vector.reset(options={"reset_mask": mask})
    with pytest.raises(BadInput, match="speed"):
        vector.reset(options={"speed": 1})
    vector.reset(seed=0)
    with pytest.raises(BadInput, match="action 4"):
        vector.step(np.array([0, 4, 0]))
    with pytest.raises(BadInput, match="action -2"):
        vector.step(np.array([0, -2, 0]))
    with pytest.raises(BadInput, match="shape"):
        vector.step(np.zeros((N, 1), int))
    with pytest.raises(TypeError):
        vector.step(np.zeros(N))


def test_episode_statistics_wrapper():
    vector = gym.wrappers.vector.RecordEpisodeStatistics(gym.make_vec(MG1, num_envs=N, **SMALL))
    vector.reset(seed=0)
    ends = 0
    for _ in range(60):
        *_, infos = vector.step(np.zeros(N, int))
        for e in np.flatnonzero(infos.get("_episode", ())):
            metrics = infos["episode_metrics"]
            assert infos["episode"]["r"][e] == pytest.approx(-metrics["mean_response_time"][e] * metrics["jobs"][e])
            ends += 1
    assert ends > 3

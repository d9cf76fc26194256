"""The scalar environments: Gymnasium's contract, observations, rewards, masks and ends."""

import copy
import pickle
import warnings
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import RecordEpisodeStatistics
from mg1_runs import MG1, NAMES, PREEMPTIVE, Recorded, play, same

import llmqueue_gym
from llmqueue_gym.envs.baseline import RankAgent
from llmqueue_gym.envs.config import MG1Config
from llmqueue_gym.envs.observation import FEATURES, SYSTEM
from llmqueue_gym.envs.rewards import REWARDS
from llmqueue_gym.errors import BadInput
from llmqueue_gym.jobs import Instance
from llmqueue_gym.predictors import Predictor
from llmqueue_gym.workloads import Toy, Workload


@pytest.mark.parametrize("name", NAMES)
def test_gymnasium_accepts_the_environment(name):
    env = gym.make(name)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Box observation space (minimum|maximum) value is .*infinity.*")
        check_env(env.unwrapped)


@dataclass(frozen=True)
class Weighted:
    inner: Workload

    def sample(self, n, arrival_rng, size_rng):
        jobs, sizes = self.inner.sample(n, arrival_rng, size_rng)
        jobs["weight"] = 1 + np.arange(n) % 3
        return Instance(jobs, sizes)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("reward", REWARDS)
def test_the_return_is_minus_the_total_cost(name, reward):
    workload = Weighted(Workload(llmqueue_gym.size_law("weibull:shape=0.7"), 0.8))
    env = gym.make(name, workload=workload, reward=reward, n_jobs=200, quantum=0.5 if name == PREEMPTIVE else np.inf)
    total = play(env, RankAgent("spjf", env.unwrapped.config), 5)
    jobs, sizes = env.unwrapped.config.draw(5)
    cost = {"response_time": 1.0, "weighted": jobs["weight"], "slowdown": 1 / sizes}[reward]
    assert total == pytest.approx(-np.sum(cost * (env.unwrapped.outcome["completion"] - jobs["arrival"])))


@pytest.mark.parametrize("name", NAMES)
def test_seeds_are_obeyed(name):
    first, second = gym.make(name, n_jobs=30), gym.make(name, n_jobs=30)
    agent = RankAgent("fcfs", first.unwrapped.config)
    assert play(first, agent, 7) == play(second, agent, 7)
    assert play(first, agent) == play(second, agent)  # the later episodes too
    assert play(first, agent) != play(second, agent, 7)
    play(gym.make(name, n_jobs=3), agent)  # a reset without any seed


def test_the_first_episode_has_the_jobs_of_the_seed():
    env = gym.make(MG1, n_jobs=40)
    env.reset(seed=11)
    config = env.unwrapped.config
    jobs, _ = llmqueue_gym.draw(config.source, config.bound_predictor, 40, 11)
    assert env.unwrapped.visible_jobs()["predicted"] == jobs["predicted"][0]
    assert env.unwrapped.visible_jobs()["arrival"] == jobs["arrival"][0]


@pytest.mark.parametrize("name", NAMES)
def test_the_observation_shows_the_first_jobs_in_system(name):
    env = gym.make(name, load=1.5, n_jobs=200, slots=5)
    observation, info = env.reset(seed=2)
    rng, unseen = np.random.default_rng(0), 0
    for _ in range(120):
        rows, table = env.unwrapped.visible_jobs(), observation["jobs"]
        columns = {key: table[:, k] for k, key in enumerate(FEATURES)}
        n = len(rows)
        assert n == min(5, info["n_in_system"]) and (np.diff(rows["arrival"]) >= 0).all()
        np.testing.assert_array_equal(columns["present"], np.arange(5) < n)
        for key in ("predicted", "age", "weight"):
            np.testing.assert_array_equal(columns[key][:n], rows[key].astype(np.float32))
        np.testing.assert_allclose(columns["time_in_system"][:n], info["clock"] - rows["arrival"], rtol=1e-6)
        np.testing.assert_array_equal(columns["in_service"][:n], rows["status"] == 2)
        assert not table[n:].any()
        system = dict(zip(SYSTEM, observation["system"], strict=True))
        assert system["in_system"] == info["n_in_system"] and system["unseen"] == info["n_in_system"] - n
        assert system["since_decision"] == np.float32(info["dt"])
        unseen = max(unseen, system["unseen"])
        observation, _, _, _, info = env.step(int(rng.integers(n)))
    assert unseen > 0


@dataclass(frozen=True)
class Fixed(Predictor):
    """Predictions that are given."""

    values: tuple

    def predict(self, sizes, rng):
        return np.array(self.values)


@pytest.mark.parametrize("name", NAMES)
def test_the_truth_of_unfinished_jobs_is_not_in_the_observation(name):
    instance = MG1Config(load=0.9, n_jobs=100).draw(3)
    fixed = Fixed(tuple(instance.jobs["predicted"]))

    def observations(sizes, steps):
        env = gym.make(name, workload=Recorded(Instance(instance.jobs, sizes)), predictor=fixed, n_jobs=100)
        seen = [env.reset(seed=0)]
        for _ in range(steps):
            observation, *_, info = env.step(0)
            seen.append((observation, info))
        return env, seen

    env, before = observations(instance.sizes, 30)
    untouched = np.flatnonzero(np.isnan(env.unwrapped.outcome["start"]))
    assert len(untouched) > 10
    sizes = instance.sizes.copy()
    sizes[untouched] = np.random.default_rng(0).permutation(sizes[untouched])
    _, after = observations(sizes, 30)
    for (a, info_a), (b, info_b) in zip(before, after, strict=True):
        same(a, b)
        same(info_a, info_b)


def test_masks_are_offered_in_all_three_ways():
    env = gym.make(PREEMPTIVE, slots=4, load=1.2, n_jobs=50)
    observation, info = env.reset(seed=1)
    for _ in range(30):
        mask = env.get_wrapper_attr("action_masks")()
        assert mask.dtype == observation["action_mask"].dtype == info["action_mask"].dtype == np.int8
        np.testing.assert_array_equal(mask, observation["action_mask"])
        np.testing.assert_array_equal(mask, info["action_mask"])
        assert mask.sum() == min(4, info["n_in_system"])
        observation, _, terminated, _, info = env.step(env.action_space.sample(mask))
        assert not terminated and "illegal_action" not in info


def test_an_empty_slot_stands_for_the_earliest_job():
    env, twin = gym.make(MG1), gym.make(MG1)
    env.reset(seed=1)
    twin.reset(seed=1)
    observation, reward, _, _, info = env.step(15)
    expected = twin.step(0)
    assert info.pop("illegal_action") is True and reward == expected[1]
    same(observation, expected[0])
    same(info, expected[4])


def test_actions_outside_the_space_are_errors():
    env = gym.make(MG1).unwrapped
    env.reset(seed=1)
    for action in (-1, 16):
        with pytest.raises(BadInput, match=str(action)):
            env.step(action)
    with pytest.raises(TypeError):
        env.step(0.5)


@pytest.mark.parametrize("name", NAMES)
def test_the_horizon_truncates_and_the_last_job_terminates(name):
    env = gym.make(name, horizon=20.0, load=2.0, n_jobs=1000).unwrapped
    env.reset(seed=1)
    over = False
    while not over:
        _, _, terminated, over, info = env.step(0)
        assert not terminated and over == (info["clock"] >= 20)
    done = np.isfinite(env.outcome["completion"])
    assert info["episode_metrics"]["jobs"] == done.sum() > 0
    jobs, _ = env.config.draw(1)
    response = (env.outcome["completion"] - jobs["arrival"])[done]
    assert info["episode_metrics"]["mean_response_time"] == pytest.approx(response.mean())
    with pytest.raises(ResetNeeded):
        env.step(0)
    env.reset()
    env.step(0)

    env = gym.make(name, horizon=1e-9, workload=Toy(), predictor="exact").unwrapped
    env.reset(seed=1)
    assert env.step(0)[2:4] == (False, True)
    env = gym.make(name, horizon=1.0, n_jobs=1).unwrapped  # drained beyond the horizon: the end, not a cut
    ends = set()
    for seed in range(20):
        env.reset(seed=seed)
        *_, terminated, truncated, info = env.step(0)
        assert terminated and not truncated and info["episode_metrics"]["jobs"] == 1
        ends.add(info["clock"] >= 1)
    assert ends == {True, False}


def test_stepping_before_reset_is_an_error():
    with pytest.raises(ResetNeeded):
        gym.make(MG1).unwrapped.step(0)


def test_a_quantum_gives_more_decisions_and_never_hangs():
    steps = {}
    for quantum in (np.inf, 0.1, 1e-300):
        env = gym.make(PREEMPTIVE, quantum=quantum, n_jobs=50)
        env.reset(seed=1)
        steps[quantum], terminated = 0, False
        while not terminated and steps[quantum] < 2000:
            *_, terminated, _, info = env.step(0)
            steps[quantum] += 1
            assert info["dt"] <= quantum or info["n_in_system"] or terminated
    assert steps[np.inf] < steps[0.1] < steps[1e-300] == 2000


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_copies_go_their_own_way(twin):
    env = gym.make(PREEMPTIVE, n_jobs=60).unwrapped
    env.reset(seed=1)
    for _ in range(10):
        env.step(0)
    other = twin(env)
    for _ in range(10):
        other.step(0)
    ours = [env.step(0) for _ in range(20)]
    theirs = [other.step(0) for _ in range(10)]
    for a, b in zip(ours[10:], theirs, strict=True):
        same(a[0], b[0])
        assert a[1:4] == b[1:4]


def test_episode_statistics_wrapper():
    env = RecordEpisodeStatistics(gym.make(MG1, n_jobs=30))
    env.reset(seed=0)
    terminated = False
    while not terminated:
        _, _, terminated, _, info = env.step(0)
    assert info["episode"]["r"] == pytest.approx(-30 * info["episode_metrics"]["mean_response_time"])


def test_the_package_offers_its_names_without_loading_them():
    import subprocess
    import sys

    code = (
        "import sys, llmqueue_gym, gymnasium; assert not {'numba', 'torch', 'scipy'} & set(sys.modules);"
        "assert 'llmqueue/MG1-v0' in gymnasium.registry; assert set(llmqueue_gym.__all__) <= set(dir(llmqueue_gym));"
        "llmqueue_gym.__version__, llmqueue_gym.policy, llmqueue_gym.predictor, llmqueue_gym.size_law;"
        "gymnasium.make('llmqueue_gym:llmqueue/MG1-v0')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = llmqueue_gym.nonsense


def test_maskable_ppo_learns():
    sb3_contrib = pytest.importorskip("sb3_contrib")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of torch and of stable-baselines3 are not ours
        model = sb3_contrib.MaskablePPO("MultiInputPolicy", gym.make(MG1, n_jobs=50), n_steps=128, n_epochs=2, seed=0)
        model.learn(512)

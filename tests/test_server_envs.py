"""Environments of several servers: the same jobs, picked by a policy, end when they end in the closed loop."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import llmqueue_gym  # noqa: F401 (registers the environments)
from llmqueue_gym.envs.multi_server import MultiServerEnv
from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.cluster import ClusterScenario, play
from llmqueue_gym.evaluation.server_needs import simulate_needs
from llmqueue_gym.policies import policy
from llmqueue_gym.policies.packing import packing_policy
from llmqueue_gym.workloads.toy import Toy

NAMES = [f"llmqueue/{name}-v0" for name in ("MGk", "MGkPreemptive", "Abandonment", "MultiserverJob", "Deadline")]


def played(name, seed, choose=None, **kwargs):
    """Play an episode in which the open job of least rank is always picked, or what `choose` says."""
    env, discipline = MultiServerEnv(**kwargs), policy(name)
    params = discipline.params_for(env.config.law, env.config.bound_predictor)
    _, info = env.reset(seed=seed)
    over = False
    while not over:
        rows = env.visible_jobs().view(np.recarray)
        opens = [k for k in range(len(rows)) if info["action_mask"][k]]
        action = min(opens, key=lambda k: (discipline.rank(rows[k], params), rows[k]["arrival"])) if opens else None
        if choose is not None:
            action = choose(rows, opens, action, len(info["action_mask"]) - 1)
        _, _, terminated, truncated, info = env.step(action)
        over = terminated or truncated
    return env


@pytest.mark.parametrize(
    "name, kwargs",
    [
        ("fcfs", {"servers": 3}),
        ("spjf", {"servers": 1}),
        ("spjf", {"servers": 3, "speeds": (2.0, 1.0, 0.5)}),
        ("sprpt", {"servers": 3, "preemptive": True}),
        ("pspjf", {"servers": 4, "preemptive": True}),
        ("spjf", {"servers": 5, "load": 1.3, "patience": "exponential"}),
    ],
)
def test_env_loop_is_the_closed_loop(name, kwargs):
    told = {"load": 0.9, "n_jobs": 600, **kwargs}
    env = played(name, 5, slots=600, **told)
    run = play(ClusterScenario(**{key: value for key, value in told.items() if key != "preemptive"}), name, 5)
    np.testing.assert_allclose(env.outcome["completion"], run.outcome["completion"], rtol=1e-12)
    np.testing.assert_array_equal(env.outcome["preemptions"], run.outcome["preemptions"])


def test_head_of_line_blocking_is_the_packing_policy():
    def head_only(rows, opens, action, last):
        return 0 if opens and opens[0] == 0 else last

    env = played("fcfs", 3, head_only, servers=8, needs=(1, 2, 4, 8), may_pass=True, load=0.6, n_jobs=400, slots=400)
    instance = env.config.draw(3)
    run = simulate_needs(instance.jobs, instance.sizes, 8, packing_policy("fcfs"))
    np.testing.assert_allclose(env.outcome["completion"], run.outcome["completion"], rtol=1e-9)


@pytest.mark.filterwarnings("ignore:.*A Box observation space maximum value is infinity")
@pytest.mark.parametrize("name", NAMES)
def test_gymnasium_accepts_it(name):
    check_env(gym.make(name, n_jobs=50).unwrapped, skip_render_check=True)


@pytest.mark.parametrize("name", NAMES)
def test_vector_is_scalar(name):
    many = gym.make_vec(name, num_envs=3, n_jobs=300)
    alone = [gym.make(name, n_jobs=300).unwrapped for _ in range(3)]
    seen, infos = many.reset(seed=4)
    first = [env.reset(seed=4 + k) for k, env in enumerate(alone)]
    for _ in range(25):
        for k in range(3):
            for part in ("jobs", "system", "action_mask"):
                np.testing.assert_array_equal(seen[part][k], first[k][0][part])
        actions = infos["action_mask"].argmax(axis=1)
        seen, rewards, _, _, infos = many.step(actions)
        first = []
        for k, env in enumerate(alone):
            observation, reward, terminated, truncated, info = env.step(int(actions[k]))
            assert reward == rewards[k] and not (terminated or truncated)
            first.append((observation, info))


@pytest.mark.parametrize("name", NAMES)
def test_every_job_leaves_once(name):
    env = gym.make(name, n_jobs=300).unwrapped
    rng = np.random.default_rng(0)
    _, info = env.reset(seed=1)
    over, total, steps = False, 0.0, 0
    while not over:
        action = int(rng.choice(np.flatnonzero(info["action_mask"])))
        _, reward, terminated, truncated, info = env.step(action)
        over, total, steps = terminated or truncated, total + reward, steps + 1
    assert terminated and not truncated
    served = ~np.isnan(env.outcome["completion"])
    assert info["episode_metrics"]["jobs"] == served.sum()
    if env.config.per_job:
        assert total == served.sum()
        deadline = env.config.draw(1).jobs["deadline"]
        assert (env.outcome["completion"][served] <= deadline[served]).all()
    else:
        assert served.all()
        assert total == pytest.approx(-env.response_times.sum())


def test_passing_is_open_only_while_something_can_happen():
    """Five jobs, though there is room for more: who always passes must start them in the end."""
    env = MultiServerEnv(servers=2, workload=Toy(), n_jobs=50, may_pass=True)
    _, info = env.reset(seed=0)
    over = False
    while not over:
        open_ones = np.flatnonzero(info["action_mask"])
        _, _, terminated, truncated, info = env.step(int(open_ones[-1]))
        over = terminated or truncated
    assert terminated and info["episode_metrics"]["jobs"] == 5 and np.isfinite(info["clock"])


@pytest.mark.parametrize(
    "kwargs, words",
    [
        ({"servers": 0}, "servers=0"),
        ({"servers": 2, "speeds": (1.0,)}, "1 speeds for 2 servers"),
        ({"servers": 4, "needs": (1, 8)}, "needs 8 servers"),
        ({"firm": True}, "firm=True needs patience"),
        ({"servers": 2, "speeds": (1.0, 2.0), "needs": (2,)}, "leave out speeds"),
    ],
)
def test_bad_arguments_are_named(kwargs, words):
    with pytest.raises(BadInput, match=words):
        gym.make("llmqueue/MGk-v0", **kwargs)

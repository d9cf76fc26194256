"""The environment of a queue for each server: the same jobs, sent by a policy, end when they end in the closed loop."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import llmqueue_gym  # noqa: F401 (registers the environments)
from llmqueue_gym import _jit
from llmqueue_gym.engines import dispatch_steps
from llmqueue_gym.envs.dispatch_agent import DispatchAgent
from llmqueue_gym.envs.dispatch_config import ORDERS, DispatchConfig
from llmqueue_gym.envs.dispatch_observation import FEATURES, SYSTEM
from llmqueue_gym.errors import BadInput, NotApplicable
from llmqueue_gym.evaluation.cluster import ClusterScenario, dispatched, play
from llmqueue_gym.jobs import JOB, Instance, job_table
from llmqueue_gym.policies import policy
from llmqueue_gym.policies.dispatch import dispatch_policy

ID = "llmqueue/Dispatch-v0"
SPEEDS = (2.0, 1.0, 1.0, 0.5, 0.5)
SMALL = {"servers": 5, "speeds": SPEEDS, "load": 0.9, "n_jobs": 300}
SENDERS = [
    ("power-of-d", {"sees": 2}),
    ("power-of-d:d=3", {"sees": 3}),
    ("least-work-left", {"sees": 2}),
    ("least-work-left:d=0", {}),
    ("join-shortest-queue", {}),
    ("random", {"sees": 1}),
    ("one-bit-count", {"sees": 2, "split": 1.0}),
    ("size-interval", {}),
]


class Recorded:
    """Always the same jobs."""

    def __init__(self, instance):
        self.instance = instance

    def sample(self, n, arrival_rng, size_rng):
        return Instance(self.instance.jobs.copy(), self.instance.sizes)


def played(env, agent, seed):
    """Play an episode; return what each step gave: reward, dt, clock, jobs in system."""
    env.reset(seed=seed)
    over, steps = False, []
    while not over:
        _, reward, terminated, truncated, info = env.step(agent.act_env(env))
        steps.append((reward, info["dt"], info["clock"], info["n_in_system"]))
        over = terminated or truncated
    return np.array(steps).T


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("spec", "kwargs"), SENDERS)
def test_env_loop_is_the_closed_loop(spec, kwargs, order):
    env = gym.make(ID, order=order, **SMALL, **kwargs).unwrapped
    rewards, *_ = played(env, DispatchAgent(spec, env.config), 5)
    run = play(ClusterScenario(**SMALL), order, 5, spec)
    for column in ("start", "completion", "preemptions"):
        np.testing.assert_array_equal(env.outcome[column], run.outcome[column])
    assert rewards.sum() == pytest.approx(-run.response_times.sum(), rel=1e-9)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("spec", ["power-of-d", "join-shortest-queue"])
def test_jobs_that_arrive_together_are_treated_as_in_the_closed_loop(spec, order):
    jobs, sizes, *_ = DispatchConfig(**SMALL).draw(8)
    jobs["arrival"], sizes = np.floor(jobs["arrival"]), np.ceil(4 * sizes) / 4
    sender, workload = dispatch_policy(spec), Recorded(Instance(jobs, sizes))
    env = gym.make(ID, workload=workload, order=order, sees=None if sender.looks == "all" else 2, **SMALL).unwrapped
    _, dt, *_ = played(env, DispatchAgent(spec, env.config), 0)
    assert (dt == 0).any()
    told = env.config.law, env.config.bound_predictor
    run = dispatched(env.config.draw(0), sender, policy(order), env.config.server_speeds, *told)
    np.testing.assert_array_equal(env.outcome["completion"], run.outcome["completion"])


@pytest.mark.parametrize("reward", ["response_time", "weighted", "slowdown"])
@pytest.mark.parametrize("kwargs", [{}, {"sees": 2}, {"servers": 1, "speeds": None}])
def test_each_reward_is_the_integral_since_the_last_decision(reward, kwargs):
    env = gym.make(ID, **{**SMALL, "reward": reward, **kwargs}).unwrapped
    spec = "least-work-left" if env.config.sees else "join-shortest-queue"
    rewards, dt, clock, in_system = played(env, DispatchAgent(spec, env.config), 3)
    instance = env.config.draw(3)
    cost, arrival, completion = env.config.cost(instance), instance.jobs["arrival"], env.outcome["completion"]
    ends = np.append(arrival[1:], completion.max())
    np.testing.assert_allclose(clock, ends, rtol=1e-12)
    np.testing.assert_allclose(dt, np.diff(np.append(arrival[0], ends)), rtol=0, atol=1e-9)
    for k, (begin, end) in enumerate(zip(arrival, ends, strict=True)):
        inside = np.clip(np.minimum(end, completion) - np.maximum(begin, arrival), 0, None)
        assert rewards[k] == pytest.approx(-(cost * inside).sum(), rel=1e-9, abs=1e-9)
        assert in_system[k] == ((arrival <= end) & (completion > end)).sum()
    assert rewards.sum() == pytest.approx(-(cost * env.response_times).sum(), rel=1e-9)


@pytest.mark.parametrize("order", ORDERS)
def test_an_order_is_the_policy_of_its_name(order):
    predicted, age = np.meshgrid([0.25, 0.5, 1.0, 3.0], [0.0, 0.3, 1.0, 9.0])
    jobs, numbers = np.zeros(16, JOB).view(np.recarray), np.array(ORDERS[order])
    jobs.predicted, jobs.age = predicted.ravel(), age.ravel()
    affine = getattr(dispatch_steps.affine, "py_func", dispatch_steps.affine)
    for job in jobs:
        assert affine(job, numbers) == policy(order).rank(job, ())
    assert policy(order).shape in ("constant", "falling")


@pytest.mark.filterwarnings("ignore:.*A Box observation space maximum value is infinity")
@pytest.mark.parametrize("kwargs", [{}, {"sees": 2}, {"servers": 1}])
def test_gymnasium_accepts_it(kwargs):
    check_env(gym.make(ID, n_jobs=50, **kwargs).unwrapped, skip_render_check=True)


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


@pytest.mark.parametrize("kwargs", [{}, {"sees": 2}])
@pytest.mark.parametrize("horizon", [np.inf, 2.0])
@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_the_vector_environment_equals_a_loop_over_scalar_ones(mode, horizon, kwargs):
    told = {**SMALL, "n_jobs": 12, "horizon": horizon, **kwargs}
    compiled = gym.make_vec(ID, num_envs=3, autoreset_mode=mode, copy=True, **told)
    loop = SyncVectorEnv([lambda: gym.make(ID, **told) for _ in range(3)], autoreset_mode=mode)
    equal(loop.reset(seed=5), compiled.reset(seed=5))
    rng, ends = np.random.default_rng(0), 0
    for _ in range(60):
        actions = rng.integers(compiled.single_action_space.n, size=3)
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


def test_an_episode_is_cut_off_at_the_first_arrival_from_the_horizon_on():
    env = gym.make(ID, horizon=20.0, **SMALL).unwrapped
    arrival = env.config.draw(1).jobs["arrival"]
    env.reset(seed=1)
    for k in range(1, len(arrival)):
        seen, _, terminated, truncated, info = env.step(0)
        assert info["clock"] == arrival[k] and not terminated
        assert truncated == (arrival[k] >= 20)
        if truncated:
            break
    assert 0 < k < len(arrival) - 1
    assert seen["system"][SYSTEM.index("in_system")] == info["n_in_system"] > 0
    assert info["episode_metrics"]["jobs"] == k + 1 - info["n_in_system"]
    with pytest.raises(ResetNeeded):
        env.step(0)


def test_what_is_seen_of_a_queue_by_hand():
    jobs, sizes = job_table(np.array([0.0, 1.0, 1.0, 3.0])), np.array([4.0, 0.5, 2.0, 1.0])
    told = {"servers": 2, "predictor": "exact", "order": "fcfs", "split": 1.0, "n_jobs": 4}
    env = gym.make(ID, workload=Recorded(Instance(jobs, sizes)), **told).unwrapped
    seen, _ = env.reset(seed=0)
    np.testing.assert_array_equal(seen["jobs"], [[1, 0, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, 1, 1]])
    np.testing.assert_array_equal(seen["system"], [4, 1, 1, 0, 0])
    env.step(0)
    seen, *_ = env.step(0)
    np.testing.assert_array_equal(seen["jobs"], [[1, 2, 4.5, 3.5, 0, 1, 0], [1, 0, 0, 0, 0, 1, 1]])
    np.testing.assert_array_equal(seen["system"], [2, 1, 3, 0, 0])
    seen, reward, *_ = env.step(1)
    np.testing.assert_array_equal(seen["jobs"], [[1, 2, 4.5, 1.5, 1, 1, 0], [1, 0, 0, 0, 0, 1, 1]])
    np.testing.assert_array_equal(seen["system"], [1, 1, 3, 0, 2])
    assert reward == -6.0  # three jobs for 2 s; the one on server 1 leaves at the very time of the arrival
    seen, reward, terminated, _, info = env.step(1)
    assert terminated and (reward, info["dt"], info["n_in_system"]) == (-3.5, 1.5, 0)
    np.testing.assert_array_equal(seen["system"], [0, 0, 0, 0, 1.5])
    np.testing.assert_array_equal(env.response_times, [4.0, 3.5, 2.0, 1.0])


def test_the_number_beyond_the_visible_queues_is_told():
    env = gym.make(ID, sees=2, **SMALL).unwrapped
    seen, info = env.reset(seed=2)
    choices, row = env.config.draw(2).choices, 0
    for k in range(1, 100):
        seen, *_, info = env.step(row)
        row = k % 2
        system = dict(zip(SYSTEM, seen["system"], strict=True))
        queues = dict(zip(FEATURES, seen["jobs"].T, strict=True))
        np.testing.assert_array_equal(queues["server"], choices[k])
        np.testing.assert_array_equal(queues["speed"], np.array(SPEEDS)[choices[k]])
        assert system["in_system"] == info["n_in_system"] == 1 + queues["jobs"].sum() + system["unseen"]


def test_nothing_that_is_seen_tells_a_true_size():
    env = gym.make(ID, predictor="none", order="fcfs", **SMALL).unwrapped
    seen, _ = env.reset(seed=4)
    sizes, over = env.config.draw(4).sizes.astype(np.float32), False
    while not over:
        assert not np.isin(seen["jobs"], sizes).any()
        assert not np.isin(seen["system"], sizes).any()
        assert (seen["jobs"][:, [FEATURES.index("work"), FEATURES.index("work_left")]] == 0).all()
        seen, _, over, _, _ = env.step(int(seen["jobs"][:, FEATURES.index("jobs")].argmin()))


@pytest.mark.parametrize(("spec", "kwargs"), SENDERS)
def test_the_agent_reads_the_observation_alone(spec, kwargs):
    many = gym.make_vec(ID, num_envs=3, **SMALL, **kwargs)
    alone = [gym.make(ID, **SMALL, **kwargs).unwrapped for _ in range(3)]
    agent = DispatchAgent(spec, many.unwrapped.config)
    seen, _ = many.reset(seed=6)
    first = [env.reset(seed=6 + k)[0] for k, env in enumerate(alone)]
    for _ in range(100):
        actions = agent.act(seen, many.unwrapped.ties)
        assert [agent.act(one, env.ties) for one, env in zip(first, alone, strict=True)] == actions.tolist()
        assert [agent.act_env(env) for env in alone] == actions.tolist()
        seen = many.step(actions)[0]
        first = [env.step(action)[0] for env, action in zip(alone, actions, strict=True)]


def test_a_score_of_the_users_own_is_as_good():
    def fewest(job, queue, params):
        return queue.jobs / queue.speed

    for spec, sees in (("power-of-d:d=3", 3), ("join-shortest-queue", None)):
        env = gym.make(ID, sees=sees, **SMALL).unwrapped
        played(env, DispatchAgent(fewest, env.config), 2)
        own = env.outcome["completion"]
        played(env, DispatchAgent(spec, env.config), 2)
        np.testing.assert_array_equal(own, env.outcome["completion"])


@pytest.mark.skipif(_jit.DISABLED, reason="nothing is compiled")
def test_one_signature_serves_every_order():
    for order in ORDERS:
        env = gym.make(ID, order=order, sees=2, n_jobs=5).unwrapped
        played(env, DispatchAgent("least-work", env.config), 0)
    assert len(dispatch_steps.step_batch.signatures) == len(dispatch_steps.least_score.signatures) == 1


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"servers": 0}, "servers=0 must be a whole number of at least 1"),
        ({"servers": 2, "speeds": (1.0,)}, "1 speeds for 2 servers"),
        ({"servers": 4, "sees": 5}, "sees=5 queues of 4; choose 1 to 4, or None"),
        ({"sees": 0}, "sees=0"),
        ({"order": "sprtp"}, "unknown order 'sprtp'; did you mean 'sprpt'"),
        ({"order": None}, "unknown order None"),
        ({"split": 0.0}, "split=0.0 must be a positive number"),
        ({"load": -1.0}, "load=-1.0"),
        ({"reward": "money"}, "unknown reward 'money'"),
    ],
)
def test_bad_arguments_are_named(kwargs, words):
    with pytest.raises(BadInput, match=words) as caught:
        gym.make(ID, **kwargs)
    assert "\n" not in str(caught.value)


def test_an_order_by_prediction_needs_predictions():
    with pytest.raises(NotApplicable, match="predicts nothing"):
        gym.make(ID, predictor="none")


def test_agents_that_do_not_fit_are_refused_in_one_line():
    for given, kwargs, words in (
        ("power-of-d", {}, "needs an environment with sees=2, not None"),
        ("join-shortest-queue", {"sees": 2}, "needs an environment with sees=None, not 2"),
        ("round-robin", {}, "job i takes action i % 10"),
        ("one-bit-count", {"sees": 2}, "split=1, not inf"),
        ("power-of-two", {"sees": 2}, "power-of-d"),
    ):
        with pytest.raises(BadInput, match=words) as caught:
            DispatchAgent(given, **kwargs)
        assert "\n" not in str(caught.value)

    def nothing(job, queue, params):
        return np.nan

    env = gym.make(ID).unwrapped
    env.reset(seed=0)
    with pytest.raises(BadInput, match="'nothing' gives score NaN"):
        DispatchAgent(nothing).act_env(env)

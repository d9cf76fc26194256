"""The environment of a queue for each server: the same jobs, sent by a policy, end when they end in the closed loop."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from played import Recorded, finish, same_outcome, together

import llmqueue_gym  # noqa: F401 (registers the environments)
from llmqueue_gym import _jit
from llmqueue_gym.engines import dispatch_steps
from llmqueue_gym.envs.opened import baseline_agent
from llmqueue_gym.errors import BadInput, NotApplicable
from llmqueue_gym.jobs import JOB, job_table
from llmqueue_gym.policies import policy
from llmqueue_gym.systems import Drawn
from llmqueue_gym.systems.dispatch import STEP_ORDERS

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


def made(**given):
    return gym.make(ID, **given).unwrapped


def played(env, spec, seed):
    """Play an episode; return what each step gave: reward, dt, clock, jobs in system."""
    agent, steps, over = baseline_agent(spec, env), [], False
    env.reset(seed=seed)
    while not over:
        _, reward, over, _, info = env.step(agent.act_env(env))
        steps.append((reward, info["dt"], info["clock"], info["n_in_system"]))
    return np.array(steps).T


@pytest.mark.parametrize("order", STEP_ORDERS)
@pytest.mark.parametrize(("spec", "view"), SENDERS)
def test_env_loop_is_the_closed_loop(spec, view, order):
    env = made(order=order, **SMALL, **view)
    played(env, spec, 5)
    same_outcome(env.run(), env.scenario.simulate(spec, 5))


@pytest.mark.parametrize("order", STEP_ORDERS)
@pytest.mark.parametrize(("spec", "sees"), [("power-of-d", 2), ("join-shortest-queue", None)])
def test_jobs_that_arrive_together_are_treated_as_in_the_closed_loop(spec, sees, order):
    drawn = together(made(**SMALL).scenario.draw(8), 1.0)
    work = Recorded(drawn._replace(truth={"sizes": np.ceil(4 * drawn.sizes) / 4}))
    env = made(workload=work, order=order, sees=sees, **SMALL)
    _, dt, *_ = played(env, spec, 0)
    assert (dt == 0).any()
    same_outcome(env.run(), env.scenario.simulate(spec, 0))


@pytest.mark.parametrize("reward", ["response_time", "slowdown"])
@pytest.mark.parametrize("given", [{}, {"sees": 2}, {"servers": 1, "speeds": None}])
def test_each_reward_is_what_came_since_the_last_decision(reward, given):
    """The integral of the cost, or, where the cost would give sizes away, all of it when a job leaves."""
    env = made(**{**SMALL, "reward": reward, **given})
    rewards, dt, clock, in_system = played(env, "least-work-left" if env.view.sees else "join-shortest-queue", 3)
    cost, arrival = env.view.costs(env.scenario.draw(3)), env.run().jobs["arrival"]
    completion = env.outcome["completion"]
    ends = np.append(arrival[1:], completion.max())
    np.testing.assert_allclose(clock, ends, rtol=1e-12)
    np.testing.assert_allclose(dt, np.diff(np.append(arrival[0], ends)), rtol=0, atol=1e-9)
    for k, (begin, end) in enumerate(zip(arrival, ends, strict=True)):
        inside = np.clip(np.minimum(end, completion) - np.maximum(begin, arrival), 0, None)
        left = (completion > begin) & (completion <= end)
        paid = inside if reward == "response_time" else (completion - arrival) * left
        assert rewards[k] == pytest.approx(-(cost * paid).sum(), rel=1e-9, abs=1e-9)
        assert in_system[k] == ((arrival <= end) & (completion > end)).sum()


@pytest.mark.parametrize("order", STEP_ORDERS)
def test_an_order_is_the_policy_of_its_name(order):
    predicted, age = np.meshgrid([0.25, 0.5, 1.0, 3.0], [0.0, 0.3, 1.0, 9.0])
    jobs, numbers = np.zeros(16, JOB).view(np.recarray), np.array(STEP_ORDERS[order])
    jobs.predicted, jobs.age = predicted.ravel(), age.ravel()
    affine = getattr(dispatch_steps.affine, "py_func", dispatch_steps.affine)
    for job in jobs:
        assert affine(job, numbers) == policy(order).rank(job, ())
    assert policy(order).shape in ("constant", "falling")


def test_an_episode_is_cut_off_at_the_first_arrival_from_the_horizon_on():
    env = made(horizon=20.0, scaled=False, **SMALL)
    arrival = env.scenario.draw(1).work["arrival"]
    env.reset(seed=1)
    for k in range(1, len(arrival)):
        seen, _, terminated, truncated, info = env.step(0)
        assert info["clock"] == arrival[k] and not terminated and truncated == (arrival[k] >= 20)
        if truncated:
            break
    assert 0 < k < len(arrival) - 1
    assert dict(zip(env.view.system, seen["system"], strict=True))["in_system"] == info["n_in_system"] > 0
    assert info["episode_metrics"]["jobs"] == k + 1 - info["n_in_system"]
    with pytest.raises(ResetNeeded):
        env.step(0)


def test_what_is_seen_of_a_queue_by_hand():
    drawn = Drawn(job_table(np.array([0.0, 1.0, 1.0, 3.0])), {"sizes": np.array([4.0, 0.5, 2.0, 1.0])})
    env = made(workload=Recorded(drawn), servers=2, predictor="exact", order="fcfs", split=1.0, n_jobs=4, scaled=False)
    seen, _ = env.reset(seed=0)
    np.testing.assert_array_equal(seen["jobs"], [[1, 0, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, 1, 1]])
    np.testing.assert_array_equal(seen["system"][:5], [4, 1, 1, 0, 0])
    env.step(0)
    seen, *_ = env.step(0)
    np.testing.assert_array_equal(seen["jobs"], [[1, 2, 4.5, 3.5, 0, 1, 0], [1, 0, 0, 0, 0, 1, 1]])
    np.testing.assert_array_equal(seen["system"][:5], [2, 1, 3, 0, 0])
    seen, reward, *_ = env.step(1)
    np.testing.assert_array_equal(seen["jobs"], [[1, 2, 4.5, 1.5, 1, 1, 0], [1, 0, 0, 0, 0, 1, 1]])
    np.testing.assert_array_equal(seen["system"][:5], [1, 1, 3, 0, 2])
    assert reward == -6.0  # three jobs for 2 s; the one on server 1 leaves at the very time of the arrival
    seen, reward, terminated, _, info = env.step(1)
    assert terminated and (reward, info["dt"], info["n_in_system"]) == (-3.5, 1.5, 0)
    np.testing.assert_array_equal(seen["system"], [0, 0, 0, 0, 1.5, 0])
    np.testing.assert_array_equal(env.response_times, [4.0, 3.5, 2.0, 1.0])


def test_the_number_beyond_the_visible_queues_is_told():
    env = made(sees=2, scaled=False, **SMALL)
    seen, info = env.reset(seed=2)
    choices, row = env.episodes.draw(2).truth["choices"], 0
    for k in range(1, 100):
        seen, *_, info = env.step(row)
        row = k % 2
        system = dict(zip(env.view.system, seen["system"], strict=True))
        queues = dict(zip(env.view.jobs, seen["jobs"].T, strict=True))
        np.testing.assert_array_equal(queues["index"], choices[k])
        np.testing.assert_array_equal(queues["speed"], np.array(SPEEDS)[choices[k]])
        assert system["in_system"] == info["n_in_system"] == 1 + queues["jobs"].sum() + system["unseen"]


@pytest.mark.parametrize(("spec", "view"), SENDERS)
def test_the_agent_reads_the_observation_alone(spec, view):
    many = gym.make_vec(ID, num_envs=3, **SMALL, **view)
    alone = [made(**SMALL, **view) for _ in range(3)]
    agent, (seen, _) = baseline_agent(spec, many), many.reset(seed=6)
    first = [env.reset(seed=6 + k)[0] for k, env in enumerate(alone)]
    for _ in range(100):
        actions = agent.act(seen)
        assert [agent.act(one) for one in first] == [agent.act_env(env) for env in alone] == actions.tolist()
        seen = many.step(actions)[0]
        first = [env.step(action)[0] for env, action in zip(alone, actions, strict=True)]


def test_a_score_of_the_users_own_is_as_good():
    def fewest(job, queue, params):
        return queue.jobs / queue.speed

    for spec, sees in (("power-of-d:d=3", 3), ("join-shortest-queue", None)):
        env = made(sees=sees, **SMALL)
        own = policy_of(env, fewest, sees)
        played(env, own, 2)
        ours = env.run()
        played(env, spec, 2)
        np.testing.assert_array_equal(ours.outcome["completion"], env.outcome["completion"])


def policy_of(env, function, sees):
    made = env.scenario.system.policies.made
    return made.from_function(function, **({"looks": "all"} if sees is None else {"looks": "sample", "d": sees}))


@pytest.mark.skipif(_jit.DISABLED, reason="nothing is compiled")
def test_one_signature_serves_every_order():
    for order in STEP_ORDERS:
        finish(made(order=order, sees=2, n_jobs=5), lambda _: 0, 0)
    assert len(dispatch_steps.step_batch.signatures) == 1


def test_what_cannot_be_is_said_in_one_line():
    for told, words in (
        ({"servers": 4, "sees": 5}, "sees=5 queues of 4; choose 1 to 4, or None"),
        ({"order": "sprtp"}, "unknown policy 'sprtp'; did you mean 'sprpt'"),
        ({"order": "las"}, "order='las'.*choose from: fcfs, spjf, pspjf, sprpt"),
        ({"split": 0.0}, "split=0.0 must be a positive number"),
        ({"predictor": "none"}, "predicts nothing"),
    ):
        with pytest.raises(BadInput, match=words) as caught:
            made(**told)
        assert "\n" not in str(caught.value)
    assert caught.type is NotApplicable


def test_agents_that_do_not_fit_are_refused_in_one_line():
    for given, view, words in (
        ("power-of-d", {}, "needs an environment with sees=2, not None"),
        ("join-shortest-queue", {"sees": 2}, "needs an environment with sees=None, not 2"),
        ("round-robin", {}, "job i takes action i % 10"),
        ("one-bit-count", {"sees": 2}, "split=1.0, not inf"),
        ("power-of-two", {"sees": 2}, "power-of-d"),
    ):
        with pytest.raises(BadInput, match=words) as caught:
            baseline_agent(given, made(**view))
        assert "\n" not in str(caught.value)
    env = made()
    env.reset(seed=0)
    with pytest.raises(BadInput, match="'<lambda>' gives score NaN"):
        baseline_agent(policy_of(env, lambda job, queue, params: np.nan, None), env).act_env(env)

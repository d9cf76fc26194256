"""What a standard learner is given: the same episodes, in which what a policy by hand does is one action."""

import gymnasium as gym
import numpy as np
import pytest
from played import equal

from llmqueue_gym.envs import ENVIRONMENTS
from llmqueue_gym.envs.learnable import NEAR, Learnable, LearnableVector
from llmqueue_gym.envs.opened import baseline_agent, order_of
from llmqueue_gym.envs.rollout import rollout
from llmqueue_gym.systems import Scenario

IDS = pytest.mark.parametrize("name", ENVIRONMENTS)
SMALL = {"n_jobs": 60}


def made(name, **given):
    return Learnable(gym.make(name, **{**SMALL, **given}))


class Always:
    """A trained model, as libraries have it, that always takes one action."""

    def __init__(self, action):
        self.action = action

    def predict(self, features, deterministic=True):
        return np.full(len(features), self.action), None


@IDS
def test_action_0_is_the_policy_by_hand_and_relative_rewards_are_then_about_zero(name):
    env = made(name, relative_to=order_of(name))
    inner = env.unwrapped
    by_hand, view = baseline_agent(order_of(name), inner), {**vars(inner.view), "relative_to": ""}
    run, expected = (rollout(player, inner.scenario, 4, **view) for player in (env.agent(Always(0)), by_hand))
    np.testing.assert_array_equal(run.outcome["completion"], expected.outcome["completion"])
    assert rollout(env.agent(Always(1)), inner.scenario, 4, **view).done.sum() > 0


@IDS
def test_every_action_is_carried_out_or_stands_for_action_0(name):
    """Whatever is done, an episode ends, and what is seen stays within a few units."""
    env, twin, rng = made(name), gym.make(name, **SMALL), np.random.default_rng(0)
    features, info = env.reset(seed=1)
    twin.reset(seed=1)
    over, steps, largest = False, 0, 0.0
    while not over:
        assert features in env.observation_space and info["action_mask"][0] == 1
        opened = features[-env.action_space.n :] > 0
        assert opened[0] and env.action_masks().all() and info["action_mask"].all()
        action = int(rng.integers(env.action_space.n))
        there = int(env._actions[0, action if opened[action] else 0])
        features, reward, terminated, truncated, info = env.step(action)
        _, expected, *ends, told = twin.step(there)
        assert (reward, [terminated, truncated]) == (expected, ends) and told["clock"] == info["clock"]
        assert not info["illegal_action"]
        over, steps, largest = terminated or truncated, steps + 1, max(largest, float(np.abs(features).max()))
    assert info["episode_metrics"]["mean_response_time"] > 0 and steps < 5000 and largest < 8


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
@pytest.mark.parametrize("name", ["llmqueue/Deadline-v0", "llmqueue/LLMRank-v0"])
def test_the_vector_form_is_the_scalar_one(name, mode):
    told = {"n_jobs": 12, "relative_to": order_of(name)}
    envs = LearnableVector(gym.make_vec(name, num_envs=2, autoreset_mode=mode, **told))
    loop = gym.vector.SyncVectorEnv([lambda: Learnable(gym.make(name, **told))] * 2, autoreset_mode=mode)
    assert envs.single_action_space == loop.single_action_space
    assert envs.single_observation_space == loop.single_observation_space
    equal(loop.reset(seed=3), envs.reset(seed=3))
    rng = np.random.default_rng(0)
    for _ in range(120):
        actions = rng.integers(envs.single_action_space.n, size=2)
        expected, got = loop.step(actions), envs.step(actions)
        if "final_info" in expected[4]:
            for infos in (expected[4], got[4]):
                infos["final_info"].pop("action_mask", None)
        equal(expected, got)


def test_a_learner_may_depart_from_another_policy_and_from_any_scenario():
    env = Learnable(Scenario("mg1", n_jobs=30).env(), order="spjf")
    env.reset(seed=0)
    assert order_of("llmqueue/Scenario-v0", "central") == order_of("") == "fcfs"
    assert env.action_masks()[0] and env.observation_space.shape == env.reset(seed=1)[0].shape


def test_whom_to_preempt_is_a_choice_only_where_somebody_must_be():
    env = made("llmqueue/LLMPreemptive-v0", n_jobs=150, profile="a100-llama3-8b:kv_tokens=1024")
    view, over, met = env.unwrapped.view, False, set()
    question = [*view.system].index("question")
    env.reset(seed=2)
    while not over:
        must = env.unwrapped.episodes.observation["system"][0, question] == 2
        by_hand, sends = env._actions[0, 0], env._opened[0, -4:]
        assert must == (view.window <= by_hand < view.window + 2 * view.seats) and must >= sends.any()
        met.add((bool(must), int(sends.sum())))
        _, _, terminated, truncated, _ = env.step(0)
        over = terminated or truncated
    assert (False, 0) in met and (True, 3) in met  # two whom, each by two ways, one of which is what the policy does


def test_who_waits_is_sent_away_at_will_only_where_others_are_out_of_sight():
    env = made("llmqueue/Deadline-v0", slots=4, load=3.0)
    names, over, met = [*env.unwrapped.view.system], False, set()
    features, _ = env.reset(seed=2)
    while not over:
        n = env.action_space.n
        unseen = features[-n - len(names) :][names.index("unseen")] > 0
        sends = features[-n:][1 + 4 : 1 + 4 + 2].any()
        assert unseen or not sends
        met.add((bool(unseen), bool(sends)))
        features, _, terminated, truncated, _ = env.step(0)
        over = terminated or truncated
    assert (True, True) in met and (False, False) in met


def test_where_actions_are_levels_the_others_are_those_next_to_the_policys():
    env, over, met = made("llmqueue/LLMRank-v0"), False, set()
    env.reset(seed=2)
    while not over:
        level, *others = env._actions[0]
        assert env._opened.all() and 0 < max(abs(other - level) for other in others) <= NEAR
        assert len({level, *others}) == NEAR + 1 == env.action_space.n
        met.add(int(level))
        _, _, terminated, truncated, _ = env.step(0)
        over = terminated or truncated
    assert len(met) > 2


def test_a_job_that_is_sent_away_is_lost_at_the_same_time_on_both_sides():
    """So what is paid by when nobody is to be sent away is what the policy by hand is paid."""
    env = made("llmqueue/Deadline-v0", relative_to="short-first-edf")
    slots, over, total, sent = env.unwrapped.view.slots, False, 0.0, 0
    env.reset(seed=3)
    while not over:
        sends = env._actions[0, 0] >= slots
        assert sends or total == 0
        sent += sends
        _, reward, terminated, truncated, _ = env.step(0)
        total, over = total + reward, terminated or truncated
    assert sent > 5 and total == 0

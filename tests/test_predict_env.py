"""`llmqueue/Predict-v0`: what an agent decides, sees and pays, and the policies as its agents."""

import gymnasium as gym
import numpy as np
import pytest
from played import at_random, finish

import llmqueue_gym  # noqa: F401 (registers the environments)
from llmqueue_gym.envs.opened import baseline_agent
from llmqueue_gym.errors import BadInput
from llmqueue_gym.jobs import CHEAP, EXPENSIVE, PROFILE, SERVE
from llmqueue_gym.systems import Scenario
from llmqueue_gym.systems.view import columns_of

N = 300
COSTS = "cheap=0.02,expensive=0.1,profile=0.5,slow=0.2"
WHERE = ("outside", "server", "servers,servers=2")
PLAIN = ("fcfs", "sprpt-paid", "one-bit-paid", "skip-predict", "selective", "bypass:limit=1", "profile")
ADAPTIVE = ("load-adaptive:at_least=3", "load-adaptive:at_least=2,blind_first=false")
VIEWS = {"skip-predict:threshold=2": {"edges": (2.0,)}, "delay-predict:limit=0.7": {"pause": 0.7}}


def scenario(where="outside", **more):
    return Scenario("predict", predictor_cost=f"{COSTS},where={where}", n_jobs=N, **more)


def rows(observation, env):
    return columns_of(observation, "jobs", env.unwrapped.view.jobs)


def queue(observation, env):
    return columns_of(observation, "system", env.unwrapped.view.system)


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("name", [*PLAIN, *ADAPTIVE, *VIEWS])
def test_a_policy_is_played_as_in_closed_loop_to_the_last_bit(name, where):
    given = scenario(where)
    env = given.env(slots=N, **VIEWS.get(name, {}))
    agent = baseline_agent(name, env)
    finish(env, agent.act_env, 3)
    played, expected = env.run(), given.simulate(name, 3)
    for column in ("start", "completion", "preemptions"):
        np.testing.assert_array_equal(played.outcome[column], expected.outcome[column])
    for column in ("predicted", "klass"):
        np.testing.assert_array_equal(played.jobs[column], expected.jobs[column])
    assert played.totals == expected.totals
    assert given.system.numbers(played) == given.system.numbers(expected)


@pytest.mark.parametrize("name", ["skip-predict", "selective", "load-adaptive:at_least=3"])
def test_the_observation_is_enough_to_play_a_policy(name):
    """Numbers are float32 there, so only ranks that nearly tie could be mistaken."""
    given = scenario("server")
    env = given.env(slots=N)
    agent = baseline_agent(name, env)
    observation, over = env.reset(seed=3)[0], False
    while not over:
        observation, _, over, _, _ = env.step(agent.act(observation))
    np.testing.assert_allclose(env.run().outcome["completion"], given.simulate(name, 3).outcome["completion"])


def test_what_is_not_bought_is_not_seen():
    env = scenario().env(slots=8)
    drawn = env.scenario.draw(0)
    assert (drawn.work["predicted"] == 0).all() and (drawn.work["klass"] == -1).all()
    observation, _ = env.reset(seed=0)
    seen = queue(observation, env)
    assert (seen["asked"], seen["asked_predicted"], seen["asked_cheap"], seen["asked_sized"]) == (1, 0, 0, 0)
    observation, *_ = env.step(8 + CHEAP)
    seen = queue(observation, env)
    assert (seen["asked"], seen["asked_predicted"], seen["asked_sized"]) == (1, 0, 0)
    assert seen["asked_cheap"] == 1 + (drawn.truth["cheap"][0] > 1)
    np.testing.assert_array_equal(observation["action_mask"][8:], [1, 0, 1, 1])  # what is known is not bought again
    env.step(8 + EXPENSIVE)
    run = env.run()
    assert run.jobs["predicted"][0] == drawn.truth["predictions"][0] and (run.jobs["predicted"][1:] == 0).all()
    bought = {name: run.totals[name] for name in ("cheap", "expensive", "profiled", "price")}
    assert bought == {"cheap": 1, "expensive": 1, "profiled": 0, "price": pytest.approx(0.12)}


def test_a_profile_is_there_where_it_is_told_and_only_there():
    assert scenario().env(slots=4).action_space.n == 4 + PROFILE + 1
    plain = Scenario("predict", n_jobs=N)
    assert plain.env(slots=4).action_space.n == 4 + EXPENSIVE + 1
    with pytest.raises(BadInput, match=r"asks for stage 3 of job 0, a profile, and predictor_cost has none"):
        plain.simulate("profile")


def test_prices_are_paid_when_predictions_are_bought():
    env = scenario().env(slots=4)
    env.reset(seed=0)
    assert env.step(4 + EXPENSIVE)[4]["raw_reward"] < -0.1 + 1e-12
    other = scenario("server").env(slots=4)
    finish(other, at_random(), 0)
    assert other.run().totals["price"] == 0.0 and other.run().totals["expensive"] > 0


def test_a_prediction_on_the_server_takes_its_time_and_can_be_overtaken():
    env = scenario("server").env(slots=4)
    observation, _ = env.reset(seed=0)
    arrival = env.scenario.draw(0).work["arrival"]
    observation, *_, info = env.step(4 + EXPENSIVE)
    ahead = min(arrival[1] - arrival[0], 0.1)
    assert info["dt"] == pytest.approx(ahead)
    assert queue(observation, env)["asked"] == 1  # the next arrival, or the same job with its prediction


def test_a_job_at_a_prediction_server_cannot_be_served():
    env = Scenario("predict", predictor_cost="expensive=1000,where=servers", n_jobs=3).env(slots=4)
    observation, _ = env.reset(seed=0)
    for _ in range(2):
        observation, *_, info = env.step(4 + EXPENSIVE)
        assert rows(observation, env)["present"].sum() == 1  # the next one, of whom nothing is decided yet
    seen = queue(observation, env)
    assert seen["predicting"] * 4 == 2 and seen["in_system"] * 4 == 3
    observation, *_, info = env.step(4 + SERVE)
    assert info["n_in_system"] == 2 and info["clock"] == pytest.approx(1000 + env.scenario.draw(0).work["arrival"][0])


def test_an_agent_of_another_pause_or_other_edges_is_refused():
    env = scenario().env()
    with pytest.raises(BadInput, match=r"needs an environment with pause=1, and this one has pause=inf"):
        baseline_agent("delay-predict", env)
    with pytest.raises(BadInput, match=r"needs an environment with edges=\(2.0,\), and this one has edges=\(1.0,\)"):
        baseline_agent("skip-predict:threshold=2", env)


@pytest.mark.parametrize("wrong", [{"edges": (2.0, 1.0)}, {"edges": "1"}, {"edges": (0.0,)}, {"pause": 0}])
def test_views_that_make_no_sense_are_named(wrong):
    with pytest.raises(BadInput, match=next(iter(wrong))):
        gym.make("llmqueue/Predict-v0", **wrong)


def test_a_learner_departs_from_skip_predict():
    from llmqueue_gym.envs.learnable import Learnable

    env = Learnable(gym.make("llmqueue/Predict-v0", n_jobs=N, relative_to="skip-predict", slots=N))
    env.reset(seed=1)
    total, over = 0.0, False
    while not over:
        _, reward, over, _, info = env.step(0)
        total += reward
    assert total == pytest.approx(0.0, abs=1e-6)
    assert info["return"] < 0

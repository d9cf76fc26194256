"""Episodes of scenarios that differ, by options of a reset and by their seed, in parts to train and to test on."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from played import equal

from llmqueue_gym.envs.rollout import rollout
from llmqueue_gym.errors import BadInput
from llmqueue_gym.systems import Scenario
from llmqueue_gym.systems.varied import Varied, changed

SMALL = pytest.mark.parametrize(
    "name", [f"llmqueue/{one}-v0" for one in ("MG1", "Dispatch", "MultiserverJob", "LLMBatching")]
)
VARY = {"load": (0.5, 0.9), "arrivals": ["poisson", "renewal:law=deterministic"]}


class FirstOpen:
    """Takes the first open action."""

    def act(self, observation):
        return int(observation["action_mask"].argmax())


def arrivals(env):
    return env.unwrapped.run().jobs["arrival"]


@SMALL
def test_an_episode_has_the_load_that_its_reset_tells_and_the_next_one_that_of_the_environment(name):
    """Also where the environment has a rate, whose place the load takes."""
    env = gym.make(name, n_jobs=20)
    scenario = env.unwrapped.scenario
    for options in ({"load": 0.3}, {"load": 0.9}, {"rate": 2.0}, {"arrivals": "renewal:law=deterministic"}):
        env.reset(seed=4, options=options)
        other = changed(scenario, **options)
        assert all(getattr(other, field) == value for field, value in options.items())
        np.testing.assert_array_equal(arrivals(env), other.draw(4).work["arrival"])
        assert not np.array_equal(arrivals(env), scenario.draw(4).work["arrival"])
        env.reset(seed=4)
        np.testing.assert_array_equal(arrivals(env), scenario.draw(4).work["arrival"])


@SMALL
def test_episodes_draw_their_scenario_by_their_seed_from_parts_that_share_none(name):
    seen, loads = {}, {}
    for part in ("train", "test"):
        env = gym.make(name, n_jobs=20, vary=VARY, part=part)
        drawn = [env.unwrapped.episodes.scenario_of(seed) for seed in range(60)]
        seen[part] = {(one.load, str(one.arrivals)) for one in drawn}
        loads[part] = [one.load for one in drawn]
        for seed in (2, 3, 4):
            env.reset(seed=seed)
            np.testing.assert_array_equal(arrivals(env), drawn[seed].draw(seed).work["arrival"])
    assert not seen["train"] & seen["test"] and len(seen["train"]) > 30 and len(seen["test"]) > 10
    assert all(0.5 <= min(some) < 0.6 and 0.8 < max(some) <= 0.9 for some in loads.values())


@SMALL
def test_scenarios_vary_alike_on_every_path(name):
    one, many = gym.make(name, n_jobs=20, vary=VARY), gym.make_vec(name, num_envs=3, n_jobs=20, vary=VARY)
    many.reset(seed=5)
    for e in range(3):
        one.reset(seed=5 + e)
        np.testing.assert_array_equal(arrivals(one), many.unwrapped.episodes.run(e).jobs["arrival"])
    view = one.unwrapped.view
    given = {field: getattr(view, field) for field in ("preemptive", "window", "seats") if hasattr(view, field)}
    run = rollout(FirstOpen(), one.unwrapped.scenario, 6, vary=VARY, **given)
    one.reset(seed=6)
    np.testing.assert_array_equal(run.jobs["arrival"], arrivals(one))


def test_few_values_are_shared_out_and_the_parts_are_the_same_everywhere():
    scenario = Scenario("mg1", n_jobs=5)
    train, test = (Varied(scenario, {"size": ["exponential", "weibull"]}, part) for part in ("train", "test"))
    assert len(train.fields) == len(test.fields) == 1 and train.fields != test.fields
    many = Varied(scenario, {"load": (0.1, 0.9)}, "train").fields
    assert len(many) == 80 and many[0] == Varied(scenario, {"load": (0.1, 0.9)}, "train").fields[0]


@pytest.mark.parametrize(
    ("vary", "words"),
    [
        ({"lod": (0.1, 0.2)}, "did you mean 'load'"),
        ({"load": (0.9, 0.5)}, r"load=\(0.9, 0.5\) must be two numbers"),
        ({"load": 0.5}, "load=0.5 must be two numbers"),
        ({"size": ("exponential", "weibull")}, "or a list of values"),
        ({"load": [0.5]}, "nothing is left to test on"),
        ({"load": [0.5, -1]}, "load=-1 must be positive"),
        ({"load": (-1.0, 0.5)}, "load=-1.0 must be positive"),
        ({"size": ["exponential", "weibul"]}, "did you mean 'weibull'"),
        ({}, "vary={} must name fields"),
    ],
)
def test_what_cannot_vary_is_told(vary, words):
    with pytest.raises(BadInput, match=words):
        gym.make("llmqueue/MG1-v0", vary=vary)


@SMALL
@pytest.mark.filterwarnings("ignore:.*Box observation space maximum value is infinity")
def test_a_mask_may_be_a_box(name):
    box, binary = (gym.make(name, n_jobs=20, box_mask=each) for each in (True, False))
    assert box.observation_space["action_mask"] == gym.spaces.Box(0, 1, (int(box.action_space.n),), np.int8)
    equal(box.reset(seed=1), binary.reset(seed=1))
    assert all(box.step(0)[0] in box.observation_space for _ in range(5))
    many = gym.make_vec(name, num_envs=2, n_jobs=20, box_mask=True)
    assert many.reset(seed=1)[0] in many.observation_space
    check_env(box.unwrapped, skip_render_check=True)

"""The keyword arguments of the single-server environments: what they draw, and what they refuse."""

import gymnasium as gym
import numpy as np
import pytest
from mg1_runs import MG1, Recorded, play

import llmqueue_gym
from llmqueue_gym.envs.baseline import RankAgent
from llmqueue_gym.envs.config import MG1Config
from llmqueue_gym.errors import BadInput
from llmqueue_gym.workloads import Toy, Workload


def test_a_seed_becomes_three_spawned_streams():
    config = MG1Config(n_jobs=40)
    streams = [np.random.Generator(np.random.PCG64(child)) for child in np.random.SeedSequence(2**62 + 5).spawn(3)]
    jobs, sizes = config.source.sample(40, *streams[:2])
    drawn = config.draw(2**62 + 5)
    np.testing.assert_array_equal(drawn.jobs["arrival"], jobs["arrival"])
    np.testing.assert_array_equal(drawn.sizes, sizes)
    np.testing.assert_array_equal(drawn.jobs["predicted"], config.bound_predictor.predict(sizes, streams[2]))


def test_predictions_do_not_change_the_jobs():
    exact, noisy = MG1Config(predictor="exact").draw(1), MG1Config().draw(1)
    np.testing.assert_array_equal(exact.sizes, noisy.sizes)
    np.testing.assert_array_equal(exact.jobs["arrival"], noisy.jobs["arrival"])
    np.testing.assert_array_equal(exact.jobs["predicted"], exact.sizes)


BAD = [
    ({"slots": 0}, "slots=0"),
    ({"slots": 2.5}, "slots=2.5"),
    ({"n_jobs": -1}, "n_jobs=-1"),
    ({"load": 0}, "load=0"),
    ({"load": float("nan")}, "load=nan"),
    ({"load": "high"}, "load='high'"),
    ({"load": np.inf}, "load=inf"),
    ({"horizon": float("nan")}, "horizon=nan"),
    ({"horizon": -1.0}, "horizon=-1.0"),
    ({"quantum": 0.0}, "quantum=0.0"),
    ({"quantum": 1.0}, "quantum=1 needs preemptive"),
    ({"reward": "respone_time"}, "did you mean 'response_time'"),
    ({"reward": 3}, "unknown reward 3"),
    ({"size": "expnential"}, "did you mean 'exponential'"),
    ({"size": 5}, "size=5"),
    ({"predictor": "exat"}, "did you mean 'exact'"),
    ({"predictor": None}, "predictor=None"),
    ({"arrivals": "poison"}, "did you mean 'poisson'"),
    ({"workload": 7}, "workload=7"),
    ({"preemptive": "yes"}, "preemptive='yes'"),
]


@pytest.mark.parametrize(("wrong", "message"), BAD)
def test_bad_arguments_are_named_in_one_line(wrong, message):
    with pytest.raises(BadInput, match=message) as raised:
        gym.make(MG1, **wrong)
    assert "\n" not in str(raised.value)


def test_unknown_arguments_and_options_are_errors():
    with pytest.raises(TypeError, match="sloots"):
        gym.make(MG1, sloots=3)
    with pytest.raises(BadInput, match="speed"):
        gym.make(MG1).reset(options={"speed": 1})


def test_a_workload_that_returns_too_many_jobs_is_an_error():
    env = gym.make(MG1, workload=Recorded(MG1Config(n_jobs=9).draw(0)), n_jobs=8)
    with pytest.raises(BadInput, match="Recorded returned 9 jobs"):
        env.reset(seed=0)


def test_predictors_are_bound_to_the_law_of_the_workload():
    law = llmqueue_gym.size_law("weibull:shape=0.5")
    assert MG1Config(workload=Workload(law, 0.5)).law == law
    assert MG1Config(workload=Toy(), size=law).law == law
    env = gym.make(MG1, predictor="buckets:k=4", n_jobs=20)
    play(env, RankAgent("spjf", env.unwrapped.config), 0)

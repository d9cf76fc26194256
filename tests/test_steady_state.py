"""Intervals from one run hold the exact mean as often as they say, or the run says that it is too short."""

import numpy as np
import pytest

from llmqueue_gym.distributions import size_law
from llmqueue_gym.evaluation import Scenario
from llmqueue_gym.evaluation.statistics import cautious_batch_means
from llmqueue_gym.evaluation.steady_state import shortness, steady_state_mean
from llmqueue_gym.theory.work import moments_of_work, variance_of_mean_work

RUNS = 200
# 95 % of 200 is 190; fewer than 180 has probability below 0.003 for an honest interval.
HONEST = 180
PARETO = "bounded-pareto:alpha=1.5,high=1000"


def moments(law):
    return [size_law(law).moment(k) for k in (1, 2, 3, 4)]


@pytest.mark.parametrize("load", [0.3, 0.95])
def test_work_of_exponential_sizes(load):
    # The work is 0 or exponential with mean 1 / (1 - load); see Whitt (1989) for what this makes of the mean.
    left = 1 - load
    exact = (load / left, 2 * load / left**2, 6 * load / left**3)
    assert moments_of_work(moments("exponential"), load) == pytest.approx(exact)


@pytest.mark.parametrize(("law", "load"), [("deterministic", 0.6), ("exponential", 0.3), ("weibull:shape=0.5", 0.6)])
def test_variance_of_the_mean_work_is_what_many_runs_show(law, load):
    scenario, runs = Scenario("mg1", size=law, load=load, n_jobs=20_000), []
    for seed in range(400):
        run = scenario.simulate("fcfs", seed)
        runs.append(float((run.response_times - run.sizes).mean()))
    # A variance from 400 values has a standard error of 7 %.
    assert np.var(runs) == pytest.approx(variance_of_mean_work(moments(law), load, 20_000), rel=0.21)


@pytest.mark.parametrize(
    ("kind", "size", "load", "policy"),
    [
        ("mg1", "exponential", 0.95, "fcfs"),
        ("mg1", "exponential", 0.95, "sprpt"),
        ("mg1", PARETO, 0.7, "fcfs"),
        ("mg1", "weibull:shape=0.5", 0.9, "sprpt"),
        ("central:servers=4", "exponential", 0.95, "fcfs"),
    ],
)
def test_short_runs_hold_the_exact_mean(kind, size, load, policy):
    scenario = Scenario(kind, size=size, load=load, n_jobs=20_000)
    exact, held = scenario.known(policy)[0]["value"], 0
    for seed in range(RUNS):
        run = scenario.simulate(policy, seed).after_warmup()
        estimate = steady_state_mean(run.response_times, run, scenario)
        held += estimate.low < exact < estimate.high
    assert held >= HONEST


def test_work_that_never_settles_has_the_interval_of_its_batches():
    with pytest.warns(UserWarning, match="is unstable"):
        scenario = Scenario(load=1.0, n_jobs=2000)
        run = scenario.simulate("fcfs", 0)
    times = run.response_times
    assert steady_state_mean(times, run, scenario) == cautious_batch_means(times, warmup=0)


def test_runs_that_cannot_be_trusted_say_so():
    def told(policy, n_jobs=20_000, **given):
        scenario = Scenario(n_jobs=n_jobs, **given)
        run = scenario.simulate(policy, 0).after_warmup()
        return shortness(run.response_times, steady_state_mean(run.response_times, run, scenario), run, scenario)

    assert any("largest sizes" in word for word in told("sprpt", size=PARETO, load=0.7))
    assert any("tell the mean to" in word for word in told("fcfs", size="exponential", load=0.99))
    assert any(word.startswith("GROWING") for word in told("fcfs", system="packing", load=0.95))
    assert told("fcfs", 100_000, size="exponential", load=0.8) == []

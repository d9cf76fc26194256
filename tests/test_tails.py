"""How likely a job takes long: exact tails against what is known, and simulated quantiles against both."""

import numpy as np
import pytest

from llmqueue_gym import Scenario, analyse, policy, predictor, size_law
from llmqueue_gym.errors import BadInput, NotApplicable, Unstable
from llmqueue_gym.evaluation.steady_state import steady_state_quantile
from llmqueue_gym.policies import ONE_SERVER
from llmqueue_gym.theory.tails import Tail

LAW, NOISE = size_law("exponential"), predictor("exponential")


@pytest.mark.parametrize("load", [0.5, 0.95])
def test_first_come_first_served_with_exponential_sizes_has_an_exponential_tail(load):
    tail = Tail(policy("fcfs"), LAW, None, load)
    for t in (0.3, 2.0, 10.0, 20.0):
        assert tail.above(t) == pytest.approx(np.exp(-(1 - load) * t), rel=1e-4)
    assert tail.quantile(0.99) == pytest.approx(np.log(100) / (1 - load), rel=1e-4)


@pytest.mark.parametrize("name", ["spjf", "pspjf", "sprpt", "psjf"])
def test_the_slope_of_the_transform_at_zero_is_the_mean(name):
    told = predictor("exact") if name == "psjf" else NOISE
    tail, h = Tail(policy(name), LAW, told, 0.7), 1e-4
    one, two = (1 - tail.transform(h).real) / h, (1 - tail.transform(2 * h).real) / (2 * h)
    slope = 2 * one - two  # E[T^2] h / 2 cancels
    exact = analyse(policy(name), LAW, told, 0.7, by_size=False).mean_response_time
    assert slope == pytest.approx(exact, rel=2e-3)


@pytest.mark.parametrize("name", ["spjf", "pspjf", "sprpt"])
def test_tails_lie_within_half_a_percent_of_four_standard_errors_of_simulations(name):
    tail = Tail(policy(name), LAW, NOISE, 0.8)
    runs = [Scenario("mg1", load=0.8, n_jobs=100_000).simulate(name, seed).after_warmup(0.05) for seed in range(10)]
    for t in (1.0, 5.0, 20.0):
        shares = np.array([(run.response_times > t).mean() for run in runs])
        error = 4 * shares.std(ddof=1) / np.sqrt(len(runs))
        assert abs(shares.mean() - tail.above(t)) < error + 5e-3 * shares.mean()


def test_the_interval_of_a_simulated_quantile_holds_the_true_one():
    scenario, exact, held = Scenario("mg1", load=0.9, n_jobs=50_000), np.log(100) / 0.1, 0
    for seed in range(20):
        run = scenario.simulate("fcfs", seed).after_warmup(0.1)
        found = steady_state_quantile(run.response_times, 0.99, run, scenario)
        assert found.low < found.mean < found.high
        held += found.low <= exact <= found.high
    assert held >= 16  # 19 are expected; 15 or fewer have a probability of 3 in 1000


def test_what_is_not_known_is_refused(run):
    with pytest.raises(NotApplicable, match="las"):
        Tail(policy("las"), LAW, None, 0.8)
    with pytest.raises(NotApplicable, match="'ps'"):
        Tail(ONE_SERVER("ps"), LAW, None, 0.8)
    with pytest.raises(NotApplicable, match="predictions"):
        Tail(policy("spjf"), LAW, predictor("none"), 0.8)
    with pytest.raises(Unstable):
        Tail(policy("fcfs"), LAW, None, 1.0)
    with pytest.raises(BadInput, match="q=1"):
        Tail(policy("fcfs"), LAW, None, 0.5).quantile(1.0)
    status, _, told = run("theory", "central", "--policy", "fcfs", "--servers", "2", "--tail")
    assert (status, "--tail" in told) == (2, True)

"""The best time to live against a search by brute force, closed forms, and gaps that were drawn."""

import numpy as np
import pytest

from llmqueue_gym.distributions import size_law
from llmqueue_gym.distributions.discrete import Empirical
from llmqueue_gym.distributions.quantile_table import QuantileTable
from llmqueue_gym.errors import BadInput
from llmqueue_gym.theory.retention import best_time, best_times, expected_cost, two_phase_time

LAWS = [
    *map(
        size_law,
        (
            "exponential:mean=3",
            "weibull:shape=0.5",
            "weibull:shape=2",
            "hyperexponential:mean=4,p=0.7,ratio=50",
            "bounded-pareto:alpha=0.5,high=1e6",
            "lognormal:sigma=0.3",
            "lognormal:sigma=2,mean=10",
            "gamma:shape=0.5",
            "erlang:k=4",
            "uniform:low=0.2",
            "deterministic:mean=5",
        ),
    ),
    QuantileTable(q=np.array([0, 0.1, 0.5, 0.9, 1.0]), values=np.array([0, 1, 1.5, 20, 21.0]), mean=7.0),
    Empirical(np.random.default_rng(0).lognormal(0, 2, 300), mean=6.0),
]


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_no_other_time_costs_less(law):
    times = np.concatenate([[0.0, np.inf], np.geomspace(1e-9, 1e5, 20_001) * law.mean])
    if law.atoms() is not None:
        times = np.append(times, law.atoms())
    evens, looked_up = best_times(law)
    assert evens[0] == 0 and (np.diff(evens) >= 0).all() and (np.diff(looked_up) > 0).all()
    for even in law.mean * np.geomspace(1e-3, 1e3, 13):
        best, costs = best_time(law, 2.0, 2 * even), expected_cost(law, times, 2.0, 2 * even)
        assert best.cost <= costs.min() * (1 + 1e-12)
        assert best.cost == pytest.approx(expected_cost(law, best.seconds, 2.0, 2 * even), rel=1e-10)
        from_table = looked_up[np.searchsorted(evens, even, side="right") - 1]
        assert expected_cost(law, from_table, 2.0, 2 * even) <= best.cost * (1 + 1e-4)


@pytest.mark.parametrize(("p", "ratio"), [(0.9, 10), (0.5, 3), (0.7, 50), (0.99, 1000)])
def test_two_phases_have_a_closed_form(p, ratio):
    law, some = size_law(f"hyperexponential:p={p},ratio={ratio},mean=4"), 0
    (_, short), (_, long) = law.branches
    for even in np.geomspace(short / 2, long * 2, 40):
        closed, found = two_phase_time(p, short, long, even), best_time(law, 1.0, even)
        if 0 < closed < np.inf:
            some += 1
            assert found.seconds == pytest.approx(closed, rel=1e-6, abs=1e-9 * short)
        else:
            assert found.seconds == closed
    assert some > 5


def test_memoryless_gaps_are_waited_for_always_or_never():
    law = size_law("exponential:mean=3")
    assert best_time(law, 1.0, 2.999) == (0.0, pytest.approx(2.999))
    assert best_time(law, 1.0, 3.001) == (np.inf, pytest.approx(3.0))


def test_a_known_gap_is_waited_for_or_not():
    law = size_law("deterministic:mean=5")
    assert best_time(law, 1.0, 4.999) == (0.0, pytest.approx(4.999))
    assert best_time(law, 1.0, 5.001) == (5.0, pytest.approx(5.0))  # nobody is away for longer


def test_costs_are_those_of_gaps_that_were_drawn():
    law, n = size_law("hyperexponential:mean=4,p=0.7,ratio=50"), 400_000
    gaps = law.sample(n, np.random.default_rng(5))
    for seconds in (0.0, 0.3, best_time(law, 3.0, 9.0).seconds, 40.0, np.inf):
        cost = 3.0 * np.minimum(gaps, seconds) + 9.0 * (gaps > seconds)
        # Four standard errors, in five comparisons.
        assert abs(cost.mean() - expected_cost(law, seconds, 3.0, 9.0)) <= 4 * cost.std() / np.sqrt(n) + 1e-12


def test_waiting_as_long_as_is_lost_costs_at_most_twice_the_known_gap():
    for law in LAWS:
        for even in law.mean * np.array([0.1, 1.0, 10.0]):
            clairvoyant = law.partial_moment(1, even) + even * law.sf(even)  # E[min(G, b)]
            assert best_time(law, 1.0, even).cost <= expected_cost(law, even, 1.0, even) <= 2 * clairvoyant * (1 + 1e-9)


def test_impossible_costs_are_refused():
    law = size_law("exponential")
    for rate, loss, named in (
        (0.0, 1.0, "rate=0"),
        (np.inf, 1.0, "rate=inf"),
        (1.0, -1.0, "loss=-1"),
        (1.0, np.nan, "loss=nan"),
    ):
        with pytest.raises(BadInput, match=named):
            best_time(law, rate, loss)

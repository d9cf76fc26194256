"""The sharp constant of PSJF over SRPT, and laws that come near it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmqueue_gym import analyse, policy, predictor, size_law
from llmqueue_gym.distributions.discrete import Empirical
from llmqueue_gym.errors import BadInput
from llmqueue_gym.theory.uniform_bounds import equal_sizes_ratio, error_ratio, sharp_constant, worst_ratio


def test_the_constant_is_the_maximum_of_its_formula():
    constant, load = sharp_constant()
    assert constant == pytest.approx(1.16993030, abs=1e-8)
    assert constant == pytest.approx(max(equal_sizes_ratio(x) for x in np.linspace(0.7, 0.8, 10_001)), abs=1e-9)
    assert load == pytest.approx(0.76602, abs=1e-5)


@pytest.mark.parametrize("load", [0.3, 0.766, 0.95])
def test_equal_sizes_are_the_limit_of_narrow_laws(load):
    # The exact formulas of PSJF and SRPT on sizes within .2 % of one another, which is far from a tie to PSJF.
    law, told = size_law("uniform:low=0.999"), predictor("exact")
    psjf, srpt = (analyse(policy(name), law, told, load, by_size=False).mean_response_time for name in ("psjf", "srpt"))
    assert psjf / srpt == pytest.approx(equal_sizes_ratio(load), rel=2e-3)
    assert worst_ratio(np.ones(1), np.array([load])) == pytest.approx(equal_sizes_ratio(load), rel=1e-12)


@pytest.mark.parametrize("law", ["exponential", "weibull:shape=0.5", "bounded-pareto:alpha=1.5", "uniform"])
@pytest.mark.parametrize("load", [0.5, 0.8, 0.95])
def test_no_law_is_above_the_constant(law, load):
    means = [
        analyse(policy(name), size_law(law), predictor("exact"), load, by_size=False).mean_response_time
        for name in ("psjf", "srpt")
    ]
    assert 1 <= means[0] / means[1] <= sharp_constant()[0]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.floats(1e-3, 1e3), st.floats(0.01, 1)), min_size=1, max_size=8),
    st.floats(0.02, 0.995),
)
def test_no_few_sizes_are_above_the_constant(rows, load):
    sizes, shares = np.array(sorted(rows)).T
    ratio = worst_ratio(sizes, load * shares / shares.sum())
    assert 1 - 1e-9 <= ratio <= sharp_constant()[0] + 1e-9


def test_far_blocks_keep_the_ratio_at_any_load():
    # Blocks of equal sizes, infinitely far apart, are as bad at a load as near 1 as one likes.
    constant, load = sharp_constant()
    loads = load * (1 - load) ** np.arange(4)
    assert loads.sum() > 0.996
    assert worst_ratio(1e6 ** np.arange(4), loads) == pytest.approx(constant, rel=1e-4)


def test_a_few_sizes_are_what_the_formulas_say():
    # Two sizes in the wrong order: predictions 1 for size 2 and 1.5 for size 1, spread a little so that nobody ties.
    sizes, loads, spread = np.array([2.0, 1.0]), np.array([0.3, 0.4]), 200
    rates = np.repeat(loads / sizes / spread, spread)
    x = np.repeat(sizes, spread)
    reached, square = np.cumsum(rates * x), np.cumsum(rates * x**2)
    before = reached - rates * x
    wait = 0.5 * square / ((1 - reached) * (1 - before))
    mean = np.sum(rates * (wait + x / (1 - before)))
    order = np.argsort(x, kind="stable")
    law = [array[order] for array in (x, rates)]
    load = np.cumsum(law[0] * law[1])
    ahead, beyond = load - law[0] * law[1], np.sum(rates) - np.cumsum(law[1])
    wait = 0.5 * (np.cumsum(law[1] * law[0] ** 2) + law[0] ** 2 * beyond) / ((1 - load) * (1 - ahead))
    steps = np.diff(law[0], prepend=0.0) / (1 - ahead)  # the rates stay what they are between two sizes
    srpt = np.sum(law[1] * (wait + np.cumsum(steps)))
    assert worst_ratio(sizes, loads) == pytest.approx(mean / srpt, rel=5e-3)


def test_the_order_tells_the_least_error():
    assert error_ratio(np.array([1.0, 2.0, 3.0])) == 1
    assert error_ratio(np.array([3.0, 2.0, 4.0, 1.0])) == 4


def test_impossible_laws_are_refused():
    for sizes, loads in (([1.0, 1.0], [0.5, 0.5]), ([np.inf], [0.5]), ([], []), ([1.0, 2.0], [0.5])):
        with pytest.raises(BadInput, match=r"below 1|one length"):
            worst_ratio(np.array(sizes), np.array(loads))
    for load in (-1.0, 0.0, 1.0):
        with pytest.raises(BadInput, match="load="):
            equal_sizes_ratio(load)


@pytest.mark.parametrize("load", [0.5, 0.8, 0.95])
def test_soap_has_the_formula_of_srpt_on_a_few_sizes(load):
    # Schrage and Miller: ties by arrival, so who waits is behind the load of sizes up to his own, his own included.
    law = Empirical(samples=np.repeat([1.0, 5.0, 25.0], [6, 3, 1]))
    x, p = law.atoms(), np.array([0.6, 0.3, 0.1])
    rate = load / float(x @ p)
    reached, before = rate * np.cumsum(x * p), rate * (np.cumsum(x * p) - x * p)
    square, beyond = np.cumsum(x**2 * p) + x**2 * (1 - np.cumsum(p)), np.diff(x, prepend=0.0) / (1 - before)
    expected = p @ (0.5 * rate * square / ((1 - before) * (1 - reached)) + np.cumsum(beyond))
    found = analyse(policy("srpt"), law, predictor("exact"), load, method="soap", by_size=False)
    assert found.mean_response_time == pytest.approx(expected, rel=1e-9)

"""Reports in place of predictions: who lies, and when nobody does."""

from dataclasses import replace

import numpy as np
import pytest

from llmqueue_gym import Scenario, analyse, policy, predictor, size_law
from llmqueue_gym.errors import BadInput, NotApplicable
from llmqueue_gym.predictors.reports import PUNISHED, Reports
from llmqueue_gym.theory.incentives import equilibrium, response_times, truthful, truthful_range

SIZE, LOAD = size_law("exponential"), 0.8
BLIND, MEASURED = policy("blind-trust"), policy("measured-trust")


def said(p, noise="lognormal:sigma=0.05", k=2, **more):
    return Reports(k=k, noise=noise, punished=p, **more)


@pytest.mark.parametrize("name", ["blind-trust", "measured-trust"])
def test_times_by_estimate_and_report_are_those_of_a_simulation(name):
    # With exact estimates and many slips a run shows every report of every class of sizes.
    reports = said(0.4, "exact", k=3, slip=0.5)
    exact = response_times(policy(name), SIZE, reports, LOAD)
    trust = replace(policy(name), predictor=None)  # not what it brings along, but these
    runs = [Scenario("mg1", predictor=reports, load=LOAD, n_jobs=100_000).simulate(trust, seed) for seed in range(6)]
    limits = reports.bind(SIZE).limits
    for e in range(3):
        for r in range(3):
            means = []
            for run in runs:
                here = (np.searchsorted(limits, run.sizes) == e) & (run.jobs["predicted"].astype(int) == r + 1)
                means.append(run.response_times[here].mean())
            spread = 4.0 * np.std(means, ddof=1) / np.sqrt(len(means))
            assert abs(np.mean(means) - exact[e, r]) < spread + 0.01 * exact[e, r]


@pytest.mark.parametrize("name", ["blind-trust", "measured-trust"])
def test_the_mean_of_all_is_what_analyse_says(name):
    reports = said(0.3, "lognormal:sigma=0.5", k=3)
    times, bound = response_times(policy(name), SIZE, reports, LOAD), reports.bind(SIZE)
    x, p = SIZE.quadrature(np.linspace(0, 40, 4001))
    shares = p @ bound.shares(x)
    whole = analyse(policy(name), SIZE, reports, LOAD, by_size=False).mean_response_time
    assert shares @ np.diag(times) == pytest.approx(whole, rel=1e-3)


def test_without_punishment_blind_trust_has_everybody_claim_to_be_short():
    reports, mean, stable = equilibrium(BLIND, SIZE, said(0.0), LOAD)
    assert stable
    assert list(reports) == [1, 1]
    assert mean == pytest.approx(5.0, rel=1e-6)  # first come first served


def test_exact_estimates_make_truth_best_for_all_punishments_where_service_is_measured():
    low, high = truthful_range(MEASURED, SIZE, said(0.5, "exact"), LOAD)
    assert (low, high) == (0.0, 1.0)
    low, high = truthful_range(BLIND, SIZE, said(0.5, "exact"), LOAD)
    assert 0.05 < low < high == 1.0


@pytest.mark.parametrize("trust", [BLIND, MEASURED])
def test_truth_is_the_equilibrium_within_the_range_and_not_outside(trust):
    noise = "lognormal:sigma=0.8"
    low, high = truthful_range(trust, SIZE, said(0.5, noise), LOAD)
    assert 0 < low < high < 1
    for p, holds in ((low + 0.01, True), (high - 0.01, True), (low - 0.01, False), (high + 0.01, False)):
        reports = said(p, noise)
        assert truthful(trust, SIZE, reports, LOAD) == holds
        found, _, stable = equilibrium(trust, SIZE, reports, LOAD)
        assert stable
        assert (list(found) == [1, 2]) == holds
    # Too little punishment makes the long claim to be short, too much makes the short claim to be long.
    assert list(equilibrium(trust, SIZE, said(low - 0.01, noise), LOAD)[0]) == [1, 1]
    assert list(equilibrium(trust, SIZE, said(1.0, noise), LOAD)[0]) == [2, 2]


def test_reports_are_drawn_as_their_law_says():
    reports = said(0.3, "lognormal:sigma=0.5", k=3, say="1;3;2", slip=0.2).bind(SIZE)
    rng = np.random.default_rng(0)
    for x in (0.2, 0.9, 3.0):
        drawn = reports.predict(np.full(200_000, x), rng)
        shares = [(drawn == y).mean() for y in reports.atoms()]
        law = np.diff(reports.cdf(reports.atoms(), np.full(6, x)), prepend=0.0)
        assert np.abs(np.array(shares) - law).max() < 0.005
    assert set(np.unique(drawn)) == {1, 1 + PUNISHED, 2, 2 + PUNISHED, 3, 3 + PUNISHED}


def test_who_needs_reports_says_so():
    with pytest.raises(NotApplicable, match="reports:k=3"):
        BLIND.params_for(SIZE, predictor("exponential"))
    with pytest.raises(BadInput, match="say=1;4"):
        replace(said(0.5), say="1;4")
    with pytest.raises(BadInput, match="whole numbers"):
        replace(said(0.5), say="\u00b2;1")

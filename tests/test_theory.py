"""Theory: closed forms against adaptive quadrature, SOAP against the closed forms, Gittins against its theorems."""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pytest
from agreement import inside
from scipy.integrate import quad
from scipy.special import kv

from llmqueue_gym.distributions import size_law
from llmqueue_gym.distributions.discrete import Empirical
from llmqueue_gym.errors import BadInput, NotApplicable, Unstable
from llmqueue_gym.policies import POLICIES, Policy, policy
from llmqueue_gym.predictors import Predictor, predictor
from llmqueue_gym.systems import Scenario
from llmqueue_gym.theory import analyse, gittins_of_samples, srpt_bracket
from llmqueue_gym.theory import soap as soap_module
from llmqueue_gym.theory.closed_forms import one_bit_exponential
from llmqueue_gym.theory.joint import JointLaw

LOADS = (0.5, 0.8, 0.95, 0.99)


def mean(name, size="exponential", predict="exponential", load=0.8, method="auto"):
    p = policy(name)
    law, told = size_law(size), predictor(p.predictor or predict)
    return analyse(p, law, told, load, method, by_size=False).mean_response_time


# Exponential sizes and predictions: E[S^k; Y > y] is a Bessel function, and every formula a single integral.


def tail(k, y):
    return 2 * y ** ((k + 1) / 2) * kv(k + 1, 2 * np.sqrt(y))


def over_y(value):
    def density(y):
        return 2 * kv(0, 2 * np.sqrt(y)) * value(y)

    return sum(quad(density, a, b, limit=200, epsabs=1e-12)[0] for a, b in ((0, 1), (1, 20), (20, 400)))


def by_quadrature(name, lam):
    def idle(y):
        return 1 - lam * (1 - tail(1, y))

    if name == "spjf":
        return 1 + over_y(lambda y: lam / idle(y) ** 2)
    if name == "pspjf":
        return over_y(lambda y: lam / 2 * (2 - tail(2, y)) / idle(y) ** 2) + sum(
            quad(lambda y: 2 * np.sqrt(y) * kv(1, 2 * np.sqrt(y)) / idle(y), a, b, limit=200)[0]
            for a, b in ((0, 1), (1, 20), (20, 400))
        )
    wait = over_y(lambda y: lam / 2 * (2 - tail(2, y) + (1 - 2 / np.e) * tail(2, y)) / idle(y) ** 2)
    parts = (quad(lambda z: tail(0, z) / idle(z), a, b, limit=200)[0] for a, b in ((0, 1), (1, 20), (20, 400)))
    return wait + (1 - 1 / np.e) * sum(parts) + 1 / np.e


@pytest.mark.parametrize("name", ["spjf", "pspjf", "sprpt"])
def test_exponential_predictions_agree_with_adaptive_quadrature(name):
    for load in LOADS:
        exact = by_quadrature(name, load)
        assert mean(name, load=load) == pytest.approx(exact, rel=1e-4)
        assert mean(name, load=load, method="soap") == pytest.approx(exact, rel=3e-4)


def test_printed_anchors():
    assert mean("sprpt", load=0.5) == pytest.approx(1.6583, rel=1e-4)
    assert mean("sprpt", load=0.9) == pytest.approx(5.0985, rel=1e-4)
    assert mean("pspjf", load=0.99) == pytest.approx(29.415, rel=1e-4)
    assert mean("limited-preemption:c=0.2") == pytest.approx(3.1941, rel=2e-4)
    assert mean("limited-preemption:c=0.8") == pytest.approx(3.1428, rel=2e-4)


# The same answer by two methods, over laws and predictors.

PAIRS = [
    ("exponential", "lognormal:sigma=0.5"),
    ("weibull:shape=0.5", "exponential"),
    ("uniform", "uniform:alpha=0.5"),
    ("bounded-pareto:alpha=1.5,high=1000", "normal:sigma=0.5"),
    ("gamma:shape=2", "exact"),
]


@pytest.mark.parametrize("name", [name for name in POLICIES if policy(name).formula])
@pytest.mark.parametrize(("size", "predict"), PAIRS)  # these last, as policies share the joint law of a pair
def test_soap_agrees_with_the_closed_form(name, size, predict):
    formula = mean(name, size, predict, 0.9, "formula")
    assert mean(name, size, predict, 0.9, "soap") == pytest.approx(formula, rel=5e-4)


@pytest.mark.parametrize("size", ["weibull:shape=0.5", "gamma:shape=2", "hyperexponential:p=0.9,ratio=10"])
@pytest.mark.parametrize("load", [0.5, 0.9])
def test_las_agrees_with_its_integral(size, load):
    law = size_law(size)

    def response(x):
        rho = load * (law.partial_moment(1, x) + x * law.sf(x))
        second = law.partial_moment(2, x) + x**2 * law.sf(x)
        return load * second / (2 * (1 - rho) ** 2) + x / (1 - rho)

    x, p = law.quadrature(np.concatenate([[0], np.geomspace(1e-8, float(law.isf(1e-14)), 3000)]))
    assert mean("las", size, load=load) == pytest.approx(float(np.sum(p * response(x))), rel=2e-4)


@pytest.mark.parametrize("load", [0.5, 0.8, 0.98])
def test_one_bit_closed_forms(load):
    t1, t2 = one_bit_exponential(load, 1.482)
    assert t1 == pytest.approx(load * t2 + 1)
    assert mean("one-bit:threshold=1.482", load=load) == pytest.approx(t1, rel=1e-6)
    assert mean("one-bit-lcfs:threshold=1.482", load=load) == pytest.approx(t2, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "load", "value"),
    [("one-bit:threshold=2.72", 0.9, 10.667), ("one-bit-lcfs:threshold=9.5", 0.95, 9.684)],
)
def test_weibull_anchors(name, load, value):
    assert mean(name, "weibull:shape=0.5", load=load) == pytest.approx(value, rel=5e-4)


def test_mean_response_is_the_average_over_sizes():
    result = analyse(policy("sprpt"), size_law("uniform"), predictor("uniform:alpha=0.5"), 0.8)
    x = result.sizes
    density = np.interp(x, [0, 2], [0.5, 0.5])
    assert np.trapezoid(result.response_time_by_size * density, x) == pytest.approx(result.mean_response_time, rel=1e-3)


def test_mean_slowdown_is_infinite_where_short_jobs_wait():
    assert analyse(policy("fcfs"), size_law("exponential"), None, 0.8).mean_slowdown == np.inf
    assert analyse(policy("lcfs"), size_law("exponential"), None, 0.8).mean_slowdown == pytest.approx(5, rel=1e-3)


def test_many_buckets_are_nearly_exact_predictions():
    assert mean("sprpt", predict="buckets:k=1000") == pytest.approx(mean("srpt"), rel=3e-4)


# Gittins.


@pytest.mark.parametrize(
    ("size", "same_as"), [("gamma:shape=2", "fcfs"), ("weibull:shape=0.5", "las"), ("uniform", "fcfs")]
)
def test_blind_gittins_is_fcfs_or_las_where_the_hazard_is_monotone(size, same_as):
    assert mean("gittins-blind", size) == pytest.approx(mean(same_as, size), rel=1e-3)


def test_gittins_with_exact_predictions_is_srpt():
    assert mean("gittins", predict="exact") == pytest.approx(mean("srpt"), rel=5e-4)


def test_gittins_with_predictions_anchors():
    assert mean("gittins", load=0.5) == pytest.approx(1.625, rel=2e-3)
    assert mean("gittins", load=0.8) == pytest.approx(3.056, rel=2e-3)


INFORMATION = [*PAIRS[:3], ("hyperexponential:p=0.9,ratio=10", "buckets:k=8"), ("gamma:shape=2", "one-bit:threshold=1")]


@pytest.mark.parametrize(("size", "predict"), INFORMATION)
def test_no_policy_with_the_same_information_beats_gittins(size, predict):
    best = mean("gittins", size, predict)
    for name in POLICIES:
        rival = policy(name)
        if rival.predictor is not None or name.startswith("gittins") or "deadline" in rival.reads():
            continue
        assert best <= mean(name, size, predict) * (1 + 3e-4), name


def test_gittins_index_of_samples_of_one_value_is_what_remains():
    ages, ranks = gittins_of_samples(np.full(10, 3.0))
    assert np.allclose(ranks, np.maximum(3.0 - ages, 0), atol=1e-6)


# Consistency of the bounce, and of the form that the survey prints.


def printed_bounce(job, params):
    return max(abs(job.predicted - job.age), job.predicted)


def test_the_bounce_is_consistent_and_the_printed_form_is_not():
    srpt, psjf = mean("srpt"), mean("psjf")
    gaps = [mean("sprpt-bounce", predict=f"uniform:alpha={error}") - srpt for error in (0.5, 0.2, 0.1, 0.01)]
    assert all(a > b for a, b in itertools.pairwise(gaps))
    assert gaps[-1] < 1e-3
    printed = analyse(policy(printed_bounce), size_law("exponential"), predictor("uniform:alpha=0.01"), 0.8)
    assert printed.mean_response_time == pytest.approx(psjf, rel=1e-3)
    assert printed.mean_response_time > srpt * 1.1


# A new prediction model is analysed with no new theory; what is outside the theorem is refused.


def test_unstable_load_is_an_error_not_a_number():
    for load in (1.0, 1.2, np.inf):
        with pytest.raises(Unstable, match="unstable"):
            mean("fcfs", load=load)
    for load in (0.0, -0.5, np.nan):
        with pytest.raises(BadInput, match="load"):
            mean("fcfs", load=load)


def test_a_rank_that_reads_the_arrival_is_outside_the_theorem():
    def newest(job, params):
        return -job.arrival

    with pytest.raises(NotApplicable, match="arrival"):
        analyse(policy(newest), size_law("exponential"), None, 0.8)


def test_a_policy_that_needs_a_prediction_says_so():
    with pytest.raises(NotApplicable, match="predict"):
        mean("sprpt", predict="none")


def test_lcfs_ties_of_a_user_policy_are_analysed():
    def same(job, params):
        return 0.0

    newest_first = Policy("newest-first", same, shape="constant", lcfs_up_to=np.inf)
    result = analyse(newest_first, size_law("weibull:shape=0.5"), None, 0.8)
    assert result.method == "soap"
    assert result.mean_response_time == pytest.approx(5.0, rel=1e-4)


def test_two_sets_of_samples_are_not_taken_for_one():
    rng = np.random.default_rng(0)
    light, heavy = Empirical(rng.uniform(0.5, 1.5, 300)), Empirical(rng.exponential(size=300) ** 2)
    assert light != heavy
    results = [analyse(policy("gittins-blind"), law, None, 0.8).mean_response_time for law in (light, heavy)]
    assert results[0] == pytest.approx(analyse(policy("fcfs"), light, None, 0.8).mean_response_time, rel=0.05)
    assert results[1] < 0.8 * analyse(policy("fcfs"), heavy, None, 0.8).mean_response_time


def test_theory_and_simulation_agree_on_ranks_of_samples():
    """The rank of a law with many atoms jumps at each; the engine must neither miss that nor stand still at one."""
    tokens = np.random.default_rng(1).geometric(0.01, 20_000).astype(float)
    scenario = Scenario(size=Empirical(tokens), load=0.7, n_jobs=100_000)
    for name in ("gittins-blind", "gittins", "las"):
        inside(name, scenario, 2)


@dataclass(frozen=True)
class SometimesBlind(Predictor):
    """A prediction model that the library does not know: three jobs in ten get a guess that says nothing."""

    def predict(self, sizes, rng):
        guess, noise = rng.exponential(size=len(sizes)), rng.uniform(0.8, 1.2, len(sizes))
        return np.where(rng.random(len(sizes)) < 0.3, guess, noise * sizes)

    def cdf(self, y, x):
        y, x = np.maximum(y, 0.0), np.asarray(x)
        return 0.3 * -np.expm1(-y) + 0.7 * np.clip((y / x - 0.8) / 0.4, 0.0, 1.0)


def test_a_new_prediction_model_needs_no_new_theory():
    scenario = Scenario(predictor=SometimesBlind(), n_jobs=200_000)
    names = ("spjf", "sprpt", "sprpt-bounce", "gittins", "one-bit-lcfs")
    means = {name: inside(name, scenario, 5) for name in names}
    assert min(means, key=means.get) == "gittins"


def bump(job, params):
    return job.predicted + 2.0 * math.exp(-4.0 * (job.age - 1.0) ** 2) + 0.3 * job.age


def test_peaks_of_a_rank_are_levels_even_where_levels_are_few(monkeypatch):
    """Waiting jumps at a peak: with a twentieth of the levels the mean is the same, if the peaks are among them."""
    law = size_law("hyperexponential:p=0.9,ratio=10")
    joint = JointLaw(law, predictor("buckets:k=8").bind(law), 1200, 0)
    means = []
    for most in (160_000, 2400):
        monkeypatch.setattr(soap_module, "MAX_WORK", most)
        types = soap_module.soap(policy(bump), np.zeros(1), joint, 0.8)
        means.append(sum(float((t.p * t.response).sum()) for t in types))
    assert means[1] == pytest.approx(means[0], rel=5e-3)


# Heavy tails: most of E[S^2] is in sizes that next to no job has.


@pytest.mark.parametrize(
    ("name", "right"),  # by quadrature of both laws in log size, on panels to where E[S^2] ends
    [("spjf", 2928.27293), ("pspjf", 1.85481463), ("sprpt", 184.28529), ("one-bit-fcfs:threshold=1", 691.592432)],
)
@pytest.mark.parametrize("method", ["formula", "soap"])
def test_heavy_tails(name, right, method):
    got = mean(name, "lognormal:sigma=3", "lognormal:sigma=0.5", 0.7, method)
    assert got == pytest.approx(right, rel=1e-4)


@pytest.mark.parametrize(
    "size", ["lognormal:sigma=4", "weibull:shape=0.2", "bounded-pareto:alpha=2.05,high=1e9", "bounded-pareto:alpha=0.5"]
)
def test_no_part_of_the_second_moment_is_cut_off(size):
    law = size_law(size)
    joint = JointLaw(law, None, 2400, 0)
    assert joint.p @ joint.x**2 == pytest.approx(law.moment(2), rel=1e-5)
    below, above = JointLaw(law, predictor("lognormal:sigma=0.5"), 300, 200).at_levels
    assert below[2, 0] < 1e-6 * law.moment(2)
    assert above[2, -1] < 1e-9 * law.moment(2)


@pytest.mark.parametrize(
    ("size", "right"),  # by quadrature of Schrage's formula
    [("lognormal:sigma=3", 2.05743399), ("hyperexponential:p=0.999,ratio=1000", 2.12357473)],
)
def test_srpt_of_heavy_tails(size, right):
    assert mean("srpt", size) == pytest.approx(right, rel=1e-6)
    assert srpt_bracket(size_law(size), 0.8, 1).low == pytest.approx(right, rel=1e-6)
    assert mean("srpt", size, method="soap") == pytest.approx(right, rel=1e-3)


# Ends of the range.


def test_close_to_saturation_all_numbers_are_of_one_queue():
    load = 1 - 2.0**-53
    result = analyse(policy("fcfs"), size_law("exponential"), None, load)
    assert result.mean_response_time == pytest.approx(2.0**53)
    assert result.response_time_by_size == pytest.approx(2.0**53)


def test_a_predictor_that_states_no_law_is_refused():
    class Unstated(Predictor):
        name = "unstated"

    with pytest.raises(NotApplicable, match=r"unstated.*cdf"):
        analyse(policy("sprpt"), size_law("exponential"), Unstated(), 0.8)


def test_no_load_is_bad_input():
    for load in (None, "0.8"):
        with pytest.raises(BadInput, match="load"):
            mean("fcfs", load=load)

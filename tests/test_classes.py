"""Classes of predicted size: edges against other minimisers, limits of one and of many classes, and simulation."""

import itertools

import numpy as np
import pytest
from agreement import inside
from scipy.integrate import quad
from scipy.optimize import minimize, minimize_scalar
from scipy.special import kv

from llmqueue_gym import analyse, policy, predictor, size_law
from llmqueue_gym.errors import BadInput, NotApplicable
from llmqueue_gym.systems import Scenario
from llmqueue_gym.theory.classes import best_edges, even_edges, mean_response_time
from llmqueue_gym.theory.joint import JointLaw

NOISY = ("exponential", "lognormal:sigma=0.5", "weibull:shape=0.5")
COUNTS = (512, 2048)
both = pytest.mark.parametrize("name", ["classes", "preemptive-classes"])


def mean(spec, size="exponential", predict="exact", load=0.8):
    return analyse(policy(spec), size_law(size), predictor(predict), load, by_size=False).mean_response_time


# Exponential sizes, exact or with exponential predictions: E[S^k; Y > y] in closed form, and any minimiser of scipy.


def tails_exact(y):
    return np.exp(-y), np.exp(-y) * (1 + y), np.exp(-y) * (y * y + 2 * y + 2)


def tails_exponential(y):
    return tuple(2 * y ** ((k + 1) / 2) * kv(k + 1, 2 * np.sqrt(y)) for k in range(3))


def by_formula(edges, load, tails, preemptive):
    jobs, work, squares = (np.concatenate([[m], t, [0]]) for m, t in zip((1, 1, 2), tails(edges), strict=True))
    idle = 1 - load * (1 - work)
    if preemptive:
        waits = -np.diff(jobs) * load / 2 * (2 - squares[1:]) / (idle[:-1] * idle[1:])
        return np.sum(-np.diff(work) / idle[:-1] + waits)
    return 1 + np.sum(-np.diff(jobs) * load / (idle[:-1] * idle[1:]))


@pytest.mark.parametrize("load", [0.5, 0.9])
@pytest.mark.parametrize(("predict", "tails"), [("exact", tails_exact), ("exponential", tails_exponential)])
@both
def test_best_edges_are_those_of_another_minimiser(name, predict, tails, load):
    preemptive, rng = name != "classes", np.random.default_rng(1)
    for k in (2, 3, 4):
        found = mean(f"{name}:k={k}", "exponential", predict, load)
        starts = np.log(rng.exponential(1.0, (6, k - 1)) + 0.01)
        least = min(
            minimize(lambda u: by_formula(np.cumsum(np.exp(u)), load, tails, preemptive), start).fun for start in starts
        )
        assert found == pytest.approx(least, rel=1e-7)


def test_exact_values_of_few_classes():
    assert mean("preemptive-classes:k=4") == pytest.approx(2.571546, abs=1e-6)
    assert mean("preemptive-classes:k=8") == pytest.approx(2.559594, abs=1e-6)
    assert mean("pspjf") == pytest.approx(2.6589, abs=1e-4)  # all bits, and worse


def test_two_classes_are_one_bit_at_its_best_threshold():
    for name, one_bit in (("classes", "one-bit"), ("preemptive-classes", "one-bit-fcfs")):
        best = minimize_scalar(
            lambda t, bit=one_bit: mean(f"{bit}:threshold={float(t)!r}", *NOISY[:2]),
            bounds=(0.2, 5.0),
            method="bounded",
        )
        assert mean(f"{name}:k=2", *NOISY[:2]) == pytest.approx(best.fun, rel=1e-6)
        edge = float(policy(f"{name}:k=2").params_for(size_law(NOISY[0]), predictor(NOISY[1]), load=0.8)[0])
        assert edge == pytest.approx(best.x, rel=1e-2)
        spec = f"{name}:edges=1.3"
        assert mean(spec, *NOISY[:2]) == pytest.approx(mean(f"{one_bit}:threshold=1.3", *NOISY[:2]), rel=1e-12)


@both
def test_best_edges_of_few_predictions_are_the_best_of_all_subsets(name):
    size, told = size_law("weibull:shape=0.5"), predictor("buckets:k=6,noise=lognormal:sigma=0.5")
    joint, preemptive = JointLaw(size, told.bind(size)), name != "classes"
    values = told.bind(size).atoms()[:-1]
    for k in (2, 3, 5, 9):
        subsets = itertools.chain(*(itertools.combinations(values, n) for n in range(k)))
        least = min(mean_response_time(joint, 0.9, *edges, preemptive=preemptive) for edges in subsets)
        edges = best_edges(joint, 0.9, k, preemptive)
        assert len(edges) < k and set(edges) <= set(values)
        assert mean_response_time(joint, 0.9, *edges, preemptive=preemptive) == pytest.approx(least, rel=1e-12)


# One class and many.


@both
@pytest.mark.parametrize("edges", ["optimal", "quantile", "work"])
def test_one_class_is_fcfs(name, edges):
    assert mean(f"{name}:k=1,edges={edges}", *NOISY[:2]) == pytest.approx(mean("fcfs"), rel=1e-9)
    scenario = Scenario(n_jobs=2000)
    times = [scenario.simulate(p, 3).response_times for p in (f"{name}:k=1,edges={edges}", "fcfs")]
    np.testing.assert_array_equal(*times)


@pytest.mark.parametrize(("name", "limit"), [("classes", "spjf"), ("preemptive-classes", "pspjf")])
@pytest.mark.parametrize("predict", ["exact", "exponential"])
@pytest.mark.parametrize("edges", ["quantile", "work"])
def test_ever_more_even_classes_become_the_order_by_size(name, limit, predict, edges):
    all_bits = mean(limit, "exponential", predict)
    gaps = [abs(mean(f"{name}:k={k},edges={edges}", "exponential", predict) - all_bits) for k in (64, 256)]
    assert gaps[0] < 0.02 * all_bits and gaps[1] < gaps[0] / 2


@pytest.mark.parametrize(("size", "predict"), [("exponential", "exact"), ("weibull:shape=0.5", "lognormal:sigma=0.5")])
def test_without_preemption_the_excess_falls_as_one_over_k_squared(size, predict):
    k = np.array([8, 16])
    excess = [mean(f"classes:k={n}", size, predict) - mean("spjf", size, predict) for n in k]
    assert np.polyfit(np.log(k), np.log(excess), 1)[0] == pytest.approx(-2, abs=0.05)


def test_best_edges_never_get_worse_with_more_classes():
    for name in ("classes", "preemptive-classes"):
        means = [mean(f"{name}:k={k}", *NOISY[:2]) for k in (1, 2, 4, 8)]
        assert (np.diff(means) < 0).all()


def test_how_pspjf_is_approached_follows_from_the_spread_of_sizes_among_equals():
    """k (PSPJF - E[T] of k equal classes) -> lambda / 4 E[(2 E[S | Y]^2 - E[S^2 | Y]) / (1 - rho_Y)^2]; here Y = S."""
    limit = quad(lambda x: 0.2 * x * x * np.exp(-x) / (1 - 0.8 * (1 - np.exp(-x) * (1 + x))) ** 2, 0, 50)[0]
    joint = JointLaw(size_law("exponential"), predictor("exact"))
    gain = [mean("pspjf") - mean_response_time(joint, 0.8, *even_edges(joint, k, 0), preemptive=True) for k in COUNTS]
    rest = np.array(COUNTS) * gain / limit - 1
    assert abs(rest[1]) < 0.05 and abs(rest[1]) < 0.5 * abs(rest[0])


def test_whether_few_preemptive_classes_beat_all_bits_depends_on_the_spread():
    for size, predict in (("exponential", "exact"), ("exponential", "lognormal:sigma=2")):
        assert mean("preemptive-classes:k=8", size, predict) < mean("pspjf", size, predict)
    assert mean("preemptive-classes:k=2", "uniform") < mean("pspjf", "uniform")  # one bit
    heavy = ("weibull:shape=0.5", "lognormal:sigma=2")  # jobs of one prediction differ by more than their mean
    assert mean("preemptive-classes:k=16", *heavy) > mean("pspjf", *heavy)


# Who needs a prediction at all.


def found(run):
    """Return how many jobs each arrival finds in system `(n,)`."""
    order = np.sort(run.outcome["completion"])
    return np.arange(len(order)) - np.searchsorted(order, run.jobs["arrival"], side="right")


@pytest.mark.parametrize(
    ("spec", "most", "same"),
    [
        ("one-bit:threshold=1.5", 1, True),  # the front of an empty queue is its back
        ("one-bit:threshold=1.5", 2, False),
        ("one-bit-lcfs:threshold=1.5", 0, True),
        ("one-bit-lcfs:threshold=1.5", 1, False),
        ("classes:edges=1.5", 1, False),  # a short that comes next must know whether it may overtake
        ("classes:edges=1.5", 0, True),
    ],
)
def test_who_finds_few_in_system_needs_no_bit(spec, most, same):
    """One bit: other predictions for all jobs that find at most so many in system lead to the same run, or do not."""
    scenario, order = Scenario(load=0.8, n_jobs=20_000), policy(spec)
    drawn = scenario.draw(1)
    run = scenario.system.simulate(drawn, order)
    few = found(run) <= most
    drawn.work["predicted"][few] = np.random.default_rng(2).exponential(2.0, few.sum())
    other = scenario.system.simulate(drawn, order)
    assert np.array_equal(run.response_times, other.response_times) == same


# The policies in a system.


@both
@pytest.mark.parametrize("spec", ["k=3", "k=3,edges=work", "edges=0.5;2"])
def test_simulation_agrees(name, spec):
    scenario = Scenario(predictor="lognormal:sigma=0.5", load=0.8, n_jobs=400_000)
    inside(f"{name}:{spec}", scenario, seed=5)


def test_edges_follow_the_load_however_it_is_told():
    at = [Scenario(load=0.9), Scenario(rate=0.9), Scenario("central", servers=2, rate=1.8)]
    edges = [policy("classes:k=3").params_for(**scenario.facts()) for scenario in at]
    np.testing.assert_allclose(edges[1:], [edges[0]] * 2, rtol=1e-6)
    other = policy("classes:k=3").params_for(**Scenario(load=0.5).facts())
    assert np.abs(other / edges[0] - 1).max() > 0.05


def test_shares_of_even_classes():
    size, told = size_law("weibull:shape=0.5"), predictor("lognormal:sigma=0.5")
    joint = JointLaw(size, told.bind(size))
    for order in (0, 1):
        below = joint.parted((order,), even_edges(joint, 4, order))[0, 0]
        np.testing.assert_allclose(below / size.moment(order), [0.25, 0.5, 0.75], rtol=1e-4)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("classes:k=0", "k=0 classes"),
        ("classes:edges=optimum", "did you mean 'optimal'"),
        ("preemptive-classes:edges=2;1", "ascending"),
        ("preemptive-classes:edges=0;1", "positive"),
        ("classes:k=3,edges=1;2;3", "3 edges part 4"),
    ],
)
def test_bad_parameters(spec, message):
    with pytest.raises(BadInput, match=message):
        policy(spec)


def test_what_edges_need():
    with pytest.raises(NotApplicable, match="predicts nothing"):
        mean("classes:k=2", predict="none")
    law, told = size_law("exponential"), predictor("exact")
    with pytest.raises(BadInput, match="none is told"):
        policy("classes:k=2").params_for(law, told)
    with pytest.raises(BadInput, match=r"not 1\.2"):
        policy("classes:k=2").params_for(law, told, load=1.2)
    assert len(policy("classes:k=2,edges=quantile").params_for(law, told)) == 1

"""One bit of advice: what a wrong bit costs, which bits are best, and models of which bits are wrong."""

import itertools

import numpy as np
import pytest
from agreement import inside
from scipy.optimize import linprog, minimize_scalar

from llmqueue_gym import analyse, policy, predictor, size_law
from llmqueue_gym.distributions.discrete import Empirical
from llmqueue_gym.errors import BadInput
from llmqueue_gym.predictors.confused_bit import WHERE
from llmqueue_gym.systems import Scenario
from llmqueue_gym.theory.joint import JointLaw
from llmqueue_gym.theory.one_bit_advice import OneBitAdvice

EXPONENTIAL = size_law("exponential")
ATOM = 0.012  # half an atom of 50 may be called wrong too many where the width ends at it, and a little for chance
POLICIES = {False: "one-bit", True: "one-bit-lcfs"}
both = pytest.mark.parametrize("preemptive", POLICIES)


def mean(spec, predict, load=0.8, size=EXPONENTIAL):
    return analyse(policy(spec), size, predictor(predict), load, by_size=False).mean_response_time


@pytest.fixture(scope="module")
def points():
    joint = JointLaw(EXPONENTIAL, cuts=(1.5,))
    return joint.x, joint.p


@both
def test_it_is_the_closed_form(preemptive, points):
    queue = OneBitAdvice(1.0, 2.0, 0.8, preemptive)
    told = predictor("confused-bit:threshold=1.5,error=0.2,where=logistic").bind(EXPONENTIAL)
    called = queue.called_short(*points, 1.5, told.wrong(points[0]))
    exact = mean(f"{POLICIES[preemptive]}:threshold=1.5", told)
    assert queue.mean_response_time(*called) == pytest.approx(exact, rel=1e-5)


@both
@pytest.mark.parametrize("size", ["exponential", "weibull:shape=0.5"])
def test_the_size_that_makes_no_difference_is_the_best_threshold(preemptive, size):
    law = size_law(size)
    queue = OneBitAdvice(law.mean, law.moment(2), 0.8, preemptive)

    def at(u):
        return float(queue.mean_response_time(law.cdf(np.exp(u)), law.partial_moment(1, np.exp(u))))

    best = minimize_scalar(at, bounds=(-2, 4), method="bounded", options={"xatol": 1e-9})
    t = np.exp(best.x)
    assert queue.indifferent_size(law.cdf(t), law.partial_moment(1, t)) == pytest.approx(t, rel=1e-4)
    if not preemptive:
        fcfs = analyse(policy("fcfs"), law, None, 0.8).mean_response_time
        assert (best.fun - law.mean) / (fcfs - law.mean) == pytest.approx(law.mean / t, rel=1e-4)


@both
def test_a_wrong_bit_costs_by_the_distance_to_it(preemptive, points):
    x, p = points
    queue = OneBitAdvice(1.0, 2.0, 0.8, preemptive)
    best = queue.best_bits(p, x)
    share, work = float(p[best].sum()), float((p * x)[best].sum())
    for i in np.searchsorted(x, (0.1, 1.0, 4.0, 12.0)):
        sign, few = (-1 if best[i] else 1), 1e-7
        moved = queue.mean_response_time(share + sign * few, work + sign * few * x[i])
        slope = (moved - queue.mean_response_time(share, work)) / few
        assert slope == pytest.approx(float(queue.cost_of_error(x[i : i + 1], share, work)[0]), rel=1e-3)


@both
def test_the_best_bits_are_the_best_of_all(preemptive):
    p, means = np.array([0.3, 0.1, 0.25, 0.2, 0.1, 0.05]), np.array([0.2, 3.0, 0.9, 1.2, 0.5, 6.0])
    queue = OneBitAdvice(float(p @ means), 9.0, 0.9, preemptive)
    masks = [np.array(mask) for mask in itertools.product((False, True), repeat=len(p))]
    values = [queue.mean_response_time(p[mask].sum(), (p * means)[mask].sum()) for mask in masks]
    np.testing.assert_array_equal(queue.best_bits(p, means), masks[int(np.argmin(values))])


@both
@pytest.mark.parametrize("worst", [False, True])
def test_errors_are_placed_as_a_linear_program_places_them(preemptive, worst):
    """Charnes and Cooper turn the ratio into a linear program."""
    x = np.array([0.1, 0.4, 0.9, 1.4, 2.0, 3.0, 6.0])
    p = np.array([0.2, 0.2, 0.15, 0.15, 0.15, 0.1, 0.05])
    queue = OneBitAdvice(float(p @ x), float(p @ x**2), 0.8, preemptive)
    base, a, b, lam = queue._line
    for error in (0.1, 0.3):
        wrong = queue.errors(x, p, 1.0, error, worst)
        assert wrong @ p == pytest.approx(error)
        found = queue.mean_response_time(*queue.called_short(x, p, 1.0, wrong))
        # q = called short; variables are (q / d, 1 / d), d = 1 - lambda E[S q]
        sign, n, short = (-1 if worst else 1), len(x), x <= 1.0
        equal = np.vstack([np.append(-lam * p * x, 1.0), np.append(np.where(short, -p, p), (p @ short) - error)])
        within = np.hstack([np.eye(n), -np.ones((n, 1))])
        program = linprog(sign * np.append(-b * p, a), within, np.zeros(n), equal, [1.0, 0.0])
        assert found == pytest.approx(base + sign * program.fun, rel=1e-6)


def test_bits_that_are_wrong_more_often_may_be_better():
    law, told = size_law("weibull:shape=0.5"), predictor("exponential")
    queue, rows = OneBitAdvice(law.mean, law.moment(2), 0.8), JointLaw(law, told).rows
    p, work = (np.array([row.p @ row.x**k for row in rows]) for k in (0, 1))
    best = queue.best_bits(p, work / p)
    middle = queue.indifferent_size(float(p @ best), float(work @ best))
    short = np.array([row.p @ (row.x <= middle) for row in rows])
    often = short > p - short
    wrong = [float(np.where(bits, p - short, short).sum()) for bits in (best, often)]
    means = [queue.mean_response_time(float(p @ bits), float(work @ bits)) for bits in (best, often)]
    assert wrong[0] > 1.1 * wrong[1] and means[0] < 0.98 * means[1]
    assert means[0] == pytest.approx(mean("classes:k=2", told, size=law), rel=1e-4)  # a threshold of the prediction


# Models of which bits are wrong.


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("size", ["exponential", "weibull:shape=0.5", "empirical"])
def test_as_many_bits_are_wrong_as_told(where, size):
    law, threshold = Empirical(samples=np.arange(1.0, 51.0) / 25) if size == "empirical" else size_law(size), 0.8
    told = predictor(f"confused-bit:threshold={threshold},error=0.15,where={where}").bind(law)
    sizes = law.sample(200_000, np.random.default_rng(1))
    bits = told.predict(sizes, np.random.default_rng(2)) < threshold
    assert np.mean(bits != (sizes <= threshold)) == pytest.approx(0.15, abs=ATOM if size == "empirical" else 0.004)


def test_errors_on_longs_hurt_most_and_at_the_edge_least():
    best = 1.7
    means = {w: mean(f"one-bit:threshold={best}", f"confused-bit:threshold={best},error=0.1,where={w}") for w in WHERE}
    assert means["edge"] < means["logistic"] < means["shorts"] < means["anywhere"] < means["longs"]


@both
def test_no_model_is_outside_the_best_and_the_worst_placement(preemptive, points):
    queue = OneBitAdvice(1.0, 2.0, 0.8, preemptive)
    ends = [queue.called_short(*points, 1.5, queue.errors(*points, 1.5, 0.1, worst)) for worst in (False, True)]
    low, high = (queue.mean_response_time(*called) for called in ends)
    for where in WHERE:
        told = f"confused-bit:threshold=1.5,error=0.1,where={where}"
        assert low - 1e-4 < mean(f"{POLICIES[preemptive]}:threshold=1.5", told) < high + 1e-4


def test_simulation_agrees():
    told = "confused-bit:threshold=1.5,error=0.1,where=longs"
    inside("one-bit:threshold=1.5", Scenario(predictor=told, load=0.8, n_jobs=400_000), seed=4)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("threshold=0", "positive"),
        ("error=1.5", "share"),
        ("where=short", "did you mean 'shorts'"),
        ("threshold=0.1,error=0.2,where=shorts", r"choose 0\.0951626 at most"),
        ("error=0.6,where=edge", "in all"),
    ],
)
def test_bad_parameters(spec, message):
    with pytest.raises(BadInput, match=message):
        predictor(f"confused-bit:{spec}").bind(EXPONENTIAL)
    with pytest.raises(BadInput, match="before bind"):
        predictor("confused-bit").predict(np.ones(2), np.random.default_rng(0))

"""Jobs with stages: the calculator against single integrals, laws that are known otherwise, and simulation."""

from functools import partial

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from llmqueue_gym.distributions import size_law
from llmqueue_gym.distributions.discrete import Empirical
from llmqueue_gym.errors import BadInput, NotApplicable, Unstable
from llmqueue_gym.evaluation import batch_means
from llmqueue_gym.policies import policy
from llmqueue_gym.policies.predicting import PREDICTING, PredictingPolicy
from llmqueue_gym.predictors import predictor
from llmqueue_gym.predictors.cost import predictor_cost
from llmqueue_gym.systems import Scenario
from llmqueue_gym.systems.optimum import best
from llmqueue_gym.theory import analyse
from llmqueue_gym.theory.closed_forms import FORMULAS
from llmqueue_gym.theory.joint import JointLaw
from llmqueue_gym.theory.stages import analyse_stages

OUTSIDE, SERVER = "cheap=0.5,expensive=2", "cheap=0.01,expensive=0.05,where=server"


def staged(spec, load, costs=OUTSIDE, size="exponential", predict="exponential", cells=400, **more):
    law = size_law(size) if isinstance(size, str) else size
    return analyse_stages(PREDICTING(spec), law, predictor(predict), load, predictor_cost(costs), cells=cells, **more)


def mean(*given, **told):
    return staged(*given, **told).mean_response_time


# With exponential predictions all that the formulas of SkipPredict and DelayPredict need are integrals over the size.


class Sizes:
    """Nodes x and weights of the size law, and of a threshold that no node crosses."""

    def __init__(self, size, at):
        law = size_law(size)
        edges = np.unique(np.concatenate([[0.0, at], np.geomspace(1e-9, float(law.isf(1e-16)), 400)]))
        self.x, self.p = law.quadrature(edges)

    def __call__(self, value):
        return np.sum(self.p * value, axis=-1)


def over(function, low, high, n=4000):
    """Integral of a function of `(n,)` over numbers from low to high, dense near low."""
    nodes, weights = np.polynomial.legendre.leggauss(6)
    edges = low + np.append(0.0, np.geomspace(1e-9, high - low, n // 6))
    half = 0.5 * np.diff(edges)[:, None]
    at = (edges[:-1, None] + half + half * nodes).ravel()
    return float(np.sum((half * weights).ravel() * function(at)))


def skip_predict(size, load, threshold, a1=0.0, a2=0.0):
    law = Sizes(size, threshold)
    x, lam = law.x, load
    long = np.exp(-threshold / x)
    short = 1 - long

    def later(y, value):  # E[value; long, Y > y]
        return law(value * long * np.exp(-y[:, None] / x))

    def rho(y):
        return lam * (a1 + law(x * short) + a2 * law(long) + law(x * long) - later(y, x))

    def density(y):
        return law(long * np.exp(-y[:, None] / x) / x)

    def waiting(y):
        above = later(y, (a1 + a2) ** 2 + (1 - 2 / np.e) * x**2)
        first = law((a1 + x) ** 2 * short) + law((a1 + a2 + x) ** 2 * long) - later(y, (a1 + a2 + x) ** 2)
        return 0.5 * lam * (first + above) / (1 - rho(y)) ** 2 + (a1 + a2) / (1 - rho(y))

    top = 400 * float(size_law(size).isf(1e-9))
    old = 0.5 * lam * (law((a1 + x) ** 2 * short) + a1**2 * law(long))
    shorts = law((a1 + x) * short) + law(short) * old / (1 - lam * (a1 + law(x * short)))
    residence = over(lambda z: (1 - 1 / np.e) * later(z, np.ones_like(x)) / (1 - rho(z)), 0, top)
    late = law(x * long) / np.e / (1 - rho(np.zeros(1))[0])
    return shorts + over(lambda y: density(y) * waiting(y), 0, top) + residence + late


def delay_predict(size, load, limit, a2=0.0):
    law = Sizes(size, limit)
    x, lam = law.x, load
    long, some = x > limit, np.minimum(x, limit)
    left = np.where(long, x - limit, 0.0)
    gone = 1 - np.exp(-left / x)

    def later(r, value):  # E[value; S > L, Y - L > r]
        return law(value * long * np.exp(-(limit + r[:, None]) / x))

    def rho(r):
        return lam * (law(some) + a2 * law(long) + law(left) - later(r, left))

    def density(r):
        return law(long * np.exp(-(limit + r[:, None]) / x) / x)

    def waiting(r):
        recycled = later(r, (limit + a2) ** 2 + left**2 - 2 * left * x + 2 * x**2 * gone)
        first = law(some**2 * ~long) + law((x + a2) ** 2 * long) - later(r, (x + a2) ** 2)
        return 0.5 * lam * (first + recycled) / (1 - rho(r)) ** 2 + (limit + a2) / (1 - rho(r))

    top = 400 * float(size_law(size).isf(1e-9))
    shorts = law(x * ~long) + law(~long) * 0.5 * lam * law(some**2) / (1 - lam * law(some))
    residence = over(lambda z: later(z, gone) / (1 - rho(z)), -limit, top)
    late = law((left - x * gone) * long) / (1 - lam * (law(some) + a2 * law(long)))
    return shorts + over(lambda r: density(r) * waiting(r), -limit, top) + residence + late


@pytest.mark.parametrize(
    ("spec", "formula"),
    [
        ("skip-predict:threshold=1.6", lambda load: skip_predict("weibull:shape=0.5", load, 1.6, 0.01, 0.05)),
        ("delay-predict:limit=1.6", lambda load: delay_predict("weibull:shape=0.5", load, 1.6, 0.05)),
    ],
)
def test_formulas_by_quadrature(spec, formula):
    for load in (0.5, 0.9):
        assert mean(spec, load, SERVER, "weibull:shape=0.5") == pytest.approx(formula(load), rel=5e-4)


@pytest.mark.parametrize(
    ("spec", "costs", "value", "price"),
    [
        ("skip-predict", OUTSIDE, skip_predict("exponential", 0.9, 1.0), 0.5 + 2 * 0.279731),
        ("skip-predict", SERVER, skip_predict("exponential", 0.9, 1.0, 0.01, 0.05), 0.0),
        ("delay-predict", OUTSIDE, delay_predict("exponential", 0.9, 1.0), 2 * np.exp(-1)),
        ("delay-predict", SERVER, delay_predict("exponential", 0.9, 1.0, 0.05), 0.0),
    ],
)
def test_anchors(spec, costs, value, price):
    printed = {"skip-predict": {OUTSIDE: 5.1699, SERVER: 6.3372}, "delay-predict": {OUTSIDE: 7.4852, SERVER: 8.9131}}
    assert value == pytest.approx(printed[spec][costs], rel=3e-5)
    found = staged(spec, 0.9, costs)
    assert found.mean_response_time == pytest.approx(value, rel=1e-4)
    assert found.price == pytest.approx(price, rel=1e-5, abs=1e-12)


# Laws that are known otherwise.


@pytest.mark.parametrize("first", ["true", "false"])
def test_selective_prediction_has_the_two_policies_at_its_ends(first):
    assert mean(f"selective:p=0,blind_first={first}", 0.8, cells=200) == pytest.approx(5.0, rel=1e-9)
    full = mean("sprpt-paid", 0.8, SERVER, cells=200)
    assert mean(f"selective:p=1,blind_first={first}", 0.8, SERVER, cells=200) == full


def test_a_single_class_is_sprpt_and_a_bit_is_two_classes():
    laws = size_law("exponential"), predictor("exponential")
    sprpt = analyse(policy("sprpt"), *laws, 0.9, by_size=False).mean_response_time
    assert mean("sprpt-paid", 0.9) == pytest.approx(sprpt, rel=3e-4)
    bit = analyse(policy("one-bit-fcfs:threshold=2"), *laws, 0.9, by_size=False)
    assert mean("one-bit-paid:threshold=2", 0.9) == pytest.approx(bit.mean_response_time, rel=1e-6)


def test_the_cheap_prediction_has_a_model_of_its_own():
    bit = analyse(policy("one-bit-fcfs:threshold=2"), size_law("exponential"), predictor("exact"), 0.8, by_size=False)
    found = mean("one-bit-paid:threshold=2", 0.8, cheap=predictor("exact"))
    assert found == pytest.approx(bit.mean_response_time, rel=1e-6)


def everybody_alike(job, stage, params):
    return 0.0


def profiled(job, stage, params):
    return 0 if stage.known & 2 else 3


@pytest.mark.parametrize("size", ["exponential", "uniform"])
def test_in_order_of_arrival_a_prediction_is_work_as_any_other(size):
    law, c, h, speed = size_law(size), 0.1, 0.4, 0.7
    paid = PredictingPolicy.from_function(everybody_alike)
    costs = f"expensive={c},where=server"
    exact = 1 + c + 0.5 * 0.8 * (law.moment(2) + 2 * c + c**2) / (1 - 0.8 * (1 + c))
    assert mean(paid, 0.8, costs, size, cells=200) == pytest.approx(exact, rel=1e-6)
    slow = PredictingPolicy("slow", everybody_alike, profiled)
    x, p = law.quadrature(np.unique(np.append(np.linspace(0, float(law.isf(1e-15)), 2000), h)))
    work = x + (1 / speed - 1) * np.minimum(x, h)
    exact = p @ work + 0.5 * 0.8 * (p @ work**2) / (1 - 0.8 * (p @ work))
    assert mean(slow, 0.8, f"profile={h},slow={1 - speed}", size, cells=200) == pytest.approx(exact, rel=1e-6)


# The best parameter.


def test_the_best_bit_is_that_of_the_closed_form():
    scenario = Scenario("predict", load=0.9)
    joint = JointLaw(scenario.law, scenario.fitted)
    least = minimize_scalar(lambda t: FORMULAS["one-bit-fcfs"](joint, 0.9, t), bounds=(0.1, 20), method="bounded")
    found = best("one-bit-paid", scenario)
    assert found.value == pytest.approx(least.x, rel=0.01)
    assert found.exact.cost == pytest.approx(least.fun + 0.5, rel=1e-5)


@pytest.mark.parametrize(("policy", "message"), [("sprpt-paid", "no parameter"), ("selective:p=0.5", "leave it out")])
def test_there_must_be_something_to_look_for(policy, message):
    with pytest.raises(BadInput, match=message):
        best(policy, Scenario("predict"))


# Simulation.

SMALL = Empirical.fit([0.25, 0.5, 0.5, 1.0, 2.0, 4.0])


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("selective:p=0.4", {"predictor_cost": SERVER, "load": 0.8}),
        ("selective:p=0.4,blind_first=false", {"predictor_cost": SERVER, "size": "gamma:shape=2", "load": 0.8}),
        ("profile", {"predictor_cost": "profile=0.5,slow=0.3", "load": 0.7}),
        ("delay-predict:limit=0.5", {"predictor_cost": "expensive=0.2,where=server", "size": SMALL, "load": 0.7}),
        ("skip-predict:threshold=1", {"predictor_cost": SERVER, "size": SMALL, "predictor": "exact", "load": 0.8}),
        ("skip-predict:threshold=2", {"predictor_cost": SERVER, "cheap_predictor": "lognormal:sigma=0.5", "load": 0.8}),
    ],
)
def test_exact_values_lie_inside_the_intervals_of_simulations(spec, told):
    scenario = Scenario("predict", n_jobs=400_000, **told)
    model = scenario.system.predictor(scenario)
    law, costs, cheap = scenario.law, scenario.system.costs, scenario.system.cheap_model(scenario)
    found = analyse_stages(PREDICTING(spec), law, model, scenario.load, costs, cheap, cells=200)
    run = scenario.simulate(spec, seed=3)
    interval = batch_means(run.response_times, 0.999)
    assert interval.low <= found.mean_response_time <= interval.high
    for kind in ("cheap", "expensive", "profiled"):
        assert run.totals[kind] / len(run) == pytest.approx(getattr(found, kind), abs=0.002)


# What is refused.


@pytest.mark.parametrize("spec", ["load-adaptive", "bypass"])
def test_policies_that_look_at_the_queue_are_not_covered(spec):
    with pytest.raises(NotApplicable, match="use simulate"):
        staged(spec, 0.8)


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (
            Unstable,
            "load is 1.11588",
            partial(staged, "skip-predict", 0.9, "cheap=0.1,expensive=0.5,where=server", cells=200),
        ),
        (NotApplicable, "servers of their own", partial(staged, "sprpt-paid", 0.8, "expensive=0.1,where=servers")),
        (BadInput, "profile=0.5", partial(staged, "profile", 0.8)),
        (NotApplicable, "needs predictions", partial(staged, "sprpt-paid", 0.8, predict="none")),
    ],
)
def test_refusals(error, message, call):
    with pytest.raises(error, match=message):
        call()


def test_known_rows():
    rows = Scenario("predict", load=0.8).known("one-bit-paid")
    told = {known["metric"]: known["value"] for known in rows}
    assert told["cost"] == pytest.approx(told["mean_response_time"] + 0.5)
    assert {known["kind"] for known in rows} == {"exact"}
    assert Scenario("predict", load=0.8).known("load-adaptive")[0]["kind"] == "floor of every policy"
    assert Scenario("predict", load=0.8, arrivals="renewal").known("one-bit-paid") == []

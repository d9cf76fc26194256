"""What controllers say: thresholds, Erlang, plans against enumeration, forecasts against statsmodels."""

import itertools
import math
import pickle

import numpy as np
import pytest

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.control import CONTROLLERS, Controller, Seen, Unit
from llmqueue_gym.policies.control.erlang import replicas_for
from llmqueue_gym.policies.control.program import cheapest
from llmqueue_gym.policies.control.smoothing import forecast, smooth
from llmqueue_gym.systems import Scenario

SMALL = {"lengths": "azure-conv", "max_tokens": 3000, "profile": "a100-llama3-8b:kv_tokens=6000"}
GIVEN = {"fixed": "fixed:replicas=2"}  # those that cannot be made of their name alone


def seen(clock, tick=10.0, roles=(3, 0, 0), kv=0.5, **given):
    """A fleet of replicas that are all on, of which something has been seen."""
    role = np.repeat([0, 1, 2], roles)
    k, size = max(int(clock / tick), 1), len(role)
    told = {"arrivals": np.full(k, 10.0), "prompts": np.full(k, 1e4), "outputs": np.full(k, 2e3)}
    told |= {"ended": np.full((k, 3), 10.0), "busy": np.full((k, 3), 40.0), "power": np.full(size, 2), "role": role}
    told |= {"running": np.full(size, 4), "waiting": np.zeros(size, int), "kv": np.full(size, kv), "held": 0}
    told |= {"asked": np.array([roles]), "least": 1, "most": 20, "unit": Unit(np.full(3, 500.0), np.full(3, 4.0))}
    return Seen(clock, tick, 30.0, **{**told, **given})


def test_thresholds_do_not_flap_where_use_falls_as_replicas_come():
    # Memory in use is shared by the replicas: with any constant load the number goes one way and then stays.
    for load in np.linspace(0.1, 12.0, 120):
        controller, memory, asked, start = CONTROLLERS("utilisation:steady=0"), {}, [], 8
        n = start
        for tick in range(40):
            now = seen(20.0 * (tick + 1), roles=(n, 0, 0), kv=min(load / n, 1.0), tick=20.0)
            n = int(controller.targets(now, memory)[0])
            asked.append(n)
        steps = [step for step in np.diff([start, *asked]) if step]
        assert len(set(steps)) <= 1 and len(set(asked[20:])) == 1, load


@pytest.mark.parametrize(
    ("rate", "spec", "still"),
    [(24.0, "utilisation", True), (12.0, "utilisation", True), (12.0, "utilisation:steady=0", False)],
)
def test_thresholds_hold_still_in_a_fleet_if_they_wait_before_one_less(rate, spec, still):
    # Twenty minutes of Poisson arrivals at a constant rate: after a first third, in which it settles, at most one
    # change. As published, by what is in use at one moment, it is otherwise.
    asked, controller = [], CONTROLLERS(spec)

    def control(now, memory):
        if now.held == 0 and (len(now.arrivals) == 0 or now.arrivals[-1] > 0):  # as long as requests come
            asked.append(controller.targets(now, memory))
        return asked[-1]

    given = {"replicas": 8, "rate": rate, "n_jobs": int(1200 * rate), "controller": control, "lengths": "azure-conv"}
    Scenario("fleet", profile="a100-llama3-8b:kv_tokens=60000", start_up=20.0, **given).simulate("least-kv", 4)
    changes = np.count_nonzero(np.diff(np.array(asked)[len(asked) // 3 :, 0]))
    assert (changes <= 1) if still else (changes > 5)


def waits_longer(servers, offered, service, wait):
    """P(W > wait) in the M/M/k from its stationary law, state by state: so many have to leave before."""
    weights = np.cumprod([1.0, *(offered / min(n, servers) for n in range(1, 400))])
    departures = servers / service * wait
    tail = 0.0
    for ahead, weight in enumerate(weights[servers:]):  # waits for ahead + 1 departures: Erlang law
        poisson = np.exp(
            -departures + np.arange(ahead + 1) * np.log(departures) - [math.lgamma(j + 1) for j in range(ahead + 1)]
        )
        tail += weight * min(poisson.sum(), 1.0)
        if weight < 1e-14 * weights.max():
            break
    return tail / weights.sum()


def test_erlang_takes_the_fewest_replicas_that_do():
    rng = np.random.default_rng(0)
    for _ in range(12):
        service, seats = rng.uniform(0.5, 4.0), int(rng.integers(1, 5))
        rate, wait, share = rng.uniform(0.2, 6.0), rng.uniform(0.1, 3.0), rng.uniform(0.01, 0.4)
        k = int(rate * service / seats) + 1  # fewer are overloaded
        while waits_longer(k * seats, rate * service, service, wait) > share:
            k += 1
        assert replicas_for(rate, service, seats, wait, share) == k
    # The controller measures: 1 request/s, each 4 s on its seat, 4 seats to a replica.
    wanted = CONTROLLERS("erlang:wait=1,share=0.05").targets(seen(300.0), {})
    assert wanted.tolist() == [replicas_for(1.0, 4.0, 4, 1.0, 0.05), 0, 0]


def price(plan, now, cost, start):
    """What a plan costs."""
    rises = np.maximum(np.diff([now, *plan], axis=0), 0)
    return float((plan * cost).sum() + (rises * start).sum())


def test_the_integer_program_finds_the_cheapest_plan():
    rng = np.random.default_rng(1)
    short = 0
    for _ in range(60):
        hours, kinds, most = int(rng.integers(1, 4)), int(rng.integers(1, 3)), int(rng.integers(2, 5))
        now, least = rng.integers(1, 3, kinds), int(rng.integers(1, most + 1))
        demand, capacity = rng.uniform(0, 30, (hours, kinds)), rng.uniform(5, 12, kinds)
        cost, start = rng.uniform(1, 3, kinds), rng.uniform(0, 6, kinds)
        found = cheapest(now, demand, capacity, cost, start, least, most)
        each = [np.array(n) for n in itertools.product(range(1, most + 1), repeat=kinds) if least <= sum(n) <= most]

        def missing(plan):
            return float(np.maximum(1 - plan * capacity / demand, 0).sum())  # noqa: B023

        plans = [np.array(plan) for plan in itertools.product(each, repeat=hours)]
        fewest = min(missing(plan) for plan in plans)
        best = min(price(plan, now, cost, start) for plan in plans if missing(plan) <= fewest + 1e-9)
        assert missing(found) == pytest.approx(fewest, abs=1e-6)
        assert price(found, now, cost, start) == pytest.approx(best, rel=1e-6)
        short += fewest > 0
    assert 5 < short < 55


def test_a_start_that_costs_more_than_an_hour_is_not_made_twice():
    now, demand = np.array([3]), np.array([[10.0], [25.0]])
    plan = [cheapest(now, demand, np.array([10.0]), np.ones(1), np.array([s]), 1, 5).ravel().tolist() for s in (0, 3)]
    assert plan == [[1, 3], [3, 3]]


def test_smoothing_continues_a_season_with_a_trend():
    t = np.arange(24 * 5)
    truth = 50 + 0.2 * t + 20 * np.sin(2 * np.pi * t / 24)
    np.testing.assert_allclose(forecast(truth[:96], 24, 24), truth[96:], rtol=1e-6)
    # With noise: a forecast has no bias, and an error of the size of the noise (at most 1.5 times, in the mean square).
    errors = []
    for seed in range(20):
        noisy = truth + np.random.default_rng(seed).normal(0, 3, len(t))
        errors.append(forecast(noisy[:96], 24, 24) - truth[96:])
    assert abs(np.mean(errors)) < 1.0 and np.sqrt(np.mean(np.square(errors))) < 1.5 * 3


def test_a_short_past_is_repeated():
    assert forecast(np.zeros(0), 3, 2).tolist() == [0, 0]
    assert forecast(np.array([1.0, 5.0]), 3, 2).tolist() == [5, 5]
    assert forecast(np.array([9.0, 1.0, 2.0, 3.0]), 3, 4).tolist() == [1, 2, 3, 1]
    assert (forecast(np.linspace(10, 0, 12), 3, 9) >= 0).all()


def test_smoothing_is_that_of_statsmodels():
    models = pytest.importorskip("statsmodels.tsa.holtwinters")
    rng = np.random.default_rng(3)
    series = 40 + 10 * np.sin(np.arange(60) * np.pi / 6) + rng.normal(0, 2, 60)
    weights = (0.3, 0.2, 0.25)
    errors, (level, trend, *cycle) = (each[..., 0] for each in smooth(series, 12, np.array(weights)[:, None]))
    start = smooth(series[:24], 12, np.zeros((3, 1)))[1][:, 0]  # the states that it begins with, a season later
    model = models.ExponentialSmoothing(
        series[12:], trend="add", seasonal="add", seasonal_periods=12, initialization_method="known",
        initial_level=start[0] - 12 * start[1], initial_trend=start[1], initial_seasonal=start[2:],
    )  # fmt: skip
    fitted = model.fit(
        smoothing_level=weights[0], smoothing_trend=weights[1], smoothing_seasonal=weights[2] * (1 - weights[0]),
        optimized=False,
    )  # fmt: skip
    np.testing.assert_allclose(fitted.resid, errors, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose([fitted.level[-1], fitted.trend[-1], *fitted.season[-12:]], [level, trend, *cycle])


def test_sageserve_plans_the_hour_and_goes_there_as_it_says():
    # Half an hour of 1200 tokens/s behind it, replicas of 500: the plan is 3 of the 5 that are on.
    past = {"tick": 10.0, "roles": (5, 0, 0), "prompts": np.full(360, 1e4), "outputs": np.full(360, 2e3)}
    past |= {"arrivals": np.full(360, 10.0)}
    memory = {}
    assert CONTROLLERS("sageserve-now").targets(seen(3600.0, kv=0.5, **past), memory)[0] == 3
    deferred = CONTROLLERS("sageserve-deferred")
    assert [deferred.targets(seen(3600.0, kv=kv, **past), {})[0] for kv in (0.1, 0.5, 0.9)] == [4, 5, 5]
    corrected, memory = CONTROLLERS("sageserve-corrected"), {}
    corrected.targets(seen(3600.0, kv=0.5, **past), memory)
    quiet = {**past, "prompts": np.full(360, 100.0), "outputs": np.full(360, 20.0)}
    loud = {**past, "prompts": np.full(360, 1e5)}
    for when, told, wanted in ((5000.0, quiet, 5), (6100.0, quiet, 4), (5000.0, loud, 5), (6100.0, loud, 6)):
        assert corrected.targets(seen(when, kv=0.5, **told), dict(memory))[0] == wanted


def test_a_longer_queue_gets_a_replica_of_the_other_side():
    controller, roles = CONTROLLERS("roles:ratio=2"), (0, 2, 3)
    busy = {"prefill": [9, 9, 0, 0, 0], "decode": [0, 0, 9, 9, 9], "equal": [3, 3, 5, 5, 5]}
    found = [
        controller.targets(seen(100.0, roles=roles, waiting=np.array(waiting)), {}).tolist()
        for waiting in busy.values()
    ]
    assert found == [[0, 3, 2], [0, 1, 4], [0, 2, 3]]
    with pytest.raises(BadInput, match="prefill=1"):
        controller.targets(seen(100.0), {})


@pytest.mark.parametrize("name", list(CONTROLLERS))
def test_every_controller_plays_and_says_where_it_is_from(name):
    spec = GIVEN.get(name, name)
    controller = CONTROLLERS(spec)
    assert isinstance(controller, Controller) and CONTROLLERS(str(controller)) == controller
    assert pickle.loads(pickle.dumps(controller)) == controller
    assert controller.source or name in ("none", "fixed")
    scenario = Scenario(
        "fleet", replicas=4, prefill=2 if name == "roles" else 0, rate=6.0, n_jobs=200, controller=spec, **SMALL
    )
    run = scenario.simulate("least-outstanding", 0)
    assert run.done.all() and 0 < run.totals["on_time"] <= 4 * run.totals["clock"]

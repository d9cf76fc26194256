"""Limits of many queues and many servers: one bit with d choices, and overload with impatience, against simulation."""

import heapq
from collections import deque
from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import brentq
from scipy.stats import poisson

from llmqueue_gym.distributions import size_law
from llmqueue_gym.distributions.discrete import Empirical
from llmqueue_gym.errors import BadInput, NotApplicable, Unstable
from llmqueue_gym.predictors import predictor
from llmqueue_gym.theory.class_choices import COUNTED, ClassChoices
from llmqueue_gym.theory.erlang import MMk
from llmqueue_gym.theory.impatience import NoisyOverload, erlang_a, fluid_fcfs, fluid_fcfs_wait
from llmqueue_gym.theory.one_bit_choices import MOSTLY_WRONG, OneBitChoices
from llmqueue_gym.theory.power_of_d import PowerOfD

# One bit with d choices.


def test_without_bits_it_is_the_power_of_d():
    model = OneBitChoices(0.9, 1.0, 2.0, idle_first=True, longest=12)
    assert model.solve().mean_response_time == pytest.approx(PowerOfD(0.9, 2, 2.0).mean_response_time(), rel=1e-8)


@pytest.mark.parametrize("idle_first", [False, True])
def test_one_choice_is_the_mg1_with_two_priorities(idle_first):
    """Cobham's formula: each queue is an M/G/1 with hyperexponential sizes, non-preemptive."""
    model = OneBitChoices(0.6, 0.7, 0.4, 2.4, 0.2, 0.1, choices=1, idle_first=idle_first, longest=50)
    result = model.solve()
    lam = 0.6 / (0.7 * 0.4 + 0.3 * 2.4)
    rest = lam * (0.7 * 0.4**2 + 0.3 * 2.4**2)
    shorts = lam * (0.7 * 0.8 * 0.4 + 0.3 * 0.1 * 2.4)
    assert result.mean_wait == pytest.approx([rest / (1 - shorts), rest / (1 - shorts) / 0.4], rel=1e-4)
    assert result.lost < 1e-6


def test_the_steady_state_is_where_the_equations_lead():
    model = OneBitChoices(0.7, 0.6, 0.5, 1.5, 0.3, 0.2, longest=8)
    start = np.eye(1, 1 + 2 * 81)[0]
    flow = solve_ivp(lambda t, s: model.drift(s), (0, 150), start, method="LSODA", rtol=1e-9, atol=1e-12)
    assert flow.y[:, -1].sum() == pytest.approx(1)
    assert flow.y[:, -1] == pytest.approx(model.solve().shares, abs=1e-6)


def test_the_steady_state_conserves_jobs_and_work():
    result = MOSTLY_WRONG.solve()
    rate = 0.9 / (0.9 * 0.2 + 0.1 * 8.2)
    assert result.residual < 1e-9
    assert result.lost < 1e-9
    assert result.busy == pytest.approx([rate * 0.9 * 0.2, rate * 0.1 * 8.2])


def test_most_bits_wrong_and_yet_of_use():
    assert MOSTLY_WRONG.wrong_share == pytest.approx(0.55)
    for idle_first, with_bits, without in ((False, 11.281, 12.236), (True, 11.068, 12.183)):
        model = replace(MOSTLY_WRONG, idle_first=idle_first)
        assert model.solve().mean_response_time == pytest.approx(with_bits, rel=1e-3)
        assert model.without_bits().solve().mean_response_time == pytest.approx(without, rel=1e-3)


def simulated_choices(model, n, jobs, seed):
    """Mean waits of the predicted classes in n queues, event by event; the first fifth of the jobs is left out."""
    random = np.random.default_rng(seed)
    kind = np.searchsorted(np.cumsum(model.types), random.random(jobs))
    told = (random.random(jobs)[:, None] > np.cumsum(model.told, axis=1)[kind]).sum(axis=1).tolist()
    size = (random.standard_exponential(jobs) * np.array(model.means)[kind]).tolist()
    arrival = np.cumsum(random.standard_exponential(jobs) / (model.rates.sum() * n)).tolist()
    sampled = random.integers(n, size=(jobs, model.choices)).tolist()
    waiting = [[deque() for _ in range(model.k)] for _ in range(n)]
    busy, events, wait = [False] * n, [], np.zeros(jobs)
    for job in range(jobs):
        while events and events[0][0] <= arrival[job]:
            now, q = heapq.heappop(events)
            line = next((one for one in waiting[q] if one), None)
            busy[q] = bool(line)
            if line:
                then = line.popleft()
                wait[then] = now - arrival[then]
                heapq.heappush(events, (now + size[then], q))
        k = told[job]
        lines = {"alike": slice(k, k + 1), "ahead": slice(k + 1), "all": slice(None)}[model.counted]
        counts = [-1 if model.idle_first and not busy[q] else sum(map(len, waiting[q][lines])) for q in sampled[job]]
        q = sampled[job][counts.index(min(counts))]  # the order of the sample is random, so the first is
        if busy[q]:
            waiting[q][k].append(job)
        else:
            busy[q] = True
            heapq.heappush(events, (arrival[job] + size[job], q))
    old = np.arange(jobs) >= jobs // 5
    return np.array([wait[old & (np.array(told) == k)].mean() for k in range(model.k)])


@pytest.mark.parametrize("idle_first", [False, True])
def test_two_hundred_queues_come_near_the_limit(idle_first):
    """Within 4 %: 200 queues differ from the limit by about 1 % (see `PowerOfD.correction`), the noise is about 1 %."""
    model = OneBitChoices(0.8, 0.7, 0.5, 13 / 6, 0.3, 0.1, idle_first=idle_first, longest=15)
    assert simulated_choices(model.classes, 200, 250_000, 11) == pytest.approx(model.solve().mean_wait, rel=0.04)


# Predicted classes with d choices.

THREE = ClassChoices(
    0.8, (0.6, 0.3, 0.1), (0.4, 1.2, 4.0), ((0.8, 0.2, 0.0), (0.1, 0.8, 0.1), (0.0, 0.3, 0.7)), longest=8
)


def test_one_class_is_the_power_of_d():
    model = ClassChoices(0.9, (1.0,), (2.0,), ((1.0,),), idle_first=True, longest=12)
    assert model.solve().mean_response_time == pytest.approx(PowerOfD(0.9, 2, 2.0).mean_response_time(), rel=1e-8)


def test_one_choice_is_the_mg1_with_classes():
    """Cobham's formula for three classes, two of which are told apart by chance alone: all rules are one."""
    model = replace(THREE, load=0.5, choices=1, longest=24, told=((0.7, 0.3), (0.3, 0.7), (0.0, 1.0)))
    rate = model.load / np.dot(model.types, model.means)
    rest = rate * np.dot(model.types, np.square(model.means))
    first = rate * float(model.pairs[:, 0] @ model.means)
    for counted in COUNTED:
        result = replace(model, counted=counted).solve()
        assert result.mean_wait == pytest.approx([rest / (1 - first), rest / (1 - first) / 0.5], rel=1e-4)


@pytest.mark.parametrize("counted", COUNTED)
def test_more_classes_conserve_jobs_and_work(counted):
    result = replace(THREE, counted=counted).solve()
    rate = 0.8 / np.dot(THREE.types, THREE.means)
    assert result.lost < 1e-6 and result.residual < 1e-9
    assert result.busy == pytest.approx(rate * np.multiply(THREE.types, THREE.means), rel=1e-5)


@pytest.mark.parametrize(("counted", "idle_first"), [("alike", False), ("ahead", True), ("all", True)])
def test_two_hundred_queues_with_three_classes_come_near_the_limit(counted, idle_first):
    """Within 4 %, as above."""
    model = replace(THREE, counted=counted, idle_first=idle_first)
    assert simulated_choices(model, 200, 250_000, 12) == pytest.approx(model.solve().mean_wait, rel=0.04)


def test_classes_that_nobody_is_told_change_nothing():
    fewer = ClassChoices(0.8, (0.7, 0.3), (0.5, 13 / 6), ((0.7, 0.3), (0.1, 0.9)), longest=8)
    more = replace(fewer, told=((0.7, 0.0, 0.3), (0.1, 0.0, 0.9)))
    assert more.solve().mean_response_time == pytest.approx(fewer.solve().mean_response_time, rel=1e-9)


# Impatience.


def test_erlang_a_where_it_is_known():
    equal = erlang_a(5, 1.2, 1.0, 1.0)  # a job leaves at the same rate from queue and server: N is Poisson(6)
    assert equal.delay_probability == pytest.approx(poisson.sf(4, 6))
    patient = erlang_a(10, 0.8, 2.0, 1e7)
    assert patient.mean_wait == pytest.approx(MMk(10, 0.8, 2.0).mean_wait, rel=1e-5)
    for load in (0.5, 1.0, 2.0):
        result = erlang_a(30, load, 2.0, 3.0)
        assert result.throughput == pytest.approx(load * 30 / 2 * (1 - result.abandoned))


def test_many_servers_reach_the_fluid_limit_of_fcfs():
    fluid = fluid_fcfs(1.3)
    exact = erlang_a(5000, 1.3, 1.0, 2.0)
    assert 1 - exact.abandoned == pytest.approx(fluid.served, rel=1e-6)
    assert exact.busy == pytest.approx(fluid.throughput, rel=1e-6)
    assert fluid_fcfs_wait(1.3, size_law("exponential").scaled(2.0)) == pytest.approx(2 * np.log(1.3))
    assert fluid_fcfs(0.7).served == 1.0


def test_exact_predictions_by_hand():
    """Exponential sizes, load 1.5: E[S; S <= y] = 1 - (1 + y) e^-y is the share of the work that can be done."""
    system = NoisyOverload(size_law("exponential"), predictor("exact"), 1.5)
    y = brentq(lambda y: 1 - (1 + y) * np.exp(-y) - 1 / 1.5, 0, 20)
    assert system.noisy_sjf().threshold == pytest.approx(y)
    assert system.noisy_sjf().served == pytest.approx(1 - np.exp(-y))
    assert system.best_two_class().served == pytest.approx(1 - np.exp(-y))
    assert system.best().served == pytest.approx(1 - np.exp(-y), rel=1e-3)
    one = system.two_class(1.0)
    left = (1 / 1.5 - (1 - 2 / np.e)) / (2 / np.e)
    assert one.served == pytest.approx(1 - 1 / np.e + left / np.e)


def test_ties_are_served_in_part():
    law = Empirical(np.array([1.0, 2.0]), mean=1.5)
    system = NoisyOverload(law, predictor("exact"), 1.5)  # work 1 of 1.5 can be done: all of the ones, half of the twos
    assert system.noisy_sjf().served == pytest.approx(0.75)
    assert system.best_two_class().served == pytest.approx(0.75)


@pytest.mark.parametrize("predict", ["exact", "lognormal:sigma=1", "one-bit:threshold=1.5", "buckets"])
def test_order_of_the_policies(predict):
    system = NoisyOverload(size_law("weibull:shape=0.5"), predictor(predict), 1.3)
    best, sjf, two = (f().served for f in (system.best, system.noisy_sjf, system.best_two_class))
    assert fluid_fcfs(1.3).served < two <= sjf + 1e-9
    assert sjf <= best * (1 + 1e-3)
    assert two == pytest.approx(sjf, rel=1e-3)  # the two-class rule has the same limit
    assert NoisyOverload(size_law("weibull:shape=0.5"), predictor(predict), 0.9).noisy_sjf().served == 1.0


def simulated_overload(servers, load, patience, jobs, key, seed):
    """Share served of exponential sizes under least key(prediction) first, ties FCFS, exponential predictions."""
    random = np.random.default_rng(seed)
    size = random.standard_exponential(jobs)
    rank = key(size * random.standard_exponential(jobs)).tolist()
    arrival = np.cumsum(random.standard_exponential(jobs) / (load * servers)).tolist()
    leaves = (np.array(arrival) + patience * random.standard_exponential(jobs)).tolist()
    size, events, queue, free, served = size.tolist(), [], [], servers, 0
    for job in range(jobs):
        while events and events[0] <= arrival[job]:
            now = heapq.heappop(events)
            free += 1
            while queue:
                then = heapq.heappop(queue)[1]
                if leaves[then] > now:
                    heapq.heappush(events, now + size[then])
                    free, served = free - 1, served + (then >= jobs // 5)
                    break
        if free:
            free, served = free - 1, served + (job >= jobs // 5)
            heapq.heappush(events, arrival[job] + size[job])
        else:
            heapq.heappush(queue, (rank[job], job))
    return served / (jobs - jobs // 5)


def test_three_hundred_servers_come_near_the_fluid_limit():
    """Within 0.015: the noise is about 0.002; the rest is what 300 servers lack of infinity."""
    system = NoisyOverload(size_law("exponential"), predictor("exponential"), 1.5)
    sjf = simulated_overload(300, 1.5, 3.0, 200_000, lambda y: y, 2)
    two = simulated_overload(300, 1.5, 3.0, 200_000, lambda y: y > 1.0, 2)
    assert sjf == pytest.approx(system.noisy_sjf().served, abs=0.015)
    assert two == pytest.approx(system.two_class(1.0).served, abs=0.015)
    assert sjf > two


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: OneBitChoices(1.0), Unstable),
        (lambda: OneBitChoices(0.5, short_error=1.5), BadInput),
        (lambda: OneBitChoices(0.5, longest=0), BadInput),
        (lambda: replace(THREE, told=((0.8, 0.1), (0.1, 0.9), (0.0, 1.0))), BadInput),
        (lambda: replace(THREE, means=(1.0, 2.0)), BadInput),
        (lambda: replace(THREE, counted="others"), BadInput),
        (lambda: replace(THREE, longest=60), BadInput),
        (lambda: erlang_a(5, 1.0, 1.0, 0.0), BadInput),
        (lambda: erlang_a(1, 2.0, 1.0, 1e9), BadInput),
        (lambda: fluid_fcfs(float("nan")), BadInput),
        (lambda: NoisyOverload(size_law("exponential"), predictor("none"), 1.5), NotApplicable),
    ],
)
def test_bad_numbers_are_named(call, error):
    with pytest.raises(error) as info:
        call()
    assert len(str(info.value).splitlines()) == 1

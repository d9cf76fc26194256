"""Theory of many servers: M/G/k, power of d choices, pooled servers.

Against closed forms, exact chains, printed numbers and short simulations.
"""

import heapq
import itertools
import math

import numpy as np
import pytest
from scipy.sparse import csc_matrix, lil_matrix
from scipy.sparse.linalg import spsolve
from scipy.stats import poisson

from llmqueue_gym.distributions import size_law
from llmqueue_gym.errors import BadInput, NotApplicable, Unstable
from llmqueue_gym.policies import policy
from llmqueue_gym.predictors import predictor
from llmqueue_gym.theory import analyse
from llmqueue_gym.theory.erlang import MMk
from llmqueue_gym.theory.many_servers import (
    deterministic_wait,
    fcfs_wait,
    fcfs_wait_bound,
    gittins_bracket,
    srpt_bracket,
)
from llmqueue_gym.theory.packing import pooled
from llmqueue_gym.theory.power_of_d import PowerOfD

# M/G/k.


def deterministic_exactly(k, rho, longest=500):
    """E[W] of the M/D/k from the chain N(t + D) = (N(t) - k)^+ + Poisson(k rho)."""
    arrivals = poisson.pmf(np.arange(longest), k * rho)
    chain = np.zeros((longest, longest))
    for n in range(longest):
        chain[n, max(n - k, 0) :] = arrivals[: longest - max(n - k, 0)]
    chain /= chain.sum(axis=1, keepdims=True)
    balance = chain.T - np.eye(longest)
    balance[0] = 1
    p = np.linalg.solve(balance, np.eye(1, longest)[0])
    return float(p @ np.maximum(np.arange(longest) - k, 0)) / (k * rho)


@pytest.mark.parametrize(("k", "rho"), [(1, 0.7), (2, 0.5), (2, 0.9), (5, 0.7), (20, 0.9)])
def test_constant_sizes_wait_as_the_exact_chain_says(k, rho):
    exact = deterministic_exactly(k, rho)
    assert deterministic_wait(rho, k) == pytest.approx(exact, rel=1e-9 if k == 1 else 0.02)


@pytest.mark.parametrize("correction", ["kimura", "cosmetatos", "lee-longton"])
def test_corrections_are_exact_where_the_answer_is_known(correction):
    weibull = size_law("weibull:shape=0.5")
    one = analyse(policy("fcfs"), weibull, None, 0.8).mean_response_time - 1
    assert fcfs_wait(weibull, 0.8, 1, correction) == pytest.approx(one)
    assert fcfs_wait_bound(weibull, 0.8, 1) == pytest.approx(one)
    assert fcfs_wait(size_law("exponential"), 0.8, 7, correction) == pytest.approx(MMk(7, 0.8).mean_wait)


def simulated_fcfs_wait(law, load, k, n, seed):
    random = np.random.default_rng(seed)
    size, arrival = law.sample(n, random), np.cumsum(random.standard_exponential(n)) / (load * k)
    free, total = [0.0] * k, 0.0
    for t, x in zip(arrival.tolist(), size.tolist(), strict=True):
        start = max(t, free[0])
        total += start - t
        heapq.heapreplace(free, start + x)
    return total / n


@pytest.mark.parametrize(
    ("spec", "k", "load"), [("gamma:shape=2", 3, 0.8), ("hyperexponential:p=0.9,ratio=10", 4, 0.9)]
)
def test_approximate_waits_are_near_and_the_bound_above(spec, k, load):
    law = size_law(spec)
    simulated = simulated_fcfs_wait(law, load, k, 400_000, 3)
    assert fcfs_wait(law, load, k) == pytest.approx(simulated, rel=0.08)
    assert simulated < fcfs_wait_bound(law, load, k)


def simulated_srpt(law, load, k, n, seed):
    """Mean response time of SRPT on k servers: the k least remaining sizes are served, one event at a time."""
    random = np.random.default_rng(seed)
    size = law.sample(n, random).tolist()
    gaps = (random.standard_exponential(n) / (load * k)).tolist()
    jobs, area = [], 0.0
    for x, gap in zip(size, gaps, strict=True):
        jobs.append(x)
        jobs.sort()
        left = gap
        while jobs and left > 0:
            step = min(left, jobs[0])
            area += len(jobs) * step
            jobs[:k] = [rest - step for rest in jobs[:k]]
            left -= step
            while jobs and jobs[0] <= 1e-12:
                jobs.pop(0)
    return area / n


@pytest.mark.parametrize("spec", ["exponential", "deterministic", "bounded-pareto:alpha=1.5,high=1000"])
def test_one_server_srpt_from_the_work_integral(spec):
    law = size_law(spec)
    bracket = srpt_bracket(law, 0.9, 1)
    exact = analyse(policy("srpt"), law, predictor("exact"), 0.9).mean_response_time
    assert bracket.low == pytest.approx(exact, rel=1e-4)
    assert bracket.high == bracket.low


@pytest.mark.parametrize(("spec", "k"), [("exponential", 2), ("weibull:shape=0.5", 3)])
def test_srpt_lies_in_its_bracket(spec, k):
    law = size_law(spec)
    for load in (0.5, 0.9):
        bracket = srpt_bracket(law, load, k)
        assert bracket.low < simulated_srpt(law, load, k, 30_000, 5) < bracket.high
    known = gittins_bracket(policy("srpt"), law, predictor("exact"), 0.9, k)
    assert known.low == pytest.approx(bracket.low, rel=1e-4)
    assert bracket.high < known.high


def test_gittins_bracket_closes_in_heavy_traffic():
    """Relative to the floor, for sizes of finite variance, which the floor outgrows like 1 / (1 - load)."""
    ratios = []
    for load in (0.9, 0.99, 0.999):
        bracket = gittins_bracket(policy("gittins-blind"), size_law("exponential"), None, load, 2)
        ratios.append(bracket.high / bracket.low)
    assert ratios[0] > ratios[1] > ratios[2]
    assert ratios[2] < 1.06


# Power of d choices.


def test_printed_numbers_of_two_choices():
    """Gast and Van Houdt 2017, load 0.9, d = 2: jobs per queue for n = 10, 100 and the limit."""
    queues = PowerOfD(0.9, 2, repeats=True)
    assert queues.mean_jobs(10) == pytest.approx(2.7513, abs=1e-4)
    assert queues.mean_jobs(100) == pytest.approx(2.3925, abs=1e-4)
    assert queues.mean_jobs(1000) == pytest.approx(2.3567, abs=1e-4)
    assert queues.mean_jobs() == pytest.approx(2.3527, abs=1e-4)


def test_tails_of_the_limit():
    queues = PowerOfD(0.95, 3)
    i = np.arange(5)
    assert queues.tails[:5] == pytest.approx(0.95 ** ((3**i - 1) / 2))
    assert PowerOfD(0.9, 1).mean_jobs(10) == pytest.approx(9)
    assert queues.correction[1] == pytest.approx(0, abs=1e-9)  # a queue is busy for the load's share of time


def exact_mean_jobs(n, load, d, repeats, longest=9):
    """Jobs per queue of n queues exactly: the chain of the sorted lengths."""

    def all_among(m):
        return (m / n) ** d if repeats else math.comb(m, d) / math.comb(n, d)

    states = list(itertools.combinations_with_replacement(range(longest + 1), n))
    index = {state: i for i, state in enumerate(states)}
    flow = lil_matrix((len(states), len(states)))
    for state, i in index.items():
        for length in set(state):
            at_least = all_among(sum(q >= length for q in state))
            more = all_among(sum(q > length for q in state))
            changes = [(-1, state.count(length))] if length else []
            if length < longest:
                changes.append((1, n * load * (at_least - more)))
            for change, rate in changes:
                after = list(state)
                after[after.index(length)] += change
                flow[index[tuple(sorted(after))], i] += rate
                flow[i, i] -= rate
    flow[0] = 1
    p = spsolve(csc_matrix(flow), np.eye(1, len(states))[0])
    return float(p @ [sum(state) for state in states]) / n


@pytest.mark.parametrize("repeats", [True, False])
def test_the_refined_limit_is_wrong_by_the_square_of_one_over_n(repeats):
    queues = PowerOfD(0.5, 2, repeats=repeats)
    exact = {n: exact_mean_jobs(n, 0.5, 2, repeats) for n in (2, 4)}
    errors = {n: abs(queues.mean_jobs(n) - exact[n]) for n in exact}
    assert errors[4] < 0.35 * errors[2]  # a quarter, and a rest of third order
    assert errors[4] < 0.3 * abs(queues.mean_jobs() - exact[4])


# Jobs that need several servers.


def test_pool_of_one_server_is_pollaczek_khinchine():
    law = size_law("weibull:shape=0.5")
    pool = pooled(1, [1.0], [1], [law], 0.8)
    assert pool.mean_response_time == pytest.approx(analyse(policy("fcfs"), law, None, 0.8).mean_response_time)


def test_pool_of_a_mix_is_the_mg1_of_its_sizes():
    """k = 8, need 1 for two thirds and 8 for one third, exponential durations of mean 1."""
    law = size_law("exponential")
    pool = pooled(8, [2 / 3, 1 / 3], [1, 8], [law, law], 0.9)
    mean, second = 2 / 3 + 8 / 3, 2 * (2 / 3 + 64 / 3)
    lam = 0.9 * 8 / mean
    assert pool.rate == pytest.approx(lam)
    assert pool.mean_wait == pytest.approx(lam * second / 64 / (2 * 0.1))
    assert pool.response_with_durations == pytest.approx(pool.mean_wait + 1)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: PowerOfD(1.2), Unstable),
        (lambda: PowerOfD(0.9, 0), BadInput),
        (lambda: pooled(4, [0.5, 0.5], [1, 8], [size_law("exponential")] * 2, 0.5), BadInput),
        (lambda: fcfs_wait(size_law("exponential"), 0.5, 2, "kimra"), BadInput),
        (lambda: gittins_bracket(policy("fcfs"), size_law("exponential"), None, 0.5, 2), NotApplicable),
    ],
)
def test_bad_numbers_are_named(call, error):
    with pytest.raises(error) as info:
        call()
    assert len(str(info.value).splitlines()) == 1

"""Theory of ranks that jump where jobs end, of infinite ones, and of labels: what definitions and one optimum say."""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pytest

from llmqueue_gym.distributions import size_law
from llmqueue_gym.distributions.discrete import Empirical
from llmqueue_gym.policies import Policy, policy
from llmqueue_gym.predictors import Predictor, predictor
from llmqueue_gym.systems import Scenario
from llmqueue_gym.theory import analyse

# Ranks that jump where jobs end, by the definition of SOAP on a lattice.


def lattice_mean(p, ranks, load):
    """Return E[T] of jobs of k = 1, 2, ... units with probability p[label, k - 1], by theorem 5.5 as it stands."""
    labels, longest = p.shape
    lam = load / (p @ np.arange(1, longest + 1)).sum()
    jobs = [(ranks[label, :k], p[label, k - 1]) for label in range(labels) for k in range(1, longest + 1)]

    def served(within, worst):  # load of first visits, which begin at age 0, and second moment of all visits
        first, squares = 0.0, 0.0
        for along, q in jobs:
            visits = [(inside, len(list(run))) for inside, run in itertools.groupby(within(along, worst))]
            first += lam * q * visits[0][0] * visits[0][1]
            squares += q * sum(inside * length**2 for inside, length in visits)
        return first, squares

    total = 0.0
    for along, q in jobs:
        (old, squares), (new, _) = served(np.less_equal, along.max()), served(np.less, along.max())
        wait = lam / 2 * squares / (1 - old) / (1 - new)
        total += q * (wait + sum(1 / (1 - served(np.less, along[a:].max())[0]) for a in range(len(along))))
    return total


@dataclass(frozen=True)
class LatticeLabel(Predictor):
    """Label 0 with a probability that depends on the number of units."""

    zero: tuple[float, ...] = ()

    def cdf(self, y, x):
        zero = np.array(self.zero)[np.rint(x).astype(int) - 1]
        return np.where(y < 0, 0.0, np.where(y < 1, zero, 1.0))

    def atoms(self):
        return np.array([0.0, 1.0])


def from_table(job, params):
    longest = int(params[0])
    return params[1 + longest * int(job.predicted) + min(int(job.age), longest - 1)]


@pytest.mark.parametrize("ranks", ["ties", "no ties", "infinite"])
def test_ranks_that_jump_where_jobs_end(ranks):
    rng = np.random.default_rng(7)
    for longest in (2, 3, 6):
        counts, zero = rng.integers(1, 5, longest), rng.random(longest)
        table = rng.integers(0, 3, (2, longest)).astype(float) if ranks == "ties" else rng.normal(size=(2, longest))
        if ranks == "infinite":
            table[rng.random(table.shape) < 0.4] = np.inf
        sizes = np.repeat(np.arange(1, longest + 1.0), counts)
        player = Policy("table", from_table, params=(longest, *table.ravel()))
        got = analyse(player, Empirical(sizes, mean=float(sizes.mean())), LatticeLabel(tuple(zero)), 0.8)
        right = lattice_mean(np.stack([zero, 1 - zero]) * counts / counts.sum(), table, 0.8)
        assert got.mean_response_time == pytest.approx(right, rel=1e-9)


def jump_at(job, params):
    return 1.0 if job.age >= params[0] else 0.0


def jump_after(job, params):
    return 1.0 if job.age > params[0] else 0.0


@pytest.mark.parametrize("rank", [jump_at, jump_after])
@pytest.mark.parametrize("age", [2 / 3, 2 / 3 * (1 - 1e-12), 2 / 3 * (1 + 1e-12)])
def test_a_job_is_gone_before_its_rank_jumps(rank, age):
    two = Empirical([1.0, 2.0])
    assert analyse(Policy("two", rank, params=(age,)), two, None, 0.9).mean_response_time == pytest.approx(8.5)


# Infinite ranks are ranks.


def endless(job, params):
    return math.inf


def first(job, params):
    return -math.inf


def late(job, params):
    return math.inf if job.age > 1 else job.predicted


def late_and_finite(job, params):
    return 1e9 if job.age > 1 else job.predicted


def test_infinite_ranks():
    def found(rank):
        return analyse(policy(rank), size_law("exponential"), predictor("exponential"), 0.8).mean_response_time

    assert found(endless) == pytest.approx(5.0)
    assert found(first) == pytest.approx(5.0)
    assert found(late) == pytest.approx(4.852451, rel=1e-5)  # by quadrature of the three integrals there are
    assert found(late_and_finite) == pytest.approx(found(late), rel=1e-9)


# Labels of a mixture.


@dataclass(frozen=True)
class Branch(Predictor):
    """The branch of a hyperexponential law with p = 0.9 and ratio 10, told wrong with probability 0.15."""

    def cdf(self, y, x):
        odds = 0.9 * np.exp(-np.asarray(x) * 1.9) / (0.01 * np.exp(-np.asarray(x) * 0.19))
        short = 0.15 + 0.7 * odds / (1 + odds)
        return np.where(y < 1, 0.0, np.where(y < 2, short, 1.0))

    def atoms(self):
        return np.array([1.0, 2.0])


def longest_hazard_first(job, params):  # the Gittins rank of a mixture of exponentials, the hazard of which falls
    right = 0.85 if job.predicted < 1.5 else 0.15
    short, long = right * 0.9 * math.exp(-1.9 * job.age), (1 - right) * 0.1 * math.exp(-0.19 * job.age)
    return (short + long) / (1.9 * short + 0.19 * long)


def test_gittins_is_optimal_where_the_prediction_is_a_label():
    law = size_law("hyperexponential:p=0.9,ratio=10")
    best = analyse(policy(longest_hazard_first), law, Branch(), 0.9).mean_response_time
    assert best == pytest.approx(6.5773, rel=3e-5)
    assert analyse(policy("gittins"), law, Branch(), 0.9).mean_response_time == pytest.approx(best, rel=1e-4)
    las, blind = (analyse(policy(name), law, None, 0.9).mean_response_time for name in ("las", "gittins-blind"))
    assert blind == pytest.approx(las, rel=3e-5)


# Where the method says that its fourth digit is not certain.


def test_a_network_that_waves_is_told_to_be_rough():
    law, told, load = size_law("exponential"), predictor("exponential"), 0.8
    smooth = [analyse(policy(name), law, told, load, by_size=False) for name in ("sprpt", "pspjf", "gittins")]
    assert not any(found.rough for found in smooth)
    found = analyse(policy("learned-gittins-exponential"), law, told, load, by_size=False)
    # 3.0535 +- .0002: 4,000,000 jobs side by side with Gittins, whose mean is known
    assert found.rough and abs(found.mean_response_time / 3.0535 - 1) < found.grid_gap < 0.01
    place = Scenario(system="mg1", load=load, predictor="exponential", n_jobs=1000)
    kinds = {name: place.known(policy(name))[0]["kind"] for name in ("gittins", "learned-gittins-exponential")}
    assert kinds == {"gittins": "exact", "learned-gittins-exponential": "approximation"}

"""Intervals cover what they say on processes whose mean is known; the tolerances follow from the binomial law."""

import numpy as np
import pytest
from scipy import stats
from scipy.signal import lfilter

from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.statistics import (
    Estimate,
    across_seeds,
    batch_means,
    batches,
    cautious_batch_means,
    control_variate,
    interquartile_mean,
    paired_difference,
    probability_of_improvement,
    stratified_bootstrap,
)

RUNS = 300
# 95 % of 300 is 285; fewer than 270 or more than 298 has probability below 0.001 for an honest interval.
HONEST = range(270, 299)


def rng(seed=1):
    return np.random.default_rng(seed)


def autoregressive(n, random, phi=0.9, mean=3.0):
    """An AR(1) process that starts far from its mean, so that warm-up matters."""
    noise = random.standard_normal(n)
    noise[0] += 20.0
    return mean + lfilter([1.0], [1.0, -phi], noise)


def waiting(n, load, random):
    """Response times of M/M/1 FCFS by Lindley's recursion; the exact mean is 1 / (1 - load)."""
    size, gap = random.standard_exponential(n), random.standard_exponential(n) / load
    walk = np.concatenate([[0.0], np.cumsum(size[:-1] - gap[1:])])
    return walk - np.minimum.accumulate(walk) + size


def covered(intervals, exact):
    return sum(e.low < exact < e.high for e in intervals)


def test_batch_means_cover_an_autoregression():
    random = rng()
    assert covered((batch_means(autoregressive(20_000, random)) for _ in range(RUNS)), 3.0) in HONEST
    # The plain standard error, which takes jobs for independent, does not: it is too short by a factor of four.
    assert covered((across_seeds(autoregressive(20_000, random)[2000:]) for _ in range(RUNS)), 3.0) < 150


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_batch_means_cover_the_queue(load):
    random = rng(2)
    intervals = [batch_means(waiting(100_000, load, random)) for _ in range(RUNS)]
    assert covered(intervals, 1 / (1 - load)) in HONEST
    # P(a miss at 99.9 %) is 0.001, so more than 4 of 300 has probability below 0.0001.
    assert RUNS - covered((e.at(0.999) for e in intervals), 1 / (1 - load)) <= 4


def test_levels_agree():
    values = waiting(50_000, 0.7, rng(3))
    wide, again = batch_means(values, level=0.999), batch_means(values).at(0.999)
    assert (wide.mean, wide.low, wide.high) == pytest.approx((again.mean, again.low, again.high))
    assert wide.n == 30 and wide.level == 0.999


def test_student_interval_is_the_textbook_one():
    values = rng(4).standard_normal(12)
    low, high = stats.t.interval(0.9, 11, values.mean(), stats.sem(values))
    assert across_seeds(values, 0.9) == pytest.approx(Estimate(values.mean(), low, high, 0.9, 12))


def test_batches_drop_the_warmup_and_keep_every_other_job():
    values = np.arange(100.0)
    np.testing.assert_allclose(batches(values, 0.1, 9), np.arange(14.5, 100, 10))
    assert len(batches(np.arange(1007.0))) == 30
    assert len(batches(np.arange(40.0), warmup=0)) == 4
    assert np.isnan(batch_means([2.0]).low) and batch_means([2.0]).mean == 2.0


def test_common_random_numbers_shorten_the_difference():
    a, b = (batches(waiting(100_000, 0.7, rng(5)) * scale) for scale in (1.1, 1.0))
    other = batches(waiting(100_000, 0.7, rng(6)))
    paired, apart = paired_difference(a, b), paired_difference(a, other)
    assert paired.high - paired.low < 0.2 * (apart.high - apart.low)
    assert paired.low < 0.1 / 0.3 < paired.high
    with pytest.raises(BadInput, match="one length"):
        paired_difference([1.0], [1.0, 2.0])


def test_control_variate_covers_and_is_shorter():
    random, plain, controlled = rng(7), [], []
    for _ in range(RUNS):
        control = random.standard_normal(30) + 5.0
        values = 2 + 3 * (control - 5.0) + 0.5 * random.standard_normal(30)
        plain.append(across_seeds(values))
        controlled.append(control_variate(values, control, 5.0))
    assert covered(controlled, 2.0) in HONEST and covered(plain, 2.0) in HONEST
    length = [np.mean([e.high - e.low for e in intervals]) for intervals in (controlled, plain)]
    assert length[0] < 0.3 * length[1]  # the correlation leaves sqrt(1 - 0.973) = 0.16 of the length
    with pytest.raises(BadInput, match="control"):
        control_variate([1.0, 2.0, 3.0], [1.0, 1.0, 1.0], 1.0)


def test_control_variate_is_the_intercept_of_a_regression():
    # Few values and a control far from its exact mean, so that degrees of freedom and offset count.
    control = rng(12).standard_normal(5)
    values = 2 * control + rng(13).standard_normal(5)
    fit = stats.linregress(control - 3.0, values)
    estimate, half = control_variate(values, control, 3.0, 0.9), stats.t.ppf(0.95, 3) * fit.intercept_stderr
    assert (estimate.mean, estimate.low) == pytest.approx((fit.intercept, fit.intercept - half))
    again = control_variate(values, control, 3.0, 0.99).at(0.9)
    assert (again.low, again.high) == pytest.approx((estimate.low, estimate.high))


def test_cautious_interval_is_the_widest():
    widest = set()
    for seed in range(20):
        values = waiting(20_000, 0.8, rng(seed))
        each = {count: batch_means(values, count=count) for count in (10, 20, 30, 60)}
        widths = {count: one.high - one.low for count, one in each.items()}
        widest.add(max(widths, key=widths.get))
        assert cautious_batch_means(values) == each[max(widths, key=widths.get)]
    assert len(widest) > 1


def test_interquartile_mean_is_a_trimmed_mean():
    scores = rng(8).standard_normal((7, 3))
    assert interquartile_mean(scores) == pytest.approx(stats.trim_mean(scores, 0.25, axis=None))
    assert interquartile_mean(np.array([[0.0, 1.0, 2.0, 100.0]])) == 1.5


def test_bootstrap_resamples_within_tasks():
    # Tasks far apart, runs alike: the interval must not see the spread between tasks.
    scores = np.array([0.0, 100.0]) + rng(9).standard_normal((10, 2))
    estimate = stratified_bootstrap(scores, statistic=np.mean)
    assert estimate.low < scores.mean() < estimate.high and estimate.high - estimate.low < 2
    assert estimate == stratified_bootstrap(scores, statistic=np.mean)
    expected = 2 * 1.96 * np.sqrt(np.mean(scores.var(axis=0)) / 20)  # a mean of 2 x 10 runs
    assert estimate.high - estimate.low == pytest.approx(expected, rel=0.15)
    with pytest.raises(BadInput, match="runs, tasks"):
        stratified_bootstrap([1.0, 2.0])


def test_probability_of_improvement_is_mann_whitney():
    a, b = rng(10).integers(0, 5, (6, 4)).astype(float), rng(11).integers(0, 5, (8, 4)).astype(float)
    shares = [stats.mannwhitneyu(a[:, k], b[:, k]).statistic / 48 for k in range(4)]
    assert probability_of_improvement(a, b) == pytest.approx(np.mean(shares))
    assert probability_of_improvement(a + 10, b) == 1.0 and probability_of_improvement(a, a) == 0.5


def test_level_is_checked():
    with pytest.raises(BadInput, match="level"):
        across_seeds([1.0, 2.0], level=95)

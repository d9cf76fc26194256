"""A queue for each server: job by job as the rules say, as one server where n = 1, and the power of two choices."""

import functools
import pickle
from dataclasses import replace

import numpy as np
import pytest
import reference_cluster
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from llmqueue_gym import _jit
from llmqueue_gym.distributions import size_law
from llmqueue_gym.errors import BadInput, TruthError
from llmqueue_gym.evaluation.cluster import ClusterScenario, dispatched, play
from llmqueue_gym.evaluation.rollout import rollout
from llmqueue_gym.evaluation.scenario import Scenario
from llmqueue_gym.jobs import ClusterInstance, job_table
from llmqueue_gym.policies import policy
from llmqueue_gym.policies.dispatch import DISPATCH_POLICIES, DispatchPolicy, dispatch_policy
from llmqueue_gym.policies.dispatch.base import different
from llmqueue_gym.predictors import predictor
from llmqueue_gym.theory.power_of_d import PowerOfD

NAMES = list(DISPATCH_POLICIES)
SPECS = [*NAMES, "power-of-d:d=3", "least-work:d=0", "least-work-left:d=0", "one-bit-count:threshold=2"]
ORDERS = ("fcfs", "spjf", "pspjf", "sprpt", "one-bit-lcfs")
N_JOBS = 2_000 if _jit.DISABLED else 20_000


@st.composite
def instances(draw):
    """A few jobs whose times are quarters of a second, so that they tie often and sums are exact."""
    quarters = st.integers(1, 12).map(lambda q: q / 4)
    job = st.tuples(st.integers(0, 12).map(lambda q: q / 4), quarters, quarters)
    jobs = sorted(draw(st.lists(job, min_size=1, max_size=14)), key=lambda job: job[0])
    speeds = draw(st.lists(st.sampled_from([0.5, 1.0, 2.0]), min_size=1, max_size=4))
    return [list(column) for column in zip(*jobs, strict=True)], speeds, draw(st.integers(0, 2**32))


@functools.cache
def _numbers(spec, speeds):
    return tuple(dispatch_policy(spec).numbers(size_law("exponential"), predictor("exact"), np.array(speeds)))


@settings(max_examples=5 if _jit.DISABLED else 30, deadline=None)
@given(given=instances())
@pytest.mark.parametrize("spec", SPECS)
def test_every_job_fares_as_the_rules_say(spec, given):
    """In every order of service; to draw an example takes longer than to play it, so all orders share it."""
    (arrivals, sizes, predicted), speeds, seed = given
    sender, rng = dispatch_policy(spec), np.random.default_rng(seed)
    if sender.looks == "sample" and sender.d > len(speeds):
        speeds = speeds + [1.0] * (sender.d - len(speeds))
    choices, ties = sender.choices(len(sizes), len(speeds), rng), rng.random(len(sizes))
    numbers = _numbers(spec, tuple(speeds))
    sender = replace(sender, prepare=None, params=numbers)  # not computed anew for each example
    jobs = job_table(np.array(arrivals), np.array(predicted))
    instance = ClusterInstance(jobs, np.array(sizes), np.full(len(sizes), np.inf), choices, ties)
    for order in ORDERS:
        p = policy(order)
        run = dispatched(instance, sender, p, np.array(speeds))
        sent, start, done, preempted = reference_cluster.dispatch_schedule(
            arrivals, sizes, predicted, speeds, choices.tolist(), ties, sender.score, numbers, sender.split, p.rank,
            p.params, p.preemptive, p.lcfs_up_to,
        )  # fmt: skip
        assert run.jobs["site"].tolist() == sent, order
        np.testing.assert_allclose(run.outcome["start"], start, rtol=0, atol=1e-12, err_msg=order)
        np.testing.assert_allclose(run.outcome["completion"], done, rtol=0, atol=1e-12, err_msg=order)
        assert run.outcome["preemptions"].tolist() == preempted, order


@pytest.mark.parametrize("order", ["fcfs", "spjf", "pspjf", "sprpt", "lcfs", "one-bit", "limited-preemption"])
def test_one_queue_is_the_single_server_job_by_job(order):
    single = rollout(order, Scenario(load=0.9, n_jobs=N_JOBS), 3)
    for spec in ("power-of-d:d=1", "round-robin", "join-shortest-queue"):
        one = play(ClusterScenario(load=0.9, servers=1, n_jobs=N_JOBS), order, 3, spec)
        np.testing.assert_allclose(one.outcome["completion"], single.outcome["completion"], rtol=0, atol=1e-6)
        assert (one.outcome["preemptions"] == single.outcome["preemptions"]).all()


@pytest.mark.skipif(_jit.DISABLED, reason="too slow uncompiled")
@pytest.mark.parametrize("order", ["las", "gittins", "sprpt-bounce"])
def test_one_queue_has_the_mean_of_the_single_server_where_ranks_rise(order):
    one = play(ClusterScenario(load=0.8, servers=1, n_jobs=50_000), order, 3, "random").response_times
    single = rollout(order, Scenario(load=0.8, n_jobs=50_000), 3).response_times
    assert one.mean() == pytest.approx(single.mean(), rel=5e-3)


@pytest.mark.skipif(_jit.DISABLED, reason="too slow uncompiled")
@pytest.mark.parametrize(
    ("load", "jobs", "within"), [(0.7, 1e6, 0.01), (0.9, 1e6, 0.01), (0.95, 1e6, 0.01), (0.99, 5e6, 0.02)]
)
def test_two_choices_of_a_thousand_queues_have_the_mean_of_the_fixed_point(load, jobs, within):
    """The mean is sum_i load^(2^i - 1) / load, plus its term of order 1/n, which is 0.1 to 0.9 % for n = 1000.

    Exact at the load that the run happened to have, which takes most of the noise away: at .99 the mean grows by 14 %
    when the load grows by .5 %. What is left has a standard deviation below a third of the tolerance up to .95, and
    below a half at .99. A fifth of the run is left out: at .99 the queues take some hundred mean sizes to fill.
    """
    run = play(ClusterScenario(load=load, servers=1000, n_jobs=int(jobs)), "fcfs", 1, "power-of-d:d=2")
    run = run.after_warmup(0.2)
    realised = run.sizes.sum() / (run.jobs["arrival"][-1] - run.jobs["arrival"][0]) / 1000
    assert realised == pytest.approx(load, rel=3e-3)
    exact = PowerOfD(realised).mean_response_time(1000)
    assert run.response_times.mean() == pytest.approx(exact, rel=within)


@pytest.mark.skipif(_jit.DISABLED, reason="too slow uncompiled")
def test_random_queues_are_single_servers():
    """Arrivals that are split at random are Poisson, so the mean is 1 / (1 - load); here within 1 %, 2 million jobs."""
    run = play(ClusterScenario(load=0.7, servers=100, n_jobs=2_000_000), "fcfs", 1, "random")
    assert run.response_times[200_000:].mean() == pytest.approx(1 / 0.3, rel=0.01)


@pytest.mark.skipif(_jit.DISABLED, reason="too slow uncompiled")
def test_who_knows_more_waits_less():
    scenario = ClusterScenario(load=0.9, servers=100, n_jobs=200_000)
    means = {
        name: play(scenario, "fcfs", 1, name).response_times.mean()
        for name in ("random", "round-robin", "power-of-d", "power-of-d:d=5", "join-shortest-queue")
    }
    assert list(means.values()) == sorted(means.values(), reverse=True)


def test_d_different_servers_are_drawn_and_all_pairs_alike():
    """Chi-square over the ordered pairs, below its 99.9 % quantile."""
    n, servers = 40_000, 6
    drawn = different(n, 2, servers, np.random.default_rng(5))
    assert (drawn[:, 0] != drawn[:, 1]).all()
    pairs = np.bincount(drawn[:, 0] * servers + drawn[:, 1], minlength=servers**2).reshape(servers, servers)
    expected = n / (servers * (servers - 1))
    off = pairs[~np.eye(servers, dtype=bool)]
    assert ((off - expected) ** 2 / expected).sum() < chi2.ppf(0.999, len(off) - 1)
    everyone = different(500, 4, 4, np.random.default_rng(6))
    assert (np.sort(everyone, axis=1) == np.arange(4)).all()


def test_ties_among_all_are_broken_evenly():
    """The first job sees only idle servers; over seeds each is as likely, by chi-square at 99.9 %."""
    scenario = ClusterScenario(servers=5, n_jobs=1)
    seen = [play(scenario, "fcfs", seed, "join-idle-queue").jobs["site"][0] for seed in range(500)]
    counts = np.bincount(seen, minlength=5)
    assert ((counts - 100) ** 2 / 100).sum() < chi2.ppf(0.999, 4)


def test_round_robin_deals_in_turn():
    run = play(ClusterScenario(servers=3, n_jobs=10), "fcfs", 1, "round-robin")
    assert run.jobs["site"].tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]


@pytest.mark.skipif(_jit.DISABLED, reason="too slow uncompiled")
def test_a_size_interval_sends_like_to_like_and_equal_work_to_each():
    scenario = ClusterScenario(predictor="exact", servers=4, n_jobs=100_000, load=0.5)
    run = play(scenario, "fcfs", 1, "size-interval")
    work = np.array([run.sizes[run.jobs["site"] == s].sum() for s in range(4)]) / run.sizes.sum()
    np.testing.assert_allclose(work, 0.25, atol=0.01)
    for s in range(3):
        assert run.sizes[run.jobs["site"] == s].max() <= run.sizes[run.jobs["site"] == s + 1].min()


def test_a_score_that_is_infinite_everywhere_sends_to_the_first_that_was_drawn():
    def never(job, queue, params):
        return np.inf

    sender = DispatchPolicy("never", never, d=2)
    scenario = ClusterScenario(servers=4, n_jobs=200)
    run = play(scenario, "fcfs", 1, sender)
    assert (run.jobs["site"] == scenario.draw(None, 1, sender).choices[:, 0]).all()
    assert (run.response_times >= run.sizes * (1 - 1e-9)).all()


def test_a_score_of_the_users_own_is_as_good():
    def fewest(job, queue, params):
        return queue.jobs / queue.speed

    scenario = ClusterScenario(servers=20, n_jobs=2_000)
    own = play(scenario, "fcfs", 1, DispatchPolicy("own", fewest, d=2))
    assert (own.jobs["site"] == play(scenario, "fcfs", 1, "power-of-d").jobs["site"]).all()


@pytest.mark.parametrize("name", NAMES)
def test_compiles_cites_and_pickles(name):
    sender = dispatch_policy(name)
    _jit.compile_dispatch(sender.score, cache=True)
    assert sender.source
    assert pickle.loads(pickle.dumps(sender)) == sender
    assert sender.name == name


def test_bad_senders_are_refused_in_one_line():
    def knows(job, queue, params):
        return job.size

    def wrong(job, queue, params):
        return job.predictd

    def nothing(job, queue, params):
        return np.nan

    with pytest.raises(TruthError, match=r"reads job\.size"):
        DispatchPolicy("knows", knows)
    with pytest.raises(BadInput, match="predicted"):
        DispatchPolicy("wrong", wrong)
    with pytest.raises(BadInput, match="looks='some'"):
        DispatchPolicy("some", nothing, looks="some")
    with pytest.raises(BadInput, match="d=0"):
        dispatch_policy("power-of-d:d=0")
    with pytest.raises(BadInput, match="round-robin"):
        dispatch_policy("round-robbin")
    with pytest.raises(BadInput, match="threshold=0"):
        dispatch_policy("one-bit-count:threshold=0")
    scenario = ClusterScenario(servers=3, n_jobs=20)
    with pytest.raises(BadInput, match="score NaN") as caught:
        play(scenario, "fcfs", 1, DispatchPolicy("nothing", nothing))
    assert "\n" not in str(caught.value)
    with pytest.raises(BadInput, match="d=4 of 3 servers"):
        play(scenario, "fcfs", 1, "power-of-d:d=4")
    with pytest.raises(BadInput, match="patien"):
        play(ClusterScenario(servers=3, n_jobs=20, patience="exponential"), "fcfs", 1, "random")

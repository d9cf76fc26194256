"""One queue for several servers: job by job as the rules say, as one server where k = 1, and Erlang's formulas."""

import numpy as np
import pytest
import reference_cluster
from hypothesis import given, settings
from hypothesis import strategies as st

from llmqueue_gym import _jit
from llmqueue_gym.evaluation.cluster import ClusterScenario, central_queue, measure_cluster, play
from llmqueue_gym.evaluation.rollout import rollout
from llmqueue_gym.evaluation.scenario import Scenario
from llmqueue_gym.evaluation.statistics import across_seeds, batch_means
from llmqueue_gym.jobs import DONE, LOST, ClusterInstance, job_table
from llmqueue_gym.policies import POLICIES, policy
from llmqueue_gym.policies.base import from_function
from llmqueue_gym.theory.erlang import MMk
from llmqueue_gym.theory.impatience import erlang_a

NEVER_RISING = [name for name in POLICIES if policy(name).shape != "general"]
GENERAL = [name for name in POLICIES if policy(name).shape == "general"]
N_JOBS = 2_000 if _jit.DISABLED else 400_000


@st.composite
def instances(draw):
    """A few jobs whose times are quarters of a second, so that they tie often and sums are exact."""
    quarters = st.integers(1, 12).map(lambda q: q / 4)
    job = st.tuples(st.integers(0, 12).map(lambda q: q / 4), quarters, quarters, st.sampled_from([0.25, 1.0, np.inf]))
    jobs = sorted(draw(st.lists(job, min_size=1, max_size=12)), key=lambda job: job[0])
    speeds = draw(st.lists(st.sampled_from([0.5, 1.0, 2.0]), min_size=1, max_size=4))
    return [list(column) for column in zip(*jobs, strict=True)], speeds


def instance_of(arrivals, sizes, predicted, patience):
    jobs = job_table(np.array(arrivals), np.array(predicted))
    jobs["deadline"] = jobs["arrival"] + np.array(patience)
    return ClusterInstance(jobs, np.array(sizes), np.array(patience), np.zeros((len(sizes), 0), np.int64), np.zeros(0))


@settings(max_examples=10 if _jit.DISABLED else 150, deadline=None)
@given(given=instances())
@pytest.mark.parametrize("name", NEVER_RISING)
def test_every_job_fares_as_the_rules_say(name, given):
    (arrivals, sizes, predicted, patience), speeds = given
    p, instance = policy(name), instance_of(arrivals, sizes, predicted, patience)
    found = central_queue(instance, p, np.array(speeds)).outcome
    start, done, preempted = reference_cluster.central_schedule(
        arrivals, sizes, predicted, list(instance.jobs["deadline"]), patience, speeds, p.rank, p.params, p.preemptive,
        p.lcfs_up_to,
    )  # fmt: skip
    np.testing.assert_allclose(found["start"], start, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found["completion"], done, rtol=0, atol=1e-12)
    assert found["preemptions"].tolist() == preempted


def test_who_gives_up_is_marked_and_the_others_are_done():
    scenario = ClusterScenario(load=1.5, servers=3, patience="exponential", n_jobs=2_000)
    run = play(scenario, "spjf", 1)
    lost = np.isnan(run.outcome["completion"])
    assert 0.2 < lost.mean() < 0.5
    assert (run.jobs["status"] == np.where(lost, LOST, DONE)).all()
    assert np.isnan(run.outcome["start"][lost]).all()
    waits = (run.outcome["start"] - run.jobs["arrival"])[~lost]
    assert (waits <= scenario.draw(None, 1).patience[~lost]).all()


@pytest.mark.parametrize("name", NEVER_RISING)
def test_one_server_is_the_single_server_job_by_job(name):
    n = min(N_JOBS, 20_000)
    one = play(ClusterScenario(load=0.9, servers=1, n_jobs=n), name, 3)
    single = rollout(name, Scenario(load=0.9, n_jobs=n), 3)
    np.testing.assert_allclose(one.outcome["completion"], single.outcome["completion"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(one.outcome["start"], single.outcome["start"], rtol=0, atol=1e-6)
    assert (one.outcome["preemptions"] == single.outcome["preemptions"]).all()


@pytest.mark.skipif(_jit.DISABLED, reason="too slow uncompiled")
@pytest.mark.parametrize("name", GENERAL)
def test_one_server_has_the_mean_of_the_single_server_where_ranks_rise(name):
    one = play(ClusterScenario(load=0.8, servers=1, n_jobs=50_000), name, 3).response_times
    single = rollout(name, Scenario(load=0.8, n_jobs=50_000), 3).response_times
    assert one.mean() == pytest.approx(single.mean(), rel=5e-3)


def test_ranks_of_general_shape_are_right_where_they_do_not_rise():
    def left(job, params):
        return job.predicted - job.age

    scenario = ClusterScenario(load=0.9, servers=4, n_jobs=3_000)
    falling, general = play(scenario, "sprpt", 1), play(scenario, left, 1)
    np.testing.assert_allclose(general.outcome["completion"], falling.outcome["completion"], rtol=0, atol=1e-6)


@pytest.mark.skipif(_jit.DISABLED, reason="too slow uncompiled")
@pytest.mark.parametrize("servers", [2, 10, 100])
@pytest.mark.parametrize("load", [0.5, 0.8, 0.95])
def test_mean_wait_is_that_of_erlang_c(servers, load):
    run = play(ClusterScenario(load=load, servers=servers, n_jobs=N_JOBS), "fcfs", 11)
    exact = MMk(servers, load)
    waits = run.outcome["start"] - run.jobs["arrival"]
    found = batch_means(waits, 0.999)
    if exact.delay_probability * N_JOBS < 1:  # hardly anybody ever waits
        assert (waits > 0).sum() <= 10
    else:
        assert found.low <= exact.mean_wait <= found.high, (exact.mean_wait, found)


@pytest.mark.skipif(_jit.DISABLED, reason="too slow uncompiled")
@pytest.mark.parametrize(
    ("servers", "load", "patience"), [(1, 0.8, 2.0), (10, 1.2, 1.0), (50, 0.95, 0.5), (50, 1.5, 3)]
)
def test_served_share_is_that_of_erlang_a(servers, load, patience):
    scenario = ClusterScenario(load=load, servers=servers, n_jobs=N_JOBS, patience=f"exponential:mean={patience}")
    served = ~np.isnan(play(scenario, "fcfs", 5).outcome["completion"])
    found, exact = batch_means(served, 0.999), erlang_a(servers, load, patience=patience)
    assert found.low <= 1 - exact.abandoned <= found.high, (exact, found)


@pytest.mark.skipif(_jit.DISABLED, reason="too slow uncompiled")
def test_the_order_of_service_does_not_change_how_many_are_served():
    """A rule that looks at no size leaves the number in system that of Erlang A, where patience is exponential."""

    def last_come(job, params):
        return -job.arrival

    lcfs = from_function(last_come, preemptive=False, shape="constant")
    scenario = ClusterScenario(load=1.2, servers=10, n_jobs=N_JOBS, patience="exponential")
    exact = 1 - erlang_a(10, 1.2).abandoned
    for rule in ("fcfs", lcfs):
        found = batch_means(~np.isnan(play(scenario, rule, 8).outcome["completion"]), 0.999)
        assert found.low <= exact <= found.high, (rule, exact, found)


@pytest.mark.skipif(_jit.DISABLED, reason="too slow uncompiled")
def test_two_speeds_share_the_jobs_as_the_birth_death_chain_says():
    """Two servers of speeds 3 and 1, load .7: P(idle), P(only the fast), P(only the slow) and the queue beyond."""
    fast, slow, rate = 3.0, 1.0, 0.7 * 4.0
    # Balance of the states 0, fast only, slow only, two jobs; beyond two the tail is geometric with ratio .7.
    a = np.array(
        [
            [-rate, fast, slow, 0.0],
            [rate, -(rate + fast), 0.0, slow],
            [0.0, 0.0, -(rate + slow), fast],
            [1.0, 1.0, 1.0, 1.0 / 0.3],
        ]
    )
    p = np.linalg.solve(a, [0.0, 0.0, 0.0, 1.0])
    exact = p[3] * 0.7 / 0.3**2 / rate  # mean wait: jobs beyond two, over the rate
    means = []
    for seed in range(10):
        run = play(ClusterScenario(load=0.7, servers=2, speeds=(slow, fast), n_jobs=N_JOBS // 4), "fcfs", seed)
        means.append((run.outcome["start"] - run.jobs["arrival"]).mean())
    found = across_seeds(means, 0.999)
    assert found.low <= exact <= found.high, (exact, found)


def test_metrics_count_the_served_only():
    sizes, patience = [1.0, 1.0, 2.0], [np.inf, 0.5, np.inf]
    run = central_queue(instance_of([0.0, 0.0, 1.0], sizes, sizes, patience), policy("fcfs"), np.ones(1))
    found = measure_cluster(run)
    assert found["served"] == pytest.approx(2 / 3)
    assert found["work_served"] == pytest.approx(3 / 4)
    assert found["mean_response_time"] == pytest.approx(1.5)
    assert found["mean_wait"] == pytest.approx(0.0)
    assert found["throughput"] == pytest.approx(2.0)

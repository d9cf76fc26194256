"""One queue for several servers: job by job as the rules say, as one server where k = 1, and Erlang's formulas."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_servers import central_schedule, same_outcome
from small_jobs import SPEEDS, small_jobs

from llmqueue_gym import _jit
from llmqueue_gym.engines import central_queue
from llmqueue_gym.evaluation import across_seeds, batch_means, measure
from llmqueue_gym.jobs import DONE, LOST, job_table
from llmqueue_gym.policies import POLICIES, Policy, policy
from llmqueue_gym.systems import Drawn, Scenario
from llmqueue_gym.systems.central import Central
from llmqueue_gym.theory.erlang import MMk
from llmqueue_gym.theory.impatience import erlang_a
from llmqueue_gym.theory.unequal_servers import fastest_first

NAMES = [name for name in POLICIES if not policy(name).drops]
NEVER_RISING = [name for name in NAMES if policy(name).shape != "general" and policy(name).prepare is None]
# Here a rank that jumps is seen to do so up to a slice late, as those that bring reports along do.
GENERAL = [name for name in NAMES if policy(name).shape == "general" and policy(name).predictor is None]
N_JOBS = 2_000 if _jit.DISABLED else 200_000


@settings(max_examples=10 if _jit.DISABLED else 60, deadline=None)
@given(drawn=small_jobs(patience=st.sampled_from([0.25, 1.0, np.inf])), speeds=SPEEDS)
@pytest.mark.parametrize("name", NEVER_RISING)
def test_every_job_fares_as_the_rules_say(name, drawn, speeds):
    drawn.work["deadline"] = drawn.work["arrival"] + drawn.truth["patience"]
    run = Central(speeds=tuple(speeds)).simulate(drawn, policy(name))
    same_outcome(run.outcome, central_schedule(drawn, policy(name), speeds))


def test_who_gives_up_is_marked_and_the_others_are_done():
    scenario = Scenario("central", load=1.5, servers=3, patience="exponential", n_jobs=2_000)
    run = scenario.simulate("spjf", 1)
    assert 0.5 < run.done.mean() < 0.8
    assert (run.jobs["status"] == np.where(run.done, DONE, LOST)).all()
    assert np.isnan(run.outcome["start"][~run.done]).all()
    waits = (run.outcome["start"] - run.jobs["arrival"])[run.done]
    assert (waits <= scenario.draw(1).truth["patience"][run.done]).all()


@pytest.mark.parametrize("name", NEVER_RISING)
def test_one_server_is_the_single_server_job_by_job(name):
    one, single = (
        Scenario(kind, load=0.9, n_jobs=min(N_JOBS, 20_000)).simulate(name, 3) for kind in ("central", "mg1")
    )
    same_outcome(one.outcome, single.outcome, exactly=False)


@pytest.mark.skipif(_jit.DISABLED, reason="too slow uncompiled")
@pytest.mark.parametrize("name", GENERAL)
def test_one_server_has_the_mean_of_the_single_server_where_ranks_rise(name):
    one, single = (Scenario(kind, n_jobs=50_000).simulate(name, 3).response_times for kind in ("central", "mg1"))
    assert one.mean() == pytest.approx(single.mean(), rel=5e-3)


def test_ranks_of_general_shape_are_right_where_they_do_not_rise():
    def left(job, params):
        return job.predicted - job.age

    scenario = Scenario("central", load=0.9, servers=4, n_jobs=3_000)
    falling, general = scenario.simulate("sprpt", 1), scenario.simulate(left, 1)
    np.testing.assert_allclose(general.outcome["completion"], falling.outcome["completion"], rtol=0, atol=1e-6)


def rises_by_class(job, params):
    return job.predicted + job.klass * job.age


def test_an_arrival_meets_the_ranks_of_now():
    """Long before the rank of the job of class 1 is looked at again it is above that of an arrival, which runs."""
    jobs = job_table(np.array([0.0, 0.0, 1.0]), np.array([0.5, 1.2, 1.3]))
    jobs["klass"] = [1, 0, 0]
    outcome = (
        Central(servers=2).simulate(Drawn(jobs, {"sizes": np.array([99.0, 99.0, 1.0])}), policy(rises_by_class)).outcome
    )
    assert outcome["start"].tolist() == [0.0, 0.0, 1.0] and outcome["preemptions"].tolist() == [1, 0, 0]


@pytest.mark.skipif(_jit.DISABLED, reason="too slow uncompiled")
@pytest.mark.parametrize("servers", [2, 10, 100])
@pytest.mark.parametrize("load", [0.5, 0.8, 0.95])
def test_mean_wait_is_that_of_erlang_c(servers, load):
    run = Scenario("central", load=load, servers=servers, n_jobs=N_JOBS).simulate("fcfs", 11)
    exact = MMk(servers, load)
    waits = run.outcome["start"] - run.jobs["arrival"]
    found = batch_means(waits, 0.999)
    if exact.delay_probability * N_JOBS < 1:  # hardly anybody ever waits
        assert (waits > 0).sum() <= 10
    else:
        assert found.low <= exact.mean_wait <= found.high, (exact.mean_wait, found)


def last_come(job, params):
    return -job.arrival


@pytest.mark.skipif(_jit.DISABLED, reason="too slow uncompiled")
@pytest.mark.parametrize(
    ("servers", "load", "patience"), [(1, 0.8, 2.0), (10, 1.2, 1.0), (50, 0.95, 0.5), (50, 1.5, 3)]
)
@pytest.mark.parametrize("rule", ["fcfs", Policy.from_function(last_come, preemptive=False, shape="constant")])
def test_served_share_is_that_of_erlang_a(servers, load, patience, rule):
    """Whoever is served first: a rule that looks at no size leaves the number in system that of Erlang A."""
    law = f"exponential:mean={patience}"
    run = Scenario("central", load=load, servers=servers, n_jobs=N_JOBS, patience=law).simulate(rule, 5)
    found, exact = batch_means(run.done, 0.999), erlang_a(servers, load, patience=patience)
    assert found.low <= 1 - exact.abandoned <= found.high, (exact, found)


@pytest.mark.skipif(_jit.DISABLED, reason="too slow uncompiled")
def test_two_speeds_share_the_jobs_as_gumbel_says():
    """Two servers of speeds 3 and 1, the fastest idle one first."""
    scenario = Scenario("central", load=0.7, speeds=(1.0, 3.0), n_jobs=N_JOBS // 2)
    exact = fastest_first(scenario.system.server_speeds, scenario.source.rate).mean_response_time
    found = across_seeds([scenario.simulate("fcfs", seed).response_times.mean() for seed in range(10)], 0.999)
    assert found.low <= exact <= found.high, (exact, found)


def test_told_deadlines_are_of_use_and_told_only_where_the_scenario_says_so():
    served = {}
    for told in (False, True):
        scenario = Scenario("central", load=1.2, servers=10, n_jobs=20_000, patience="exponential", told=told)
        jobs, truth = scenario.draw(1)
        assert (jobs["deadline"] == (jobs["arrival"] + truth["patience"] if told else np.inf)).all()
        served[told] = [measure(scenario.simulate(name, 1))["served"] for name in ("edf", "fcfs")]
    assert served[True][0] > served[True][1] == served[False][1] == served[False][0]


@pytest.mark.skipif(_jit.DISABLED, reason="nothing is compiled")
def test_one_compiled_kernel_serves_every_policy():
    for name in NAMES:
        Scenario("central", servers=2, n_jobs=50).simulate(name)
    assert len(central_queue.simulate.signatures) == 1

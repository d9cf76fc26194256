"""One server: job by job as the rules say, theory inside the interval of simulation, one kernel for every policy."""

from dataclasses import replace

import numpy as np
import pytest
from agreement import inside
from hypothesis import given, settings
from reference_servers import central_schedule, las_schedule, same_outcome
from small_jobs import small_jobs
from solved_jobs import RESPONSE_TIMES, Toy

from llmqueue_gym import _jit
from llmqueue_gym.engines import sharing_server, single_server
from llmqueue_gym.errors import BadInput
from llmqueue_gym.jobs import job_table
from llmqueue_gym.policies import POLICIES, Policy, policy
from llmqueue_gym.systems import Drawn, Scenario, mg1
from llmqueue_gym.systems.mg1 import MG1, twins

NAMES = [name for name in POLICIES if not policy(name).drops]
NEVER_RISING = [name for name in NAMES if policy(name).shape != "general"]
PREEMPTIVE = [name for name in NEVER_RISING if policy(name).preemptive]
ANALYSED = [name for name in NAMES if "deadline" not in policy(name).reads()]
CASES = [
    ("exponential", "exponential", 0.8),
    ("uniform", "uniform:alpha=0.5", 0.5),
    ("hyperexponential:p=0.9,ratio=4", "buckets:k=4", 0.8),
    ("deterministic", "lognormal:sigma=0.5", 0.6),
]
N_JOBS = 2_000 if _jit.DISABLED else 100_000
AT_ONCE = Scenario().facts()  # what a policy may be computed from, at the default sizes and predictions


def play(drawn, given):
    discipline = policy(given)
    return MG1().simulate(drawn, discipline, **AT_ONCE)


@pytest.mark.parametrize("name", NEVER_RISING)
@given(drawn=small_jobs())
@settings(deadline=None, max_examples=10 if _jit.DISABLED else 50)
def test_every_job_fares_as_the_rules_say(name, drawn):
    discipline = replace(policy(name), params=tuple(policy(name).params_for(**AT_ONCE)), prepare=None)
    same_outcome(play(drawn, discipline).outcome, central_schedule(drawn, discipline))


@pytest.mark.parametrize("name", PREEMPTIVE)
@given(drawn=small_jobs())
@settings(deadline=None, max_examples=25)
def test_sharing_server_agrees_where_nothing_rises(name, drawn):
    found = play(drawn, replace(policy(name), shape="general")).outcome["completion"]
    np.testing.assert_allclose(found, play(drawn, name).outcome["completion"], rtol=1e-9)


@given(drawn=small_jobs())
@settings(deadline=None, max_examples=100)
def test_las_is_exact_processor_sharing_of_the_youngest(drawn):
    # Not on the quarters, so that no arrival falls on the very moment at which two jobs finish together.
    drawn.work["arrival"] *= 1.001
    np.testing.assert_allclose(play(drawn, "las").outcome["completion"], las_schedule(drawn), rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_no_policy_idles_while_there_is_work(name):
    """Busy periods end when those of fcfs do, and nothing is lost or hurried."""
    scenario = Scenario(load=0.7, n_jobs=2_000)
    run, fcfs = (scenario.simulate(player, 2) for player in (name, "fcfs"))
    ends = [np.sort(one.outcome["completion"]) for one in (run, fcfs)]
    comes = run.jobs["arrival"]
    idle = comes[1:] > ends[1][:-1] + 1e-6  # the server was idle before the next arrival
    np.testing.assert_allclose(ends[0][:-1][idle], ends[1][:-1][idle], rtol=1e-9)
    assert np.all(run.response_times >= run.sizes * (1 - 1e-9))
    assert np.all(run.outcome["start"] >= comes) and np.all(run.outcome["preemptions"] >= 0)
    np.testing.assert_array_equal(run.jobs["age"], run.sizes)


def together(sizes, arrivals=None):
    sizes = np.array(sizes)
    return Drawn(job_table(np.zeros(len(sizes)) if arrivals is None else np.array(arrivals), sizes), {"sizes": sizes})


def test_jobs_that_arrive_together_compete():
    for name in ("spjf", "pspjf"):
        run = play(together([5.0, 1.0]), name)
        assert run.outcome["completion"].tolist() == [6.0, 1.0] and not run.outcome["preemptions"].any()


def test_jobs_that_share_finish_together():
    run = play(together([2.0, 2.0, 0.25], [0.0, 1.0, 4.0]), "las")
    assert run.outcome["completion"].tolist() == [4.0, 4.0, 4.25]


@pytest.mark.parametrize("name", RESPONSE_TIMES)
def test_toy(name):
    assert tuple(Scenario(workload=Toy(), n_jobs=5).simulate(name).response_times) == RESPONSE_TIMES[name]


@pytest.mark.parametrize("name", ANALYSED)
@pytest.mark.parametrize(("size", "predictor", "load"), CASES)  # these last, as policies share the joint law of a case
def test_theory_lies_inside_the_interval_of_simulation(name, size, predictor, load):
    inside(name, Scenario(size=size, predictor=predictor, load=load, n_jobs=N_JOBS), seed=7)


def rises_and_falls(job, params):
    return job.predicted * (1.0 + params[0] * np.sin(3.0 * job.age))


def rises_at_its_own_speed(job, params):
    return (1.0 + job.age) ** 0.5 * (job.predicted + 0.3)


def half_life(job, params):
    return job.predicted - 0.5 * job.age


@pytest.mark.parametrize("rank", [rises_and_falls, rises_at_its_own_speed, half_life])
def test_theory_agrees_on_ranks_that_no_formula_covers(rank):
    inside(Policy(rank.__name__, rank, (0.5,)), Scenario(n_jobs=2 * N_JOBS), seed=3)


def outlives(job, params):
    return params[0] if job.age > params[1] else job.predicted


@pytest.mark.parametrize("rank", [1e9, np.inf])
def test_who_jumps_to_the_rank_of_an_earlier_job_leaves_the_server_to_it(rank):
    drawn = together([0.5, 2.9, 3.2], [0.0, 0.8, 1.9])
    drawn.work["predicted"] = [1.9, 2.3, 1.7]
    run = play(drawn, Policy("outlives", outlives, (rank, 1.0)))
    np.testing.assert_allclose(run.outcome["completion"], [0.5, 4.7, 6.9], rtol=1e-12)


@pytest.mark.parametrize("kind", ["mg1", "central"])
def test_a_constant_infinite_rank_is_first_come_first_served(kind):
    endless = Policy("endless", outlives, (np.inf, -1.0))
    found, fcfs = (Scenario(kind, n_jobs=1_000).simulate(player, 1).outcome for player in (endless, "fcfs"))
    same_outcome(found, fcfs, exactly=False)


def test_seh_like_lies_between_pspjf_and_sprpt():
    scenario = Scenario(n_jobs=2_000)
    never_short = replace(scenario, predictor="multiplicative:low=1,high=2")
    for where, spec, order in ((scenario, "seh-like:k=1", "pspjf"), (never_short, "seh-like:k=1e-9", "sprpt")):
        same_outcome(*(where.simulate(name, 1).outcome for name in (spec, order)))
    apart = [scenario.simulate(name, 1).response_times for name in ("seh-like", "pspjf", "sprpt")]
    assert (apart[0] != apart[1]).any() and (apart[0] != apart[2]).any()


def test_a_completion_goes_before_an_arrival_at_the_same_time():
    """So a shorter job that comes when another is done finds the server free, and preempts nobody."""
    for shape in ("constant", "general"):
        order = replace(policy("pspjf"), shape=shape)
        outcome = play(together([1.0, 0.5], [0.0, 1.0]), order).outcome
        assert outcome["start"].tolist() == [0.0, 1.0] and outcome["preemptions"].tolist() == [0, 0]
        assert play(together([2.0, 0.5], [0.0, 1.0]), order).outcome["preemptions"].tolist() == [1, 0]


def test_the_slice_of_shared_service_hardly_matters(monkeypatch):
    means = []
    for resolution in (0.05, 0.01):
        monkeypatch.setattr(mg1, "RESOLUTION", resolution)
        means.append(Scenario(n_jobs=20_000).simulate(rises_at_its_own_speed, 1).response_times.mean())
    assert means[0] != means[1] and means[0] == pytest.approx(means[1], rel=5e-3)


def test_twins_have_one_rank_function():
    jobs = job_table(np.arange(5.0), predicted=np.array([1.0, 2.0, 1.0, 2.0, 1.0]))
    jobs["klass"] = [0, 0, 1, 0, 0]
    assert twins(policy("las"), jobs).tolist() == [0] * 5
    by_prediction = twins(policy("sprpt-bounce"), jobs)
    assert by_prediction[0] == by_prediction[2] == by_prediction[4] != by_prediction[1] == by_prediction[3]
    both = twins(policy(lambda job, params: job.age * job.predicted + job.klass), jobs)
    assert len(set(both)) == 3 and both[0] == both[4] and both[1] == both[3]
    assert len(set(twins(policy(lambda job, params: job.arrival + job.age), jobs))) == 5


@pytest.mark.parametrize("shape", ["constant", "general"])
def test_a_rank_that_is_no_number_is_refused(shape):
    void = Policy.from_function(lambda job, params: np.nan, name="void", shape=shape)
    with pytest.raises(BadInput, match="'void' gives rank NaN to job 0;"):
        Scenario(n_jobs=2_000).simulate(void)


@pytest.mark.skipif(_jit.DISABLED, reason="nothing is compiled")
def test_one_compiled_kernel_serves_every_policy():
    for name in NAMES:
        Scenario(n_jobs=50).simulate(name)
    for kernel in (single_server.simulate, sharing_server.simulate):
        assert len(kernel.signatures) == 1

"""Engines: theory lies inside the interval of simulation, for every policy; one compiled kernel serves them all."""

import numpy as np
import pytest

from llmqueue_gym import _jit
from llmqueue_gym.engines import sharing_server, single_server
from llmqueue_gym.evaluation import closed_loop
from llmqueue_gym.evaluation.rollout import rollout
from llmqueue_gym.evaluation.scenario import Scenario
from llmqueue_gym.evaluation.statistics import batch_means
from llmqueue_gym.policies import POLICIES, policy
from llmqueue_gym.policies.base import Policy, from_function
from llmqueue_gym.theory import analyse

NAMES = list(POLICIES)
LAWS = [
    ("exponential", "exponential"),
    ("uniform", "uniform:alpha=0.5"),
    ("hyperexponential:p=0.9,ratio=4", "buckets:k=4"),
    ("deterministic", "lognormal:sigma=0.5"),
]
N_JOBS = 2_000 if _jit.DISABLED else 200_000


def inside(player, scenario, seed, level=0.999):
    """Whether the exact mean lies inside the interval of one run, at a level fixed beforehand."""
    discipline = policy(player)
    exact = analyse(discipline, scenario.law, scenario.bound_predictor(discipline), scenario.load).mean_response_time
    run = rollout(discipline, scenario, seed)
    estimate = batch_means(run.response_times, level)
    return estimate.low <= exact <= estimate.high, exact, estimate


@pytest.mark.parametrize(("size", "predictor"), LAWS)
@pytest.mark.parametrize("name", NAMES)
def test_theory_lies_inside_the_interval_of_simulation(name, size, predictor):
    for load in (0.5, 0.8):
        ok, exact, estimate = inside(name, Scenario(size, predictor, load, n_jobs=N_JOBS), seed=7)
        assert ok, (load, exact, estimate)


def rises_and_falls(job, params):
    return job.predicted * (1.0 + params[0] * np.sin(3.0 * job.age))


def rises_at_its_own_speed(job, params):
    return (1.0 + job.age) ** 0.5 * (job.predicted + 0.3)


@pytest.mark.parametrize("rank", [rises_and_falls, rises_at_its_own_speed])
def test_theory_agrees_on_ranks_that_no_formula_covers(rank):
    ok, exact, estimate = inside(Policy(rank.__name__, rank, (0.5,)), Scenario(load=0.8, n_jobs=2 * N_JOBS), seed=3)
    assert ok, (exact, estimate)


def test_a_plain_function_works_everywhere():
    def half_life(job, params):
        return job.predicted - 0.5 * job.age

    ok, exact, estimate = inside(half_life, Scenario(load=0.8, n_jobs=N_JOBS), seed=5)
    assert ok, (exact, estimate)


def test_the_two_engines_agree_where_both_are_right():
    scenario = Scenario(load=0.9, n_jobs=5_000)
    for name in ("sprpt", "pspjf", "lcfs", "one-bit-lcfs", "one-bit-fcfs", "limited-preemption", "srpt"):
        p = policy(name)
        general = Policy(p.name, p.rank, p.params, shape="general", lcfs_up_to=p.lcfs_up_to, predictor=p.predictor)
        a, b = rollout(p, scenario, 1), rollout(general, scenario, 1)
        assert np.abs(a.outcome["completion"] - b.outcome["completion"]).max() < 1e-6, name


def test_the_slice_of_shared_service_hardly_matters(monkeypatch):
    means = []
    for resolution in (0.05, 0.01):
        monkeypatch.setattr(closed_loop, "RESOLUTION", resolution)
        means.append(rollout(from_function(rises_at_its_own_speed), Scenario(n_jobs=20_000), 1).response_times.mean())
    assert means[0] == pytest.approx(means[1], rel=5e-3)


def test_same_seed_same_numbers():
    runs = [rollout("las", Scenario(n_jobs=2_000), 4).outcome["completion"] for _ in range(2)]
    assert (runs[0] == runs[1]).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_server_never_idles_while_there_is_work(name):
    """Work is conserved: busy periods end at the same times under every policy."""
    scenario = Scenario(load=0.7, n_jobs=2_000)
    run, fcfs = rollout(name, scenario, 2), rollout("fcfs", scenario, 2)
    assert run.outcome["completion"].max() == pytest.approx(fcfs.outcome["completion"].max(), rel=1e-12)
    assert (run.response_times >= run.sizes * (1 - 1e-9)).all()


@pytest.mark.skipif(_jit.DISABLED, reason="nothing is compiled")
def test_one_compiled_kernel_serves_every_policy():
    for name in NAMES:
        rollout(name, Scenario(n_jobs=50), 0)
    for kernel in (single_server.simulate, sharing_server.simulate):
        assert len(kernel.signatures) == 1

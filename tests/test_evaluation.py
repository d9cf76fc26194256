"""Engines against the reference simulators job by job, runs against exact means, and results on disk."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import las_schedule, rank_schedule

from llmqueue_gym._jit import DISABLED
from llmqueue_gym.engines import sharing_server, single_server
from llmqueue_gym.errors import BadInput, NotApplicable, TruthError
from llmqueue_gym.evaluation import METRICS, Run, Scenario, batch_means, measure, rollout, simulate
from llmqueue_gym.evaluation.closed_loop import twins
from llmqueue_gym.evaluation.results import provenance, read_json, result, write_json
from llmqueue_gym.jobs import Instance, job_table, outcome_table
from llmqueue_gym.policies import POLICIES, policy
from llmqueue_gym.policies.base import from_function
from llmqueue_gym.workloads import Toy, TraceWorkload
from llmqueue_gym.workloads.toy import RESPONSE_TIMES

SMALL = Scenario(n_jobs=2000)
FIXED_ORDER = [
    "fcfs",
    "lcfs",
    "spjf",
    "pspjf",
    "sprpt",
    "one-bit",
    "one-bit-lcfs",
    "one-bit-fcfs",
    "limited-preemption",
]


@st.composite
def instances(draw):
    """Up to 12 jobs in quarters of a second, so that engines compute without rounding and ranks often tie."""
    n = draw(st.integers(1, 12))
    quarters = [draw(st.lists(st.integers(1, 12), min_size=n, max_size=n)) for _ in range(3)]
    gaps, sizes, predicted = (np.array(row) / 4 for row in quarters)
    return Instance(job_table(np.cumsum(gaps), predicted), sizes)


def reference(instance, discipline):
    columns = instance.jobs["arrival"].tolist(), instance.sizes.tolist(), instance.jobs["predicted"].tolist()
    traits = discipline.params, discipline.preemptive, discipline.lcfs_up_to
    return rank_schedule(*columns, discipline.rank, *traits)


@pytest.mark.parametrize("name", FIXED_ORDER)
@given(instance=instances())
@settings(deadline=None, max_examples=60)
def test_single_server_is_the_reference(name, instance):
    discipline = policy(name)
    run = simulate(instance, discipline)
    assert run.outcome["completion"].tolist() == reference(instance, discipline)


@given(instance=instances())
@settings(deadline=None, max_examples=100)
def test_las_is_exact_processor_sharing_of_the_youngest(instance):
    # Not on the quarters, so that no arrival falls on the very moment at which two jobs finish together.
    instance.jobs["arrival"] *= 1.001
    run = simulate(instance, policy("las"))
    expected = las_schedule(instance.jobs["arrival"].tolist(), instance.sizes.tolist())
    np.testing.assert_allclose(run.outcome["completion"], expected, rtol=1e-9)


@pytest.mark.parametrize("name", ["pspjf", "sprpt", "lcfs", "one-bit-lcfs", "limited-preemption"])
@given(instance=instances())
@settings(deadline=None, max_examples=40)
def test_sharing_server_agrees_where_nothing_rises(name, instance):
    discipline = replace(policy(name), shape="general")
    run = simulate(instance, discipline)
    np.testing.assert_allclose(run.outcome["completion"], reference(instance, discipline), rtol=1e-9)


@pytest.mark.parametrize("name", POLICIES)
@given(instance=instances())
@settings(deadline=None, max_examples=5)
def test_every_policy_keeps_work(name, instance):
    """No policy idles while there is work: the busy periods are those of fcfs, and nothing is lost or hurried."""
    discipline = policy(name)
    run = simulate(instance, discipline, SMALL.law, SMALL.bound_predictor(discipline))
    fcfs = simulate(instance, policy("fcfs"))
    assert run.outcome["completion"].max() == pytest.approx(fcfs.outcome["completion"].max())
    assert np.all(run.response_times >= run.sizes - 1e-9)
    assert np.all(run.outcome["start"] >= run.jobs["arrival"]) and np.all(run.outcome["preemptions"] >= 0)
    np.testing.assert_array_equal(run.jobs["age"], run.sizes)


def test_jobs_that_arrive_together_compete():
    instance = Instance(job_table(np.zeros(2), np.array([5.0, 1.0])), np.array([5.0, 1.0]))
    assert simulate(instance, policy("spjf")).outcome["completion"].tolist() == [6.0, 1.0]
    assert simulate(instance, policy("pspjf")).outcome["preemptions"].tolist() == [0, 0]


def test_jobs_that_share_finish_together():
    sizes = np.array([2.0, 2.0, 0.25])
    instance = Instance(job_table(np.array([0.0, 1.0, 4.0])), sizes)
    assert simulate(instance, policy("las")).outcome["completion"].tolist() == [4.0, 4.0, 4.25]


@pytest.mark.parametrize("name", RESPONSE_TIMES)
def test_toy(name):
    run = rollout(name, Scenario(workload=Toy(), n_jobs=5), seed=0)
    assert tuple(run.response_times) == RESPONSE_TIMES[name]


# Exact means at load 0.8, exponential sizes and predictions; las has processor sharing's mean for exponential sizes.
EXACT = {"fcfs": 5.0, "lcfs": 5.0, "sprpt": 3.1374, "spjf": 3.3758, "pspjf": 3.1945, "sjf": 2.8822, "las": 5.0}


@pytest.mark.parametrize("name", EXACT)
def test_exact_mean_lies_in_the_interval(name):
    run = rollout(name, Scenario(n_jobs=300_000), seed=11)
    estimate = batch_means(run.response_times, level=0.999)
    assert estimate.low < EXACT[name] < estimate.high
    assert estimate.high - estimate.low < 0.2 * EXACT[name]


def test_same_seed_same_numbers():
    for name in ("sprpt", "sprpt-bounce"):
        first, second, other = (rollout(name, SMALL, seed) for seed in (3, 3, 4))
        np.testing.assert_array_equal(first.outcome, second.outcome)
        assert not np.array_equal(first.sizes, other.sizes)


def test_common_random_numbers():
    runs = [rollout(name, SMALL, 5) for name in ("fcfs", "srpt", "las", "gittins")]
    runs += [rollout("sprpt", replace(SMALL, predictor=told), 5) for told in ("exact", "lognormal:sigma=1")]
    for run in runs[1:]:
        np.testing.assert_array_equal(run.sizes, runs[0].sizes)
        np.testing.assert_array_equal(run.jobs["arrival"], runs[0].jobs["arrival"])
    np.testing.assert_array_equal(runs[1].outcome, runs[4].outcome)  # srpt is sprpt told the truth
    assert not np.array_equal(runs[0].jobs["predicted"], runs[1].jobs["predicted"])


def test_the_instance_is_left_alone():
    instance = SMALL.draw(policy("sprpt"), 1)
    before = instance.jobs.copy(), instance.sizes.copy()
    simulate(instance, policy("sprpt"))
    np.testing.assert_array_equal(instance.jobs, before[0])
    np.testing.assert_array_equal(instance.sizes, before[1])


def test_a_plain_function_is_a_policy():
    def predicted_first(job, params):
        return job.predicted

    mine, theirs = rollout(predicted_first, SMALL, 2), rollout("pspjf", SMALL, 2)
    np.testing.assert_allclose(mine.response_times, theirs.response_times)
    assert mine.player == "predicted_first"
    np.testing.assert_allclose(
        rollout(lambda job, params: job.age, SMALL, 2).response_times, rollout("las", SMALL, 2).response_times
    )


def test_truth_is_hidden():
    with pytest.raises(TruthError, match=r"reads job\.size: true sizes are hidden"):
        rollout(lambda job, params: job.size - job.age, SMALL, 0)


def test_wrong_ranks_are_named():
    with pytest.raises(BadInput, match="'void' gives rank NaN to 2000 of 2000 jobs"):
        rollout(from_function(lambda job, params: np.nan, name="void", shape="constant"), SMALL, 0)
    with pytest.raises(NotApplicable, match="predicts nothing"):
        rollout("sprpt", replace(SMALL, predictor="none"), 0)


@pytest.mark.skipif(DISABLED, reason="nothing is compiled")
def test_one_signature_serves_every_policy():
    for name in POLICIES:
        rollout(name, replace(SMALL, n_jobs=20), 0)
    assert len(single_server.simulate.signatures) == len(sharing_server.simulate.signatures) == 1


def test_twins_have_one_rank_function():
    jobs = job_table(np.arange(5.0), predicted=np.array([1.0, 2.0, 1.0, 2.0, 1.0]))
    jobs["klass"] = [0, 0, 1, 0, 0]
    assert twins(policy("las"), jobs).tolist() == [0] * 5
    by_prediction = twins(policy("sprpt-bounce"), jobs)
    assert by_prediction[0] == by_prediction[2] == by_prediction[4] != by_prediction[1] == by_prediction[3]
    both = twins(from_function(lambda job, params: job.age * job.predicted + job.klass), jobs)
    assert len(set(both)) == 3 and both[0] == both[4] and both[1] == both[3]
    assert len(set(twins(from_function(lambda job, params: job.arrival + job.age), jobs))) == 5


class ShortestFirst:
    """An agent that serves the visible job of least predicted size."""

    def act(self, observation):
        jobs = observation["jobs"]
        return int(np.argmin(np.where(jobs[:, 0] > 0, jobs[:, 1], np.inf)))


class Masked:
    """The same, behind the interface of sb3-contrib."""

    def predict(self, observation, state=None, episode_start=None, deterministic=False, action_masks=None):
        assert deterministic and action_masks.dtype == bool and action_masks.any()
        return np.array(np.argmin(np.where(action_masks, observation["jobs"][:, 1], np.inf))), None


@pytest.mark.parametrize("agent", [ShortestFirst(), Masked()])
@pytest.mark.parametrize("env, name", [("llmqueue/MG1Preemptive-v0", "pspjf"), ("llmqueue/MG1-v0", "spjf")])
def test_an_agent_plays_the_same_jobs(agent, env, name):
    scenario = Scenario(n_jobs=300)
    mine, theirs = rollout(agent, scenario, 6, env=env, slots=64), rollout(name, scenario, 6)
    np.testing.assert_array_equal(mine.jobs["predicted"], theirs.jobs["predicted"])
    np.testing.assert_allclose(mine.response_times, theirs.response_times)
    assert mine.player == type(agent).__name__


def test_an_agent_must_finish():
    with pytest.raises(BadInput, match="cut off"):
        rollout(ShortestFirst(), SMALL, 0, horizon=10.0)


def test_metrics_on_a_run_by_hand():
    jobs, outcome = job_table(np.array([0.0, 1.0]), weight=np.array([1.0, 3.0])), outcome_table(2)
    outcome["completion"], outcome["preemptions"] = [5.0, 3.0], [1, 0]
    found = measure(Run("hand", jobs, np.array([3.0, 2.0]), outcome, 1.0))
    assert found["mean_response_time"] == 3.5 and found["p50"] == 3.5 and found["max_response_time"] == 5.0
    assert found["weighted_mean_response_time"] == (5 + 3 * 2) / 4
    assert found["mean_slowdown"] == pytest.approx((5 / 3 + 1) / 2) and found["preemptions_per_job"] == 0.5
    assert found["throughput"] == 0.4 and found["utilisation"] == 1.0
    assert set(found) == set(METRICS) and all(math.isfinite(value) for value in found.values())


def test_a_trace_brings_its_own_law():
    sizes = np.array([1.0, 2.0, 6.0, 3.0])
    scenario = Scenario(workload=TraceWorkload(np.arange(4.0), sizes), n_jobs=100, predictor="buckets:k=2")
    assert scenario.law.mean == 3.0 and len(rollout("gittins", scenario, 0)) == 4
    assert "TraceWorkload" in scenario.to_dict()["workload"]


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"n_jobs": 0}, "n_jobs=0"),
        ({"load": -1.0}, "load=-1"),
        ({"size": "weibul"}, "did you mean 'weibull'"),
        ({"predictor": "exac"}, "did you mean 'exact'"),
        ({"arrivals": "poison"}, "did you mean 'poisson'"),
    ],
)
def test_a_scenario_is_checked_at_once(wrong, message):
    with pytest.raises(BadInput, match=message):
        Scenario(**wrong)


def test_results_go_to_disk_and_back(tmp_path):
    stored = result({"mean": 2.5, "slowdown": np.inf, "none": np.nan, "rows": np.arange(2)}, SMALL, seeds=[1, 2])
    path = tmp_path / "result.json"
    path.write_text("old")
    write_json(path, stored)
    text = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert text["slowdown"] == "Infinity" and text["none"] is None
    back = read_json(path)
    assert back["mean"] == 2.5 and back["slowdown"] == math.inf and back["rows"] == [0, 1]
    assert back["provenance"]["scenario"] == SMALL.to_dict() and back["provenance"]["seeds"] == [1, 2]
    assert {"version", "commit", "python", "numpy", "numba", "platform", "command", "time"} <= set(provenance())


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "result.json"
    write_json(path, {"mean": 1})

    def fail(*_):
        raise OSError("disk is gone")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk"):
        write_json(path, {"mean": 2})
    assert read_json(path) == {"mean": 1} and len(list(tmp_path.iterdir())) == 1

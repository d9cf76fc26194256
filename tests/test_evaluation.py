"""Rollouts of agents, metrics by hand, and results on disk."""

import json
import math

import numpy as np
import pytest

from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation import METRICS, Run, Scenario, measure, read_json, result, rollout, write_json
from llmqueue_gym.evaluation.results import provenance
from llmqueue_gym.jobs import job_table, outcome_table

SMALL = Scenario(n_jobs=300)


class ShortestFirst:
    """An agent that serves the visible job of least predicted size."""

    def act(self, observation):
        jobs = observation["jobs"]
        return int(np.argmin(np.where(jobs[:, 0] > 0, jobs[:, 1], np.inf)))


class Masked:
    """The same, behind the interface of sb3-contrib, which is asked about several runs at once."""

    def predict(self, observation, state=None, episode_start=None, deterministic=False, action_masks=None):
        assert deterministic and action_masks.dtype == bool and action_masks.any()
        return np.argmin(np.where(action_masks, observation["jobs"][..., 1], np.inf), axis=-1), None


@pytest.mark.parametrize("agent", [ShortestFirst(), Masked()])
@pytest.mark.parametrize(("preemptive", "name"), [(True, "pspjf"), (False, "spjf")])
def test_an_agent_plays_the_same_jobs(agent, preemptive, name):
    mine, theirs = rollout(agent, SMALL, 6, slots=64, preemptive=preemptive), rollout(name, SMALL, 6)
    np.testing.assert_array_equal(mine.jobs["predicted"], theirs.jobs["predicted"])
    np.testing.assert_allclose(mine.response_times, theirs.response_times)
    assert mine.player == type(agent).__name__


def test_an_agent_must_finish():
    with pytest.raises(BadInput, match=r"'ShortestFirst': the episode was cut off at .* of 300 jobs in system"):
        rollout(ShortestFirst(), SMALL, 0, horizon=10.0)


def by_hand(completion, preemptions=(0, 0)):
    """Return a run of two jobs on one server."""
    jobs, outcome = job_table(np.array([0.0, 1.0]), weight=np.array([1.0, 3.0])), outcome_table(2)
    outcome["completion"], outcome["preemptions"] = completion, preemptions
    outcome["start"] = np.where(np.isnan(completion), np.nan, jobs["arrival"])
    return Run("hand", jobs, np.array([3.0, 2.0]), outcome, 1.0)


def test_metrics_on_a_run_by_hand():
    found = measure(by_hand([5.0, 3.0], [1, 0]))
    assert found["mean_response_time"] == 3.5 and found["p50"] == 3.5 and found["max_response_time"] == 5.0
    assert found["weighted_mean_response_time"] == (5 + 3 * 2) / 4 and found["mean_wait"] == 0.0
    assert found["mean_slowdown"] == pytest.approx((5 / 3 + 1) / 2) and found["preemptions_per_job"] == 0.5
    assert found["throughput"] == 0.4 and found["utilisation"] == 1.0
    assert found["served"] == found["work_served"] == 1.0
    assert set(found) == set(METRICS) and all(math.isfinite(value) for value in found.values())


def test_metrics_count_the_served_only():
    found = measure(by_hand([np.nan, 3.0]))
    assert found["served"] == 0.5 and found["work_served"] == 0.4
    assert found["mean_response_time"] == found["p99"] == found["weighted_mean_response_time"] == 2.0
    assert found["throughput"] == pytest.approx(1 / 3) and found["utilisation"] == pytest.approx(2 / 3)
    nobody = measure(by_hand([np.nan, np.nan]))
    assert nobody["served"] == nobody["work_served"] == 0.0 and math.isnan(nobody["mean_response_time"])


def test_warm_up_is_left_out_of_jobs_and_not_of_totals():
    run = SMALL.simulate("fcfs", 1)
    kept = run.after_warmup(0.2)
    assert len(kept) == 240 and kept.totals == run.totals
    np.testing.assert_array_equal(kept.response_times, run.response_times[60:])


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

"""The experiments on the serving engine: their functions at tiny sizes, and their rules on numbers made up for them."""

import json

import do_the_paired_intervals_cover as coverage
import kv_pressure as pressure
import numpy as np
import pytest
import survey_claims_llm as claims
import survey_factors_llm as factors
import survey_headlines_llm as headlines
import vllm_measured as measured
from recorded import recorded


def rows(*intervals, group="a"):
    return [{"group": group, "factor": (low + high) / 2, "low": low, "high": high} for low, high in intervals]


@pytest.mark.parametrize(
    ("claimed", "given", "word"),
    [
        ((2, 4), rows((0.9, 1.1), (1.5, 2.5)), "reproduced"),
        ((2, 2), rows((0.9, 1.1), (3.0, 4.0)), "reproduced"),  # along the loads it passes through 2
        ((2, 2), rows((1.1, 1.5)) + rows((3.0, 4.0), group="b"), "same direction, on either side"),
        ((2, 4), rows((1.1, 1.5)), "same direction, smaller"),
        ((2, 4), rows((4.5, 5.0)), "same direction, larger"),
        ((2, 4), rows((0.5, 9.0)), "not reproduced"),  # so wide that it meets anything
        (None, rows((0.9, 1.2), (1.1, 1.2)), "reproduced"),
        (None, rows((0.8, 0.9), (1.1, 1.2)), "not reproduced"),
        ((2, 4), rows((np.nan, np.nan)), "no setting"),
    ],
)
def test_verdict(claimed, given, word):
    assert headlines.verdict(claimed, given) == word


def test_interval_of_equal_factors_is_a_point_and_of_an_undone_run_nothing():
    assert factors.interval([2.0, 2.0, 2.0]) == pytest.approx((2.0, 2.0, 2.0))
    assert np.isnan(factors.interval([2.0, np.nan])).all()


@pytest.mark.parametrize("key", ["trail-e2e", "ltr-lmsys", "sarathi-gap", "swap", "tail-discard", "s3"])
def test_claims_at_tiny_size(key):
    claim = next(claim for claim in claims.CLAIMS if claim.key == key)
    found = headlines.settle(claim, 60, 2)
    assert found["rows"]
    assert all(row["low"] <= row["factor"] <= row["high"] for row in found["rows"])


def test_gaps_between_tokens_agree_with_the_longest_of_each_run():
    given = factors.Side("fcfs", "sarathi").scenario(30, rate=2.0, max_tokens=4096).draw(0)
    gaps = factors.gaps(given, "a100-llama3-8b", "sarathi")
    served = factors.serve(given, "fcfs", "a100-llama3-8b", "sarathi")
    assert len(gaps) == pytest.approx(int((served.sizes - 1).sum()), abs=5)  # the last of a busy period has no next
    assert gaps.max() == pytest.approx(served.jobs["longest_gap"][served.jobs["generated"] > 1].max())


def test_pressure_cell_and_figure():
    cells = [pressure.play((workload, 2.0, 60, 2)) for workload in pressure.LONGEST]
    assert {row["policy"] for row in cells[0]["policies"]} == {pressure.BASE, *pressure.POLICIES}
    assert cells[0]["policies"][0]["mean"]["ratio"] == pytest.approx(1.0)
    assert "azure-conv, mean end-to-end time: at M = 2" in pressure.finding(cells, "azure-conv")
    pressure.plt.close(pressure.draw({"cells": cells}))


def test_winner_is_clear_only_beyond_its_interval():
    apart = {"a": [1.0, 1.1, 1.05], "b": [2.0, 2.2, 2.1]}
    assert pressure.winner(apart) == {"policy": "a", "clear": True, "ties": []}
    assert pressure.winner({**apart, "c": [1.2, 1.0, 1.1]})["ties"] == ["c"]


def stream(n=40):
    """Return a run that the engine itself made, as if it had been measured."""
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.exponential(0.1, n))
    blank = measured.Measured(times, rng.integers(50, 900, n), rng.integers(5, 60, n), *np.ones((3, n)))
    setting = measured.Setting("gpu", "model", 16, 2, 50_000, "made up")
    costs = measured.cost_profile(measured.START).numbers
    made, _ = measured.simulate(blank, setting, costs)
    return measured.Measured(blank.arrival, blank.prompt, blank.output, *(made[k] for k in ("queue", "ttft", "e2e"))), (
        setting,
        costs,
    )


def test_a_fit_to_the_engine_itself_has_no_error():
    run, (setting, costs) = stream()
    fitted = measured.splits(40)["pairs"]
    assert fitted.tolist()[:6] == [True, True, False, False, True, True]
    assert measured.loss(run, setting, costs, fitted) == pytest.approx(0, abs=1e-9)
    numbers, least = measured.fit(run, setting, fitted, steps=15)
    assert least < 0.02
    times, _ = measured.simulate(run, setting, numbers)
    assert abs(measured.errors(run, times, ~fitted, fitted)["e2e"]["mean"]) < 0.02


def test_measured_runs(tmp_path):
    out, folder = tmp_path / "found.json", recorded("traces", "data", measured.FILE).parent
    assert measured.main(["--data", str(folder), "--steps", "3", "--out", str(out)]) == 0
    assert [run["requests"] for run in json.loads(out.read_text())["runs"]] == [300] * 4


def test_without_data_it_says_what_is_missing(tmp_path, capsys):
    assert measured.main(["--data", str(tmp_path)]) == 0
    assert "skipped: vllm_measured" in capsys.readouterr().err


def test_coverage_counts_what_is_held_and_on_which_side_the_rest_lies():
    given = [{"mean_over_fcfs": ends} for ends in ([0.8, 1.0], [0.5, 0.7], [1.1, 1.3], [np.nan, np.nan])]
    told = coverage.count({"mean_over_fcfs": 0.9}, given)["mean_over_fcfs"]
    assert (told["held"], told["below"], told["above"], told["share"]) == (1, 1, 1, 0.25)


def test_coverage_compares_the_same_effects_as_the_truth():
    setting = next(iter(coverage.SETTINGS))
    job = (setting, 2.0, 300, 5)
    exact, ends = coverage.effects(*coverage.latencies(job)), coverage.intervals(job)
    assert all(low <= exact[effect] <= high for effect, (low, high) in ends.items())  # of this very run
    assert list(exact) == list(ends) == list(coverage.EFFECTS)

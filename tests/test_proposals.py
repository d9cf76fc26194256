"""`llmqueue compare --preset`: the orders that people propose, and from which load on it matters who goes first."""

from collections import Counter
from dataclasses import replace

import pytest

from llmqueue_gym.evaluation.presets import NEEDS, presets
from llmqueue_gym.evaluation.sweep import from_load, sweep
from llmqueue_gym.systems import Scenario

SMALL = {"lengths": "lmsys-arena", "n_jobs": 1600, "rules": "vllm-v1:max_seqs=16"}  # in 8 runs


def row(mean, half=0.01):
    return {"mean": mean, "low": mean - half, "high": mean + half}


def test_from_which_load_on_is_the_least_that_holds_to_the_end():
    loads = (0.5, 0.7, 0.9)
    assert from_load([row(1), row(0.9), row(0.8)], loads, 0.05) == 0.7
    assert from_load([row(0.9), row(0.96), row(0.8)], loads, 0.05) == 0.9  # not at .7, so not from .5 on
    assert from_load([row(0.9), row(0.9), row(0.97)], loads, 0.05) is None
    assert from_load([row(0.9), row(0.9), row(0.9, 0.2)], loads, 0.05) is None  # it may be chance
    assert from_load([row(0.9), None, None], loads, 0.05) is None  # it falls behind


def test_where_nobody_waits_no_order_matters_and_in_overload_one_does():
    policies = ("fcfs", "sjf-total", "shortest-uncached")
    found = sweep(Scenario("replica", predictor="exact", **SMALL), policies, (0.3, 1.5), 0.05)
    quiet, busy = found["ratios"]["sjf-total"]
    assert quiet["mean"] == pytest.approx(1, abs=0.01) and busy["high"] < 0.95
    assert found["from_load"]["sjf-total"] == 1.5 == found["first"] and found["from_load"]["fcfs"] is None
    assert found["base"][1] > found["base"][0]


def test_presets_are_data_that_can_be_played():
    for preset in presets().values():
        names = [one["policy"] for one in preset.policies]
        assert max(Counter(names).values()) == 1 and "fcfs" in names and list(preset.loads) == sorted(preset.loads)
        assert {one["needs"] for one in preset.policies if "needs" in one} <= set(NEEDS)
        for name in names:
            Scenario(preset.system, rate=1.0).policy(name)


@pytest.mark.parametrize(
    ("more", "joins"),
    [
        ({}, set()),
        ({"classes": "chat:0.5:10,batch:0.5:100"}, {"class-shares", "edf"}),
        ({"lengths": "few-shot", "rules": "vllm-v1:caching=vllm"}, {"longest-prefix", "longest-prefix-aged"}),
        ({"lengths": "few-shot"}, set()),  # alike, but not cached
    ],
)
def test_what_cannot_be_played_is_left_out_with_the_reason(more, joins):
    preset = presets()["proposals"]
    able, left = preset.playable(Scenario("replica", **{**SMALL, "rate": 1.0, "predictor": "exact", **more}), 0)
    needing = {one["policy"] for one in preset.policies if "needs" in one}
    assert set(able) & needing == joins and {name for name, _ in left} >= needing - joins
    assert all(why for _, why in left) and len(able) + len(left) == len(preset.policies)


def small_preset():
    """Two orders and one that cannot be played, at two loads."""
    whole = presets()["proposals"]
    policies = [one for one in whole.policies if one["policy"] in ("fcfs", "sjf-total", "edf")]
    return replace(whole, name="few", loads=(0.5, 0.6), policies=tuple(policies))


def test_the_command_ranks_and_sweeps(run, run_json, monkeypatch, tmp_path):
    told = ("--preset", "proposals", "--lengths", "lmsys-arena", "--requests", 300, "--rules", "vllm-v1:max_seqs=16")
    found = run_json("compare", *told, "--plot", tmp_path / "sweep.svg")
    assert found["sweep"]["loads"] == [0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2] and found["options"]["preset"] == "proposals"
    names = [one["policy"] for one in found["policies"]]
    assert {"fcfs", "sjf-total", "learned-llm"} <= set(names) and set(names) == set(found["sweep"]["ratios"])
    assert found["load"] == 0.9 and "vtc" in dict(found["left_out_policies"])
    assert all(-1e-9 <= one["lost"] <= 1 for one in found["policies"])
    assert (tmp_path / "sweep.svg").stat().st_size > 1000
    monkeypatch.setitem(presets(), "few", small_preset())
    status, out, err = run("compare", *told[2:], "--preset", "few")
    assert (status, err) == (0, "") and "left out: edf, as no request has a deadline" in out
    assert "shortest predicted job" in out and "SHORT: in runs of 50 requests hardly anybody waits for one of 16" in out
    status, out, err = run("compare", *told[2:4], "--requests", 600, *told[6:], "--preset", "few")
    assert status == 0 and out.strip().splitlines()[-1].startswith("Up to load 0.6 it matters for none")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--preset", "proposal"], "unknown preset 'proposal'; did you mean 'proposals'?"),
        (["--preset", "proposals", "--policies", "fcfs"], "give one of them"),
        (["mg1", "--preset", "proposals"], "policies of system 'replica', not of 'mg1'"),
        (["--preset", "proposals", "--concurrency", "4"], "swept over loads"),
        (["--preset", "proposals", "--plot", "x.doc"], "--plot x.doc"),
    ],
)
def test_what_is_wrong_is_refused(refused, args, said):
    assert said in refused("compare", *args)

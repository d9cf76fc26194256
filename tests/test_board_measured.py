"""Boards of fleets, prefixes and classes: nobody undercuts the bound; what is shown beside the score is measured."""

import gzip
import re
from dataclasses import replace

import numpy as np
import pytest

from llmqueue_gym.boards import board, boards, load_boards, outside, registered
from llmqueue_gym.boards.board import TRACKS
from llmqueue_gym.boards.entry import find
from llmqueue_gym.boards.measured import heads, kept, shown
from llmqueue_gym.boards.page.sections import section
from llmqueue_gym.boards.play import bound, numbers
from llmqueue_gym.boards.ranked import Ranked
from llmqueue_gym.boards.recorded import FOLDER_VARIABLE
from llmqueue_gym.boards.standings import ranking
from llmqueue_gym.boards.words import markdown
from llmqueue_gym.cli.bench import bench
from llmqueue_gym.errors import BadInput

NAMES = ("fleet", "prefix", "classes")
SMALL = """
[boards.fleet]
title = "Fleets"
system = "fleet"
seeds = 2
ratios = {"p99 TTFT" = "ttft.p99"}
shares = {"in time" = "attainment", "found in caches" = "hit_share"}
objectives = {ttft_slo = 0.2}
leave_out = ["mixed-pool", "least-reserved"]

[boards.fleet.scenarios]
a = {size = "chats", rules = "vllm-v1:caching=vllm,max_seqs=8", replicas = 3, rate = 20, n_jobs = 60}
b = {size = "lognormal:prompt=200,output=30", replicas = 3, prefill = 1, staleness = 0.1, rate = 20, n_jobs = 60}

[boards.prefix]
title = "Prefixes"
system = "replica"
seeds = 2
shares = {"found in caches" = "hit_share"}
leave_out = ["las", "fastserve", "ltr", "s3-like", "slai-like"]

[boards.prefix.scenarios]
a = {size = "chats", rules = "vllm-v1:caching=vllm,max_seqs=4", rate = 20, n_jobs = 60}
b = {size = "chats", rules = "vllm-v1:caching=radix,max_seqs=4", rate = 20, n_jobs = 60}

[boards.classes]
title = "Classes"
system = "replica"
seeds = 2
shares = {"first in time" = "by_class.first.in_time", "Jain" = "tenant_jain"}

[boards.classes.scenarios.a]
size = "lognormal:prompt=200,output=30"
profile = "a100-llama3-8b:kv_tokens=4000"
scored = "deadlines"
classes = "first:0.5:0.3:ttft,last:0.5:9"
rate = 40
n_jobs = 60
cut_off = 20
"""


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return load_boards(path)


def played(on, policy):
    """Return a policy's numbers by scenario."""
    more = on.seeds, on.view, (), on.measured, on.objectives
    return {name: numbers(scenario, find(on, policy), *more) for name, scenario in on.scenarios.items()}


@pytest.mark.parametrize("name", NAMES)
def test_nobody_undercuts_the_bound(name, small):
    on = small[name]
    for scenario in on.scenarios.values():
        least = np.array(bound(scenario, on.seeds))
        for entry in registered(on):
            cost = np.array(numbers(scenario, entry, on.seeds, on.view)["cost"])
            assert (cost >= least * (1 - 1e-9)).all() and (least > 0).all(), entry.name


@pytest.mark.parametrize("name", NAMES)
def test_two_recordings_or_more_and_everybody_who_can_play(name):
    on = board(name)
    assert len({one["file"] for one in on.recorded}) >= 2 and on.stored and len(on.fields) >= 4
    assert len(list(registered(on))) >= (19 if name == "fleet" else 27)


def test_the_benchmark_takes_each_track():
    (track,) = (option for option in bench.params if option.name == "track")
    assert tuple(track.type.choices) == (*TRACKS, "all")


def test_metrics_are_kept_by_their_paths(small):
    found = played(small["classes"], "edf")["a"]
    assert set(found) == {"cost", "p99", "ttft", "by_class.first.in_time"}  # nobody tells tenants
    assert all(0 <= share <= 1 for share in found["by_class.first.in_time"])
    run = small["classes"].scenarios["a"].simulate("edf", 0)
    first = run.jobs["klass"] == 0
    met = (run.outcome["first_token"] - run.jobs["arrival"] <= 0.3)[first].mean()
    assert found["by_class.first.in_time"][0] == pytest.approx(met)
    fleet = played(small["fleet"], "llm-d")
    assert fleet["a"]["hit_share"][0] > 0 == fleet["b"]["hit_share"][0]
    assert 0 < fleet["a"]["attainment"][0] <= 1 and fleet["a"]["ttft.p99"][0] >= fleet["a"]["ttft"][0]


def test_latencies_of_a_run_that_is_not_done_are_late(small):
    on = small["prefix"]
    short = {"a": {**on.fields["a"], "cut_off": 0.5}}
    found = played(replace(on, fields=short, ratios={"x": "ttft.p99"}), "fcfs")["a"]
    assert found["ttft.p99"] == found["cost"] == [np.inf] * 2 and np.isfinite(found["hit_share"]).all()
    assert kept({"a": [1.0, np.nan], "b": [1.0, np.nan]}, ("a",)).keys() == {"b"}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"shares": {"x": "tft.p99"}}, "no metric 'tft'; did you mean 'ttft'"),
        ({"shares": {"x": "ttft"}}, "metric 'ttft' is no number; its parts are mean, p50"),
        ({"objectives": {"ttft": 1}}, "system 'replica' has no objective 'ttft'; did you mean 'ttft_slo'"),
    ],
)
def test_a_metric_that_there_is_not_is_told_in_a_line(changes, told, small):
    with pytest.raises(BadInput, match=told):
        played(replace(small["prefix"], **changes), "fcfs")


def test_what_is_shown_stands_in_the_ranking_and_its_tables(small):
    on = small["fleet"]
    assert list(heads(on)) == ["p99 TTFT / round-robin", "in time", "found in caches"]
    results = {}
    for name, cost in (("round-robin", 4.0), ("llm-d", 2.0), ("_bound", 1.0)):
        row = {"cost": [cost] * 2, "p99": [cost] * 2, "ttft.p99": [cost, 2 * cost], "attainment": [0.5, 0.7]}
        scenarios = {"a": row, "b": {**row, "ttft.p99": [1.5 * cost, 3 * cost]}}
        del scenarios["b"]["attainment"]  # not measured there
        about = {"policy": name, "told": "prediction", "learned": False, "description": "", "command": ""}
        results[name] = {**about, "scenarios": scenarios}
    beside = shown(on, results, "llm-d")
    assert beside["p99 TTFT / round-robin"] == [0.5, 0.5] and beside["in time"][0] == pytest.approx(0.6)
    first = ranking(on, results)[0]
    assert first["policy"] == "llm-d" and first["shown"]["in time"] == pytest.approx(0.6)
    assert np.isnan(first["shown"]["found in caches"]) and np.isnan(first["scenarios"][1]["shown"]["in time"])
    head, _, row, *_ = markdown(on, ranking(on, results)).splitlines()
    assert "| p99 TTFT / round-robin | in time | found in caches | better than llm-d |" in head
    html = section(Ranked(on, results), True)
    assert "Beside the score" in html and "p99 TTFT / round-robin" in html
    assert "Beside the score" not in section(Ranked(replace(on, ratios={}, shares={}), results), True)
    assert re.search(r"\| 0\.50 \| 0\.50 \| 0\.60 \|  \|  \|$", row) and head.count("|") == row.count("|")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("fleet", "def policy(request, site, params):\n    return site.waiting + site.running - 0.01 * site.cached\n"),
        ("prefix", "def policy(request, system, params):\n    return request.prompt - request.cached\n"),
        ("classes", "def policy(request, system, params):\n    return request.deadline\n"),
    ],
)
def test_entries_from_outside_can_be_read_and_played(name, code, small, entry):
    _, made = outside.read(entry(code, board=name), small)
    cost = numbers(small[name].scenarios["a"], made, [0, 1], small[name].view)["cost"]
    assert made.told == "nothing" and (np.array(cost) >= bound(small[name].scenarios["a"], [0, 1])).all()


# Recordings.


def written(folder, name, head, row, rows=300):
    rng = np.random.default_rng(1)
    times = np.cumsum(rng.exponential(size=rows))
    lines = [f"{time:.6f},{rng.integers(600, 2000)},{rng.integers(1, 300)},{row(k)}" for k, time in enumerate(times)]
    (folder / name).write_bytes(
        gzip.compress("\n".join([f"arrival_s,prompt_tokens,output_tokens,{head}", *lines]).encode())
    )


def test_recorded_rows_keep_who_shares_with_whom_in_any_system(tmp_path):
    written(tmp_path, "mooncake_conversation.csv.gz", "hash_ids", lambda k: f"{k // 10} {k}")
    for name in ("fleet", "prefix"):
        on = boards(name, tmp_path)[name].sized(2, 100)
        assert on.missing and "mooncake_conversation.csv.gz" not in on.missing
        scenario = on._scenario(next(key for key in on.fields if key.startswith("Mooncake conversation")))
        run = scenario.simulate(on.base, 0)
        assert run.totals["hit_tokens"] > 0 and len(run) == {"fleet": 38, "prefix": 100}[name]
        mean = float(np.diff(run.jobs["arrival"]).mean())
        assert mean == pytest.approx(1 / scenario.source.rate, rel=0.5)


def test_tenants_and_classes_of_recorded_requests(tmp_path):
    written(tmp_path, "vtc_lmsys_arena.csv.gz", "client", lambda k: f"model-{k % 3}")
    on = boards("classes", tmp_path)["classes"].sized(2, 200)
    work = on._scenario(next(key for key in on.fields if key.startswith("Chat arena"))).draw(0).work
    assert set(work["tenant"]) == {0, 1, 2} and set(work["klass"]) == {0, 1} and np.isfinite(work["deadline"]).all()


def test_stored_boards_are_not_played_with_what_stands_in(tmp_path, monkeypatch, refused):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    for command in (("run",), ("verify",)):
        said = refused("leaderboard", *command, "--board", "classes", "--folder", tmp_path)
        assert "board 'classes' plays azure2023_conv.csv.gz, azure2023_code.csv.gz" in said
    assert board("classes").scenarios  # the benchmark and the page take what stands in

"""The benchmark: what it writes and says, recorded work and what stands in for it, any system, any workers."""

import gzip
import json
import logging
import re
import sys
import warnings
from operator import truediv

import numpy as np
import pytest

from llmqueue_gym.boards import boards, load_boards, registered
from llmqueue_gym.boards.bench import bench
from llmqueue_gym.boards.recorded import FOLDER_VARIABLE, data_folder, told
from llmqueue_gym.boards.workers import progress, workers
from llmqueue_gym.distributions import size_law
from llmqueue_gym.errors import BadInput

POISSON = """
[boards.one]
title = "One server"
system = "mg1"
seeds = 3
players = {formula = ["pollaczek-khinchine", "lcfs", "spjf", "pspjf", "sprpt"]}
rule = "a policy has a closed form"

[boards.one.scenarios]
a = {load = 0.5, predictor = "exact", n_jobs = 2000}
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("boards") / "mine.toml"
    path.write_text(POISSON, encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def block(folder, file):
    found, _ = bench(out=folder, given=file, seeds=3, count=1)
    return found["tracks"]["mine"]["boards"]["one"]


def test_json_is_valid_and_holds_every_policy_and_run(block, folder, file):
    whole = json.loads((folder / "bench.json").read_text(), parse_constant=pytest.fail)
    stored = whole["tracks"]["mine"]["boards"]["one"]
    everybody = {entry.name for entry in registered(load_boards(file)["one"])}
    assert {"fcfs", "spjf", "srpt"} < everybody and {row["policy"] for row in stored["ranking"]} == everybody == set(
        stored["results"]
    ) - {"_bound"}
    assert all(len(row["scenarios"]["a"]["cost"]) == 3 for row in stored["results"].values())
    assert whole["provenance"]["seeds"] == [0, 1, 2] and stored["scenarios"]["a"]["load"] == 0.5
    assert sorted(path.name for path in folder.iterdir()) == ["bench.html", "bench.json"]


def test_exact_values_stand_beside_simulated_ones(block):
    checks = {check["policy"]: check for check in block["checks"]}
    assert checks["fcfs"]["value"] == pytest.approx(2) and checks["srpt"]["value"] == pytest.approx(1.4255, rel=1e-3)
    assert set(checks) == {row["policy"] for row in block["ranking"]}
    for check in checks.values():
        assert check["inside"] == (check["low"] <= check["value"] <= check["high"])
        assert check["mean"] == pytest.approx(check["value"], rel=0.15)
    inside = sum(check["inside"] for check in checks.values())
    assert block["sentences"][-1].startswith(f"{inside} of {len(checks)} exact values lie inside")


def test_results_do_not_depend_on_the_number_of_processes(block, file, tmp_path):
    again, _ = bench(out=tmp_path, given=file, seeds=3, count=2)
    assert json.dumps(again["tracks"]["mine"]["boards"]["one"], default=str) == json.dumps(block, default=str)


def test_a_page_has_every_board_of_a_file(small_boards, tmp_path, monkeypatch):
    monkeypatch.setattr("llmqueue_gym.boards.bench.known", lambda scenario, entries: {})  # theory takes its time
    found, ranked = bench(out=tmp_path, given=str(small_boards), seeds=2, jobs=200, requests=100, count=1)
    blocks = found["tracks"]["small"]["boards"]
    assert list(blocks) == [one.on.name for one in ranked] == list(load_boards(small_boards))
    assert all(block["headline"] and block["sentences"] for block in blocks.values())
    assert "preemptions_per_job" in blocks["llm"]["results"]["fcfs"]["scenarios"]["a"]
    page = (tmp_path / "bench.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|<link|<img|@import|\ssrc=|\$\w", page) and 'name="viewport"' in page
    assert re.findall(r'<section class="board" id="([\w-]+)"', page) == list(blocks)


# Recorded work.


def written(folder, name, rows=400):
    rng = np.random.default_rng(1)
    lines = ["arrival_s,prompt_tokens,output_tokens"]
    for time in np.cumsum(rng.exponential(size=rows)):
        lines.append(f"{time:.6f},{rng.integers(1, 900)},{rng.integers(1, 300)}")
    (folder / name).write_bytes(gzip.compress("\n".join(lines).encode()))


def test_where_a_file_is_missing_tables_stand_in_and_it_is_told(tmp_path):
    on = boards("mg1", tmp_path)["mg1-recorded"].sized(2, 300)
    assert [scenario.workload for scenario in on.scenarios.values()] == [None] * 4
    for name in ("azure-hour", "ssjf-pairs"):
        assert "was not found; in its place: " in told(on.recordings[name])
    assert on.scenarios["SSJF's predictions, load .8"].simulate("sprpt", 0).done.all()


def test_a_recording_is_played_in_windows_at_the_load(tmp_path):
    written(tmp_path, "azure2023_conv.csv.gz")
    on = boards("mg1", str(tmp_path))["mg1-recorded"]
    scenario = on.scenarios["Azure hour, lognormal predictions, load .8"]
    whole = scenario.source
    assert whole.sizes.mean() == pytest.approx(1) and whole.sizes.sum() / np.ptp(whole.arrivals) == pytest.approx(0.8)
    short = on.sized(2, 100).scenarios["Azure hour, lognormal predictions, load .8"]
    first, second = (short.draw(seed).sizes for seed in (0, 1))
    assert len(first) == len(second) == 12 and not np.array_equal(first, second)  # another window for each seed
    assert told(on.recordings["azure-hour"]).startswith("azure2023_conv.csv.gz: windows of the recorded hour")


def test_recorded_requests_come_at_the_load_that_fcfs_keeps_up_with(tmp_path):
    for name in ("azure2023_conv.csv.gz", "mooncake_conversation.csv.gz"):
        written(tmp_path, name)
    on = boards("llm", str(tmp_path))["llm-recorded"].sized(2, 200)
    window, drawn = (on._scenario(f"{name} conversation, Llama 3 8B, load 1") for name in ("Azure", "Mooncake"))
    assert window.rate > 1 and len(window.source) == 400 and len(window.draw(0).sizes) == 200
    arrival = drawn.draw(0).work["arrival"]
    assert len(arrival) / np.ptp(arrival) == pytest.approx(drawn.source.rate, rel=0.4) and drawn.source.rate > 1


def test_the_folder_of_recorded_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    assert data_folder() is None
    (tmp_path / "shared/traces/data").mkdir(parents=True)
    assert data_folder() is not None
    (tmp_path / "mine").mkdir()
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "mine"))
    assert data_folder() == tmp_path / "mine" and data_folder(tmp_path) == tmp_path


# Bad input, interruption, Ray.


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("--track", "lm"), "lm"),
        (("--board", "centrl"), "did you mean 'central'"),
        (("--seeds", "1"), "1 is not in the range"),
        (("--board", "none.toml"), "no such file"),
        (("--board", "mg1", "--track", "llm"), "give one of them"),
        (("--data", "/nonexistent"), "'/nonexistent': no such folder of recorded work"),
        (("--data", "/nonexistent", "--board", "mg1"), "'/nonexistent': no such folder of recorded work"),
        (("--backend", "ray", "--workers", "2"), "leave workers out"),
    ],
)
def test_bad_options_are_told_in_a_line(args, told, refused, tmp_path):
    assert told in refused("bench", "--out", tmp_path, *args)


def test_an_interrupted_run_leaves_nothing(tmp_path, monkeypatch, run):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("llmqueue_gym.boards.bench.play", interrupted)
    assert run("bench", "--out", tmp_path, "--workers", 1, "--track", "servers")[0] == 130
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def cluster():
    ray = pytest.importorskip("ray", reason="needs Ray: pip install ray")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own, about what its next version will do
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        yield ray
        ray.shutdown()


@pytest.mark.filterwarnings("ignore")
def test_over_ray_the_results_are_those_of_this_process_byte_for_byte(cluster, block, file, tmp_path):
    again, _ = bench(out=tmp_path, given=file, seeds=3, backend="ray")
    assert json.dumps(again["tracks"]["mine"]["boards"]["one"], default=str) == json.dumps(block, default=str)
    assert cluster.is_initialized()  # a cluster that was there before stays


@pytest.mark.filterwarnings("ignore")
def test_results_come_in_order_and_a_failure_is_what_the_task_raised(cluster):
    with workers(1, "ray") as work, progress(None) as bar:
        assert work([(truediv, (k, 4)) for k in range(9)], bar, "divides") == [k / 4 for k in range(9)]
        with pytest.raises(BadInput) as caught:
            work([(size_law, ("exponental",)), (truediv, (1, 2))], bar, "fails")
    assert "did you mean 'exponential'" in str(caught.value) and "\n" not in str(caught.value)


def test_without_ray_one_line_says_what_to_install(monkeypatch, tmp_path, refused):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert "pip install ray" in refused("bench", "--backend", "ray", "--track", "mg1", "--out", tmp_path)
    with pytest.raises(BadInput, match="unknown backend 'rya'; did you mean 'ray'"), workers(1, "rya"):
        pass

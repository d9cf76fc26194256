"""The benchmark and its track of one server: what it writes, what it says where data are missing, and its ranking."""

import gzip
import json
import re

import numpy as np
import pytest

from llmqueue_gym.cli import main
from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.bench import TRACKS, bench
from llmqueue_gym.evaluation.bench.data import FOLDER_VARIABLE, data_folder
from llmqueue_gym.evaluation.bench.information import SEES, TRUTH
from llmqueue_gym.evaluation.bench.mg1 import track as mg1
from llmqueue_gym.evaluation.bench.mg1.cases import AZURE_FILE, all_cases, jobs_at
from llmqueue_gym.evaluation.bench.mg1.play import Played
from llmqueue_gym.evaluation.bench.mg1.standing import case_rows, winner
from llmqueue_gym.evaluation.bench.ranking import ranking, scores
from llmqueue_gym.policies import POLICIES

SMALL = {"track": "mg1", "seeds": 3, "jobs": 1000}


def exponential(case):
    return case.jobs == ("synthetic", "exponential", 0.5) and case.predictor != "lognormal:sigma=0.5"


def measured(case):
    return case.block != "synthetic" and case.load == 0.5 and case.predictor != "exact"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def found(folder):
    return bench(out=folder, only=exponential, workers=1, **SMALL)["tracks"]["mg1"]


def test_json_is_valid_and_complete(found, folder):
    whole = json.loads((folder / "bench.json").read_text(), parse_constant=pytest.fail)
    stored = whole["tracks"]["mg1"]
    assert {row["policy"] for row in stored["ranking"]} == set(POLICIES)
    assert [case["predictor"] for case in stored["cases"]] == ["exact", "exponential"]
    for case in stored["cases"]:
        assert len(case["policies"]) == len(POLICIES)
        for row in case["policies"]:
            assert row["mean_response_time"]["low"] <= row["mean_response_time"]["mean"]
            assert row["exact"] > 1
    assert whole["provenance"]["seeds"] == [0, 1, 2]
    assert sorted(path.name for path in folder.iterdir()) == ["bench.html", "bench.json"]


def test_what_coincides_is_compared_once(found):
    # 4 blind policies and 3 told true sizes once, others told a prediction twice, of which 3 are those 3 if it is exact
    assert found["check"]["of"] == 4 + 3 + (len(POLICIES) - 7) * 2 - 3
    exact, noisy = ({row["policy"]: row for row in case["policies"]} for case in found["cases"])
    for name in ("fcfs", "lcfs", "las", "gittins-blind", "srpt"):
        assert exact[name]["mean_response_time"] == noisy[name]["mean_response_time"]
    assert exact["sprpt"]["mean_response_time"] == exact["srpt"]["mean_response_time"]
    assert exact["fcfs"]["exact"] == pytest.approx(2)


def test_page_needs_nothing_else(found, folder):
    page = (folder / "bench.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|<link|<img|@import|url\(|\ssrc=|\$\w", page)
    assert 'name="viewport"' in page and "prefers-color-scheme: dark" in page
    for name in POLICIES:
        assert page.count(f">{name}<") >= 3  # in the figure, the panels and the tables


def test_results_do_not_depend_on_the_number_of_processes(found, tmp_path):
    again = bench(out=tmp_path, only=exponential, workers=2, **SMALL)["tracks"]["mg1"]
    for key in ("ranking", "cases", "check", "sentences", "jobs_played"):
        assert again[key] == found[key]


def test_missing_data_are_replaced_and_told(tmp_path):
    found = bench(out=tmp_path / "out", data=tmp_path / "absent", only=measured, workers=1, **SMALL)["tracks"]["mg1"]
    page = (tmp_path / "out" / "bench.html").read_text(encoding="utf-8")
    assert [case["block"] for case in found["cases"]] == ["azure", "ssjf"]
    for block in ("azure", "ssjf"):
        assert found["data"][block]["embedded"] and found["data"][block]["file"] is None
        assert "data file was not found" in found["sentences"][block]
    assert page.count('class="warn"') == 2
    assert "exact" not in found["cases"][0]["policies"][0]  # no M/G/1: its arrivals are not Poisson
    assert found["cases"][1]["policies"][0]["exact"] > 1


def test_a_recording_is_played_whole(tmp_path):
    rng = np.random.default_rng(1)
    rows = zip(np.cumsum(rng.exponential(size=400)), rng.integers(1, 300, 400), strict=True)
    lines = ["arrival_s,prompt_tokens,output_tokens", *(f"{time:.6f},10,{tokens}" for time, tokens in rows)]
    (tmp_path / AZURE_FILE).write_bytes(gzip.compress("\n".join(lines).encode()))
    whole = bench(out=tmp_path, data=tmp_path, only=lambda c: measured(c) and c.block == "azure", workers=1, **SMALL)
    found = whole["tracks"]["mg1"]
    (case,) = found["cases"]
    assert case["replayed"] and case["jobs_per_run"] == 400
    assert found["data"]["azure"]["used"] == "all 400 requests with their arrival times"


def test_data_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    assert data_folder() is None
    (tmp_path / "shared/traces/data").mkdir(parents=True)
    assert data_folder() is not None
    (tmp_path / "mine").mkdir()
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "mine"))
    assert data_folder() == tmp_path / "mine"
    assert data_folder(tmp_path) == tmp_path


def test_cases():
    cases, _ = all_cases(1000, "absent")
    assert len([case for case in cases if case.block == "synthetic"]) == 24
    assert len({(*case.jobs, case.predictor) for case in cases}) == len(cases) == 33
    assert [jobs_at(load, 1000) for load in (0.5, 0.8, 0.9, 0.95)] == [400, 1000, 2000, 4000]


def test_an_interrupted_run_leaves_nothing(tmp_path, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(mg1, "contestants", interrupted)
    with pytest.raises(SystemExit) as ended:
        main(["bench", "--out", str(tmp_path), "--workers", "1"])
    assert ended.value.code == 130
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_track_is_refused(tmp_path):
    assert list(TRACKS) == ["mg1", "servers", "llm"]
    with pytest.raises(BadInput, match="unknown track 'lm'; did you mean 'llm'"):
        bench(out=tmp_path, track="lm")


# The ranking, on numbers made by hand.


def test_scores():
    assert scores(np.array([10.0, 8.0]), np.array([6.0, 8.0]), np.array([2.0, 4.0])) == pytest.approx([0.5, 0.0])


def test_ranking():
    score = {"slow": np.full((3, 4), 0.2), "fast": np.tile([0.0, 0.8, 1.0, 1.0], (3, 1))}
    rows = ranking(score, {name: 2 - table for name, table in score.items()})
    assert [row["policy"] for row in rows] == ["fast", "slow"]
    assert rows[0]["score"] == {"mean": pytest.approx(0.9), "low": pytest.approx(0.9), "high": pytest.approx(0.9)}
    assert rows[1]["p99_ratio"]["mean"] == pytest.approx(1.8)


TOLD = {"fcfs": "nothing", "lcfs": "nothing", "sprpt": "prediction", "twin": "prediction", "srpt": TRUTH}
NOISE = np.array([[0.1, -0.1], [0.3, -0.3], [0.2, -0.2]])  # of 3 runs of 2 batches


def by_hand():
    level = {"fcfs": 10.0, "lcfs": 11.0, "sprpt": 5.0, "twin": 5.0, "srpt": 2.0}
    swing = {"fcfs": 3.0, "lcfs": 2.0, "sprpt": 1.0, "twin": 1.0, "srpt": 0.5}
    return {name: Played(level[name] + swing[name] * NOISE, np.full(3, 4 * level[name]), 0.0) for name in TOLD}


def test_case_rows():
    rows = {row["policy"]: row for row in case_rows(by_hand(), {"fcfs": 10.0, "srpt": 2.5}, TOLD, SEES)}
    assert rows["sprpt"]["mean_response_time"] == {end: pytest.approx(5) for end in ("mean", "low", "high")}
    assert rows["fcfs"]["mean_response_time"]["low"] < 9.8  # its own batches, not those of its control
    assert rows["fcfs"]["exact_inside"] and not rows["srpt"]["exact_inside"] and "exact" not in rows["lcfs"]
    assert rows["sprpt"]["score"] == pytest.approx(5 / 8) and rows["sprpt"]["p99_ratio"] == pytest.approx(0.5)
    best = {name: rows[name]["best_with_same_information"] for name in rows}
    assert best == {"fcfs": "fcfs", "lcfs": "fcfs", "sprpt": "sprpt", "twin": "sprpt", "srpt": "srpt"}
    assert rows["lcfs"]["behind_best"]["mean"] == pytest.approx(1)


def test_without_an_exact_mean_nothing_is_corrected():
    rows = {row["policy"]: row for row in case_rows(by_hand(), {}, TOLD, SEES)}
    assert rows["sprpt"]["mean_response_time"]["low"] < 4.9


def test_winner():
    played = by_hand()
    rows = case_rows(played, {"fcfs": 10.0}, TOLD, SEES)
    won = winner(rows, played, {"fcfs": 10.0}, TRUTH)
    assert (won["policy"], won["same"], won["second"], won["clear"]) == ("sprpt", ["twin"], "fcfs", True)
    assert won["lead"]["mean"] == pytest.approx(0.5)

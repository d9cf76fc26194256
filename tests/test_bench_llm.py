"""The benchmark's track of batches on a GPU: its requests, capacities, cut-off, winners, and the page."""

import gzip
import json
import re

import numpy as np
import pytest

from llmqueue_gym.evaluation.bench import bench
from llmqueue_gym.evaluation.bench.information import NOTHING, PREDICTION, TRUTH
from llmqueue_gym.evaluation.bench.llm.capacities import FOUND
from llmqueue_gym.evaluation.bench.llm.capacity import find, stored
from llmqueue_gym.evaluation.bench.llm.cases import PROFILES, WORKLOADS, all_cases, fitting
from llmqueue_gym.evaluation.bench.llm.contestants import Contestant, contestants
from llmqueue_gym.evaluation.bench.llm.play import LATE, Played, floor, play
from llmqueue_gym.evaluation.bench.llm.standing import case_rows, winner
from llmqueue_gym.evaluation.bench.llm.streams import Extent, Stream, extent
from llmqueue_gym.evaluation.serving.scenario import recorded_rate
from llmqueue_gym.policies.serving import SERVING_POLICIES

SMALL = {"track": "llm", "seeds": 2, "requests": 150, "data": "absent"}


def code(case):
    return case.block == "azure-code" and case.profile == "a100-llama2-70b-tp2" and case.load == 1.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def found(folder):
    return bench(out=folder, only=code, workers=1, **SMALL)["tracks"]["llm"]


@pytest.fixture(scope="module")
def stream():
    return Stream("azure-code", None, True, fitting("a100-llama2-70b-tp2"))


def recording(folder, rows=400):
    rng = np.random.default_rng(1)
    lines = ["arrival_s,prompt_tokens,output_tokens"]
    for time in np.cumsum(rng.exponential(size=rows)):
        lines.append(f"{time:.6f},{rng.integers(1, 900)},{rng.integers(1, 300)}")
    file = folder / WORKLOADS["azure-code"].file
    file.write_bytes(gzip.compress("\n".join(lines).encode()))
    return file


def test_json_is_valid_and_complete(found, folder):
    numbers = json.loads((folder / "bench.json").read_text(), parse_constant=pytest.fail)["tracks"]["llm"]
    names = {*SERVING_POLICIES, "fcfs, sarathi", "fcfs, vllm-v0", "fcfs, orca"}
    assert {row["policy"] for row in numbers["ranking"]} == names
    assert [case["predictor"] for case in numbers["cases"]] == ["lognormal:sigma=0.5", "exact"]
    for case in numbers["cases"]:
        assert case["floor_over_fcfs"] <= 1
        for row in case["policies"]:
            assert row["mean_over_fcfs"]["low"] <= row["mean_over_fcfs"]["mean"] and row["score"] <= 1
    (place,) = numbers["places"]
    assert place["capacity_stored"] and numbers["data"]["azure-code"]["embedded"]
    assert list(numbers["sentences"])[-1] == "winner" and "At load 1" in numbers["sentences"]["winner"]


def test_results_do_not_depend_on_the_number_of_processes(found, tmp_path):
    again = bench(out=tmp_path, only=code, workers=2, **SMALL)["tracks"]["llm"]
    assert json.dumps(again) == json.dumps(found)


def test_page_needs_nothing_else(found, folder):
    page = (folder / "bench.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|<link|<img|@import|url\(|\ssrc=|\$\w|nan", page)
    assert page.count('class="warn"') == 1 and "embedded quantile tables" in page
    for name in SERVING_POLICIES:
        assert page.count(f">{name}<") >= 2  # in the figure and the tables


def test_cases():
    cases, notes = all_cases(100, 2, "absent")
    assert len(cases) == len(set(cases)) == len(WORKLOADS) * len(PROFILES) * 4
    assert {case.load for case in cases if case.predictor == "exact"} == {1.0}
    assert all(note["embedded"] and note["file"] is None for note in notes.values())


def test_every_embedded_stream_has_a_stored_capacity():
    for case in {case.place: case for case in all_cases(100, 2, "absent")[0]}.values():
        assert stored(case.stream, case.profile) is not None, case.place
    assert all(rate > 0 for rates in FOUND.values() for rate in rates.values())


def test_a_stored_capacity_is_what_is_found(stream):
    known = stored(stream, "a100-llama2-70b-tp2")
    assert find(stream, "a100-llama2-70b-tp2").rate == pytest.approx(known, rel=1e-5)


def test_windows_of_a_recording_do_not_overlap_and_have_the_rate_asked_for(tmp_path):
    stream = Stream("azure-code", recording(tmp_path), True, 53_000)
    runs = [stream.draw("exact", 0.25, 150, run, 2) for run in range(2)]
    source = stream.source()
    assert list(runs[0].outputs) == list(source.outputs[:150])
    assert list(runs[1].outputs) == list(source.outputs[200:350])
    assert [recorded_rate(given) for given in runs] == pytest.approx([0.25, 0.25])
    assert extent(stream, 500, 2).n == 200  # a window has no more
    assert stored(stream, "a100-llama3-8b") is None  # nobody knows this recording


def test_predictions_beyond_the_memory_are_cut():
    stream = Stream("azure-code", None, True, 9000)
    given = stream.draw("lognormal:sigma=2", 1.0, 500, 0, 2)
    assert (given.requests["prompt"] + given.requests["predicted"] <= 9000).all()


def test_contestants():
    roomy = contestants(Extent(100, 500, 10, 0.0), 4000)
    assert roomy[0].name == "fcfs" and len(roomy) == len(SERVING_POLICIES) + 3
    assert len(contestants(Extent(100, 500, 10, 0.0), 1999)) == len(roomy) - 1  # too little memory for Orca
    sees = {contestant.name: contestant.sees for contestant in roomy}
    assert (sees["fcfs"], sees["sjf"], sees["srpt"], sees["fcfs, orca"]) == (NOTHING, PREDICTION, TRUTH, NOTHING)
    assert [c.name for c in roomy if not c.may_win] == ["srpt", "fcfs, sarathi", "fcfs, vllm-v0", "fcfs, orca"]


def test_who_falls_far_behind_is_cut_off_and_bounded_from_below(stream):
    case = next(case for case in all_cases(150, 2, "absent")[0] if code(case))
    base = play(case, Contestant("fcfs", "fcfs"), 1.3)
    assert (floor(case, 1.3) <= base.mean).all() and not base.undone.any()
    cut = play(case, Contestant("las", "las"), 1.3, base.end / 2 / LATE)
    assert (cut.undone > 0).all() and (cut.end < base.end).all()
    whole = play(case, Contestant("las", "las"), 1.3)
    assert (cut.mean < whole.mean).all()


# Standing, on numbers made by hand.


def by_hand(means, p99s=None, undone=()):
    base = np.array([10.0, 20.0, 40.0])
    played = {}
    for name, ratio in means.items():
        mean, p99 = base * ratio, 5 * base * (p99s or means)[name]
        rest = [np.ones(3)] * 3
        played[name] = Played(mean, p99, 2 * p99, *rest[:2], np.full(3, 0.1 * (name in undone)), rest[2])
    return played


def test_case_rows():
    played = by_hand({"fcfs": np.ones(3), "sjf": np.array([0.5, 0.4, 0.6])})
    rows = {row["policy"]: row for row in case_rows(played, np.array([0.0, 0.0, 0.0]))}
    assert rows["sjf"]["mean_over_fcfs"]["mean"] == pytest.approx(0.5) and rows["sjf"]["score"] == pytest.approx(0.5)
    assert rows["sjf"]["mean_over_fcfs"]["low"] == pytest.approx(0.5 - 4.3027 * 0.1 / np.sqrt(3), abs=1e-4)
    assert rows["fcfs"]["mean_over_fcfs"] == {"mean": 1, "low": 1, "high": 1} and rows["fcfs"]["score"] == 0


def test_winner():
    close = np.array([0.50, 0.41, 0.59])
    ratios = {"fcfs": np.ones(3), "sjf": np.array([0.5, 0.4, 0.6]), "twin": np.array([0.5, 0.4, 0.6])}
    won = winner("mean", by_hand(ratios), list(ratios))
    assert (won["policy"], won["same"], won["second"], won["clear"]) == ("sjf", ["twin"], "fcfs", True)
    won = winner("mean", by_hand({**ratios, "close": close}), [*ratios, "close"])
    assert won["ties"] == ["close"] and not won["clear"] and won["policy"] == "sjf"
    won = winner("mean", by_hand(ratios, undone=("sjf", "twin")), list(ratios))
    assert won["policy"] == "fcfs" and not won["clear"] and won["lead"] is None  # nobody else is left

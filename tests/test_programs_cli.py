"""Programs on the command line: what is told of them, recorded ones, and one line for whoever got something wrong."""

import csv
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from llmqueue_gym.errors import BadInput
from llmqueue_gym.requests import Programs
from llmqueue_gym.systems import Drawn, Scenario
from llmqueue_gym.workloads.requests import TracePrograms
from llmqueue_gym.workloads.traces.programs import load_programs

HEADER = "program,call,after,start_s,gap_s,prompt_tokens,output_tokens"
GOOD = ["a,plan,,0,,200,50", "a,left,plan,,1,300,80", "a,right,plan,,2,300,40", "a,join,left right,,0,600,30"]


def written(tmp_path, *rows):
    path = tmp_path / "own.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


def test_programs_of_a_law(run, run_json, tmp_path):
    out = tmp_path / "programs.csv"
    command = "simulate programs --policy fcfs --law tool-calls:stretch=0.01 --rate 2 --programs 40"
    found = run_json(f"{command} --e2e-slo 20 --programs-out {out}")
    assert found["programs"] == found["done"] == 40 and found["calls"] > 80
    assert found["options"]["programs"] == 40 and found["options"]["retention"] == found["retention"] == "discard"
    assert found["prefill_tokens"] == found["prompt_tokens"] and 0 < found["attainment"] < 1
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 40
    times = [float(row["completion"]) - float(row["arrival"]) for row in rows]
    assert math.isclose(np.mean(times[4:]), found["e2e"]["mean"])  # the first tenth is left out
    scenario = Scenario("programs", law="tool-calls:stretch=0.01", rate=2, n_programs=40)
    assert scenario.simulate("fcfs", 0).response_times[4:].mean() == pytest.approx(found["program_time"]["mean"])
    status, text, _ = run(*command.split())
    assert status == 0 and "40 of 40 done" in text and "context in a gap" in text and "programs/s" in text


def test_a_load_is_one_of_programs(run_json):
    half, less = (
        run_json(f"simulate programs --policy fcfs --law map-reduce --load {load} --programs 60")
        for load in (0.5, 0.25)
    )
    assert half["capacity"] == less["capacity"]
    assert half["rate"] == pytest.approx(2 * less["rate"])
    calls = half["calls"] / half["programs"]
    assert half["capacity"]["backlog_rate"] > half["capacity"]["rate"] * 0.5 and calls > 2


def test_orders_of_calls_are_compared(run, run_json):
    command = "compare programs --law tool-calls:stretch=0.01 --rate 4 --programs 60 --policies fcfs,program-srpt"
    found = run_json(command)
    assert found["requests"] == 60 and {row["policy"] for row in found["policies"]} == {"fcfs", "program-srpt"}
    assert all(row["over_floor"] > 1 for row in found["policies"])
    status, text, _ = run(*command.split())
    assert status == 0 and "retention=discard" in text and "order=" not in text


def test_a_file_of_one_s_own(tmp_path):
    trace = load_programs(written(tmp_path, *GOOD, "b,only,,3,,100,20"))
    calls = trace.calls
    assert calls.program.tolist() == [0, 0, 0, 0, 1] and trace.starts.tolist() == [0, 3]
    assert calls.parents.tolist() == [0, 0, 1, 2] and calls.gap.tolist() == [0, 1, 2, 0, 0]
    assert calls.base.tolist() == [-1, 0, 0, 2, -1] and calls.kept.tolist() == [0, 250, 250, 340, 0]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (["a,x,,0,,9,5", "a,p,r,,1,9,8", "a,q,p,,1,9,8", "a,r,q,,1,9,8"], "'after': calls wait for one another: p -> "),
        (["a,x,,0,,9,5", "a,p,q,,1,9,8", "a,q,x,,1,9,8"], "row 2, column 'after': 'q' is in the future, in row 3"),
        (["a,x,,0,,9,5", "a,p,x,,-1,9,8"], "row 2, column 'gap_s': '-1' is negative"),
        (["a,plan,,0,,9,5", "a,p,plam,,1,9,8"], "program a has no call 'plam'; did you mean 'plan'?"),
        (["a,x,,0,,9,5", "a,p,x x,,1,9,8"], "row 2, column 'after': 'x' is told twice; tell it once"),
        (["a,x,,0,,9,5", "a,x,,1,,9,8"], "program a has a call of this name in row 1"),
        (["a,x,,,,9,5"], "row 1, column 'start_s': '' is not a number"),
        (["a,x,,0,,9,0"], "0 output tokens"),
    ],
)
def test_bad_files_of_programs(refused, tmp_path, rows, told):
    assert told in refused(f"simulate programs --policy fcfs --trace {written(tmp_path, *rows)}")


def test_times_that_do_not_count_are_told_or_refused(tmp_path):
    """A first call has a start, a call that waits a gap; of the other it may have none, or a fine time."""
    assert load_programs(written(tmp_path, *GOOD, "b,x,,5,0,9,1", "b,y,x,0,1,9,1")).notes == ()
    trace = load_programs(written(tmp_path, *GOOD, "b,x,,5,3,9,1", "b,y,x,7,1,9,1", "b,z,x,8,1,9,1"))
    assert trace.notes == (
        "2 start_s of calls that wait for others are not used",
        "1 gap_s of first calls are not used",
    )
    assert not trace.calls.gap[4] and set(trace.notes) <= set(trace.report())
    for row, words in (
        ("b,x,,5,-1,9,1", "row 5, column 'gap_s': '-1' is negative"),
        ("b,x,,5,soon,9,1", "row 5, column 'gap_s': 'soon' is not a number"),
        ("a,y,plan,-2,1,9,1", "row 5, column 'start_s': '-2' is negative"),
    ):
        with pytest.raises(BadInput, match=words):
            load_programs(written(tmp_path, *GOOD, row))


def test_programs_of_one_s_own_are_no_json_lines(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps(dict.fromkeys(HEADER.split(","), 1)) + "\n")
    for format in ("auto", "calls"):
        with pytest.raises(BadInput, match="of the form 'calls' are read from a csv file, and this one has JSON lines"):
            load_programs(path, format)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--law tool-call", "did you mean 'tool-calls'"),
        ("--law azure-conv", "unknown law of programs 'azure-conv'; choose from: tool-calls"),
        ("--retention perserve", "unknown retention policy 'perserve'; did you mean 'preserve'"),
        ("--retention ttl-optimal", "--retention 'ttl-optimal' needs the law of the gaps: ttl-optimal:gap=exponential"),
        ("--stopping majorty", "unknown stopping rule 'majorty'; did you mean 'majority'"),
        ("--foresight foresight:gap=-1", "foresight: gap=-1 must be from 0 to 100"),
        ("--router round-robbin", "unknown router 'round-robbin'; did you mean 'round-robin'"),
        ("--retention preserve --rules vllm-v1:caching=vllm", "beside caching=vllm"),
        ("--order sjf", "unknown option '--order' of system 'programs': the policy is the order of calls"),
        ("--concurrency 5", "'--concurrency' of system 'programs': programs come by themselves"),
        ("--requests 60", "did you mean '--programs'"),
        ("--max-tokens 100", "next to no program of tool-calls"),
        ("--programs 0", "'--programs'"),
    ],
)
def test_wrong_input_is_told_in_one_line(refused, options, told):
    assert told in refused(f"simulate programs --policy fcfs --rate 1 {options}")


def test_recorded_programs(refused, run_json, tmp_path):
    rows = ["session,turn,session_offset_s,prompt_tokens,output_tokens,api_time_s"]
    rows += [f"{s},{t},{10 * t},{100 + 60 * t},50,2" for s in "ab" for t in range(4)]
    path = tmp_path / "sessions.csv"
    path.write_text("\n".join(rows) + "\n")
    trace = f"simulate programs --policy fcfs --trace {path}"
    assert "no common clock; tell a rate" in refused(trace)
    assert "--load 0.5 of recorded programs is not known; give a rate" in refused(
        f"{trace} --rate 1 --load 0.5".replace("--rate 1 ", "--format auto:apart=9 ")
    )
    assert "has no parameter 'aparts'; did you mean 'apart'" in refused(f"{trace} --format auto:aparts=9")
    found = run_json(f"{trace} --format auto:apart=9")
    assert found["programs"] == 2 and found["calls"] == 8 and found["away_time"]["mean"] == pytest.approx(24, abs=1e-6)
    assert found["recorded"] == ["2 programs of 8 calls"] and found["warmup"] == 0


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"parents": [2, 0, 1]}, "row 0 waits for itself in a cycle of parents, "),
        ({"parents": [2, 0], "first": [0, 0, 1, 2]}, "row 1: the parent 2 is in the future"),
        ({"gap": [0.0, -1.0, 0.0]}, "row 1: gap=-1 s must be finite and not negative"),
    ],
)
def test_bad_tables_of_programs(given, told):
    """Made by hand, or by a workload of one's own."""
    scenario = Scenario("programs", law="tool-calls:kind=math", rate=1.0, n_programs=3)
    drawn = scenario.draw(0)
    usual = {
        "program": [0, 0, 0],
        "parents": [0, 1],
        "first": [0, 0, 1, 2],
        "gap": [0.0, 1.0, 1.0],
        "continues": [-1] * 3,
    }
    if len(given.get("parents", ())) == 3:
        usual["first"] = [0, 1, 2, 3]
    table = Programs(**{name: np.array(value) for name, value in {**usual, **given}.items()})
    truth = {**drawn.truth, "programs": table}
    with pytest.raises(BadInput, match=told):
        scenario.system.simulate(Drawn(drawn.work[:3], truth), scenario.policy("fcfs"))


def test_what_a_rule_does_not_do_here_is_told(run_json):
    found = run_json("simulate reasoning --policy demote-overrun --rate 0.5 --programs 5")
    assert any("demote-overrun has an order that is not carried out" in note for note in found["notes"])


FLEET = """
model = ["Llama-3.1-8B", "Llama-3.1-70B"]
[[replica]]
name = "small"
count = 2
profile = "l40s-llama3.1-8b"
[[replica]]
name = "large"
profile = "h100x4-llama3.1-70b"
"""
MODELS = [",Llama-3.1-70B", ",Llama-3.1-8B", ",", ",Llama-3.1-70B"]


def of_models(tmp_path, models):
    path, fleet = tmp_path / "own.csv", tmp_path / "fleet.toml"
    path.write_text(
        "\n".join([HEADER + ",model", *(row + model for row, model in zip(GOOD, models, strict=True))]) + "\n"
    )
    fleet.write_text(FLEET)
    system = Scenario("programs", fleet=str(fleet)).system
    return Scenario(system, workload=TracePrograms(load_programs(path)), n_jobs=1)


def test_a_call_goes_where_its_model_is(tmp_path):
    scenario = of_models(tmp_path, MODELS)
    for router in ("round-robin", "least-outstanding", "power-of-d"):
        run = replace(scenario, system=replace(scenario.system, router=router)).simulate("fcfs", 0)
        sites = run.calls.jobs["site"].tolist()  # plan, left, right, join
        assert run.done.all() and sites[0] == sites[3] == 2 and sites[1] in (0, 1)
    programs = scenario.draw(0).truth["programs"]
    assert programs.model.tolist() == [1, 2, 0, 1]  # among the models of the fleet, by name
    assert programs.continues[1] == -1, "no model goes on with the keys and values of another"


def test_a_model_that_no_replica_has_is_refused(tmp_path):
    scenario = of_models(tmp_path, [",Llama-3.1-7B", *MODELS[1:]])
    with pytest.raises(
        BadInput, match=r"own\.csv: calls ask for model 'Llama-3.1-7B', which no replica has; did you mean"
    ):
        scenario.simulate("fcfs", 0)

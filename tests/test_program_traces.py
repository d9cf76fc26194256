"""Recorded programs: small files whose every call is known, then the real ones against counting their rows."""

import csv
import gzip
import json
from collections import defaultdict

import numpy as np
import pytest
from recorded import recorded

from llmqueue_gym.errors import BadInput
from llmqueue_gym.programs import check_programs, sizes
from llmqueue_gym.workloads.programs.calls import calls_of
from llmqueue_gym.workloads.requests import TracePrograms
from llmqueue_gym.workloads.traces.program_trace import in_sessions
from llmqueue_gym.workloads.traces.programs import ProgramTrace, detect_programs, load_programs

NEEDED = {"lmcache-gaps": {"prompt": 100, "returned": 30}, "taubench": {"gap": "deterministic:mean=2"}}
TINY = {
    "claude": "session,turn,session_offset_s,prompt_tokens,output_tokens,api_time_s\n"
    "a,0,1,10,5,2\na,1,7,20,5,1\nb,3,0,8,4,1\n",
    "exgentic": "session,span,arrival_s,duration_s,prompt_tokens,output_tokens,error\n"
    "b,3,103,1,8,4,0\na,0,101,2,10,5,0\na,1,107,1,20,5,0\na,2,109,,,,1\n",
    "lmcache": "agent,session,prompt_tokens,output_tokens,shared_prefix_tokens,gap_s,session_offset_s\n"
    "x,a,10,5,0,,0\nx,a,20,5,12,4,4\ny,a,8,4,0,,0\n",
    "lmcache-gaps": "session,turn,output_tokens,pre_gap_s\na,0,5,9\na,1,5,4\nb,0,4,-1\nb,1,4,-2\n",
    "taubench": "session,task,trial,call,prompt_tokens,output_tokens,tool_calls,reward\n"
    "a,0,0,0,10,5,1,0\na,0,0,1,20,5,0,0\nb,1,0,0,8,4,0,1\n",
    "tracelab": "session_id,arrival_time,round_idx,prefix_len,input_len,output_len,tool_wait_after_ms\n"
    "a,101000,0,0,10,5,4000\na,101000,1,15,5,5,0\nb,103000,3,0,8,4,0\n",
    "tracelab-rounds": "\n".join(
        json.dumps(
            {
                "session_id": session,
                "round_index": index,
                "input_tokens_total": prompt,
                "output_tokens": output,
                "prefix_tokens": prefix,
                "timing_events": [
                    {"event_type": "user_message", "timestamp": f"2026-06-01T05:40:{begin:02d}Z"},
                    {"event_type": "text", "timestamp": f"2026-06-01T05:40:{end:02d}Z"},
                ],
            }
        )
        for session, index, prompt, output, prefix, begin, end in (
            ("a", 0, 10, 5, 0, 1, 3),
            ("b", 3, 8, 4, 0, 3, 4),
            ("a", 1, 20, 5, 15, 7, 8),
        )
    ),
}


def write(tmp_path, text, name="programs.csv"):
    path = tmp_path / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", TINY)  # a file of one's own is in test_programs_cli
def test_tiny_files(tmp_path, name):
    path = write(tmp_path, TINY[name])
    assert detect_programs(path) == name
    trace = load_programs(path, **NEEDED.get(name, {}))
    calls = trace.calls
    assert len(trace) == 2 and trace.source and trace.licence and trace.name == "programs.csv"
    told = {
        "lmcache-gaps": ([100, 135, 100, 134], [5, 5, 4, 4], [0, 4, 0, 0]),
        "taubench": ([10, 20, 8], [5, 5, 4], [0, 2, 0]),
    }
    prompts, outputs, gaps = told.get(name, ([10, 20, 8], [5, 5, 4], [0, 4, 0]))
    np.testing.assert_array_equal(calls.prompts, prompts)
    np.testing.assert_array_equal(calls.outputs, outputs)
    np.testing.assert_allclose(calls.gap, gaps)
    np.testing.assert_array_equal(calls.parents[:1], [0])
    if name in ("exgentic", "tracelab", "tracelab-rounds"):
        np.testing.assert_allclose(trace.starts, [0, 2])
    else:
        assert trace.starts is None and "no common clock" in trace.report()[-1]
        np.testing.assert_array_equal(load_programs(path, apart=9, **NEEDED.get(name, {})).starts, [0, 9])
    shared = 12 if name == "lmcache" else prompts[0] + outputs[0]
    assert calls.kept[1] == shared and calls.base[1] == 0
    assert trace.begun_before == (name in ("claude", "exgentic", "tracelab", "tracelab-rounds"))
    assert trace.failed == (name == "exgentic") and trace.negative == (name == "lmcache-gaps")
    assert trace.overlapping == 0


def test_the_gap_before_the_first_call_is_nobodys(tmp_path):
    trace = load_programs(write(tmp_path, TINY["lmcache-gaps"]), prompt=1, returned=1)
    assert trace.negative == 1  # that of the second call of b, not the one before its first
    assert "1 gaps are stated as less than 0 and taken as 0" in trace.report()


def of_times(times, ends, prompts=None, outputs=None, **named):
    n = len(times)
    prompts = np.full(n, 10) if prompts is None else np.array(prompts)
    outputs = np.full(n, 2) if outputs is None else np.array(outputs)
    times, ends = np.array(times, float), np.array(ends, float)
    return in_sessions("f", ["a"] * n, times, ends, prompts, outputs, "s", "l", **named)


def parents_of(trace):
    calls = trace.calls
    return [calls.parents[calls.first[i] : calls.first[i + 1]].tolist() for i in range(len(calls.program))]


def test_overlapping_calls_do_not_wait_for_one_another():
    #  0: 0-2; 1: 3-9 and 2: 4-6 overlap; 3 began at 7, when 1 still ran; 4 began at 10, after all
    trace = of_times([0, 3, 4, 7, 10], [2, 9, 6, 8, 11])
    assert parents_of(trace) == [[], [0], [0], [2], [1, 3]]
    np.testing.assert_allclose(trace.calls.gap, [0, 1, 2, 1, 1])
    assert trace.overlapping == 2  # 2 and 3, which began before 1 had ended
    assert "2 calls began before an earlier one of their session had ended" in trace.report()


def test_calls_that_begin_before_any_has_ended_wait_for_nobody():
    trace = of_times([5, 6, 20], [10, 12, 21])
    assert parents_of(trace) == [[], [], [0, 1]]
    np.testing.assert_allclose(trace.calls.offset, [0, 1, 0])
    np.testing.assert_allclose(trace.calls.gap, [0, 0, 8])
    requests, *_, programs = TracePrograms(trace).sample(9, None, np.random.default_rng(0))
    np.testing.assert_array_equal(requests["arrival"], [0, 1, np.inf])
    check_programs(programs, 3)


def test_times_are_rounded_in_files():
    trace = of_times([0, 1.9996], [2, 3])
    assert parents_of(trace) == [[], [0]] and trace.overlapping == 0 and trace.calls.gap[1] == 0
    assert of_times([0, 1.9], [2, 3]).overlapping == 1


@pytest.mark.parametrize("seed", range(10))
def test_what_precedes_what_is_as_recorded(seed):
    """The edges, and the edges of edges, are all pairs of which one had ended when the other began."""
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(0, 30, 25))
    ends = times + rng.exponential(3, 25)
    trace = of_times(times, ends)
    before = [set() for _ in range(25)]
    for i, own in enumerate(parents_of(trace)):
        for parent in own:
            before[i] |= {parent} | before[parent]
        for parent in own:  # none is told twice
            assert not any(parent in before[other] for other in own)
    expected = [{j for j in range(25) if ends[j] <= times[i] + 1e-3} for i in range(25)]
    assert before == expected
    ready = [max((ends[p] for p in own), default=times[0]) for own in parents_of(trace)]
    np.testing.assert_allclose(ready + trace.calls.gap + trace.calls.offset, times, atol=1e-3)


def test_prompts_go_on_from_what_is_no_longer_than_they_are():
    trace = of_times([0, 3, 6, 9], [1, 4, 7, 10], [10, 12, 13, 5], [2, 2, 2, 2])
    np.testing.assert_array_equal(trace.calls.kept, [0, 12, 12, 0])  # all; the prompt alone; nothing
    np.testing.assert_array_equal(trace.calls.base, [-1, 0, 1, -1])
    told = of_times([0, 3, 6], [1, 4, 7], [10, 20, 13], [2, 2, 2], prefixes=np.array([4, 12, 11]))
    np.testing.assert_array_equal(told.calls.kept, [0, 12, 11])
    np.testing.assert_array_equal(told.calls.base, [-1, 0, 1])


def test_bad_files(tmp_path):
    path = write(tmp_path, TINY["lmcache-gaps"])
    with pytest.raises(
        BadInput, match=r"lost the lengths of its prompts; .* format lmcache-gaps:prompt=2000,returned=500"
    ):
        load_programs(path)
    with pytest.raises(BadInput, match="prompt=0 must be from 1 to a million"):
        load_programs(path, prompt=0, returned=1)
    path = write(tmp_path, TINY["taubench"])
    with pytest.raises(BadInput, match=r"has no times; .* format taubench:gap=lognormal"):
        load_programs(path)
    with pytest.raises(BadInput, match="unknown size law 'normal'"):
        load_programs(path, gap="normal")
    with pytest.raises(BadInput, match="'taubench' has no option gaps='x'; did you mean 'gap'"):
        load_programs(path, gaps="x")
    with pytest.raises(BadInput, match="is of no known form of programs"):
        load_programs(write(tmp_path, "arrival_s,prompt_tokens,output_tokens\n0,1,1\n"))
    with pytest.raises(BadInput, match="is empty"):
        load_programs(write(tmp_path, ""))
    with pytest.raises(BadInput, match="unknown form of recorded programs 'clawed'; did you mean 'claude'"):
        load_programs(path, format="clawed")
    with pytest.raises(BadInput, match="row 1, column 'session': there is no session"):
        load_programs(write(tmp_path, TINY["claude"].replace("a,0,1", ",0,1")))
    with pytest.raises(BadInput, match="row 2, column 'api_time_s': '-1' is negative"):
        load_programs(write(tmp_path, TINY["claude"].replace("5,1\nb", "5,-1\nb")))
    with pytest.raises(BadInput, match="row 2, column 'output_len': 0 output tokens"):
        load_programs(write(tmp_path, TINY["tracelab"].replace("15,5,5", "15,5,0")))
    with pytest.raises(BadInput, match="apart=-1 must lie between 0"):
        load_programs(write(tmp_path, TINY["claude"]), apart=-1)
    with pytest.raises(BadInput, match="each of 1 calls failed or gave no output"):
        of_times([0], [1], outputs=[0])
    with pytest.raises(BadInput, match="row 1: the call ends at 1 s, before it begins at 2 s"):
        of_times([2], [1])


def chains(*lengths, starts=None):
    """A trace of chains."""
    program = np.repeat(np.arange(len(lengths)), lengths)
    head = np.diff(program, prepend=-1) > 0
    rows = np.arange(len(program))
    calls = calls_of(program, rows[~head] - 1, np.concatenate([[0], np.cumsum(~head)]), 10 + rows, 1 + program)
    return ProgramTrace(calls, None if starts is None else np.array(starts, float), "t", "", "")


def sample(workload, n, seed=0):
    requests, outputs, _, programs = workload.sample(n, np.random.default_rng(seed), np.random.default_rng(seed))
    check_programs(programs, len(requests))
    return requests, outputs, programs


def test_windows_are_of_whole_programs():
    trace = chains(3, 1, 4, 2, 2, 5, starts=[0, 1, 3, 4, 7, 9])
    seen = set()
    for seed in range(60):
        requests, outputs, programs = sample(TracePrograms(trace), 3, seed)
        assert len(sizes(programs)) == 3 and requests["arrival"][0] == 0
        first = int(outputs[0]) - 1
        seen.add(first)
        np.testing.assert_array_equal(np.diff(np.unique(outputs)), 1)  # one after another
        np.testing.assert_array_equal(sizes(programs), [3, 1, 4, 2, 2, 5][first : first + len(sizes(programs))])
    assert seen == {0, 1, 2, 3}
    requests, outputs, programs = sample(TracePrograms(trace, order="first", rate_scale=2), 3)
    np.testing.assert_array_equal(requests["arrival"][:3], [0, 0.5, 1.5])
    assert len(sample(TracePrograms(trace), 99)[0]) == 17
    assert len(sample(TracePrograms(trace, order="first"), 1)[0]) == 3


def test_rates_of_programs():
    trace = chains(3, 1, 4, 2)
    with pytest.raises(BadInput, match="no common clock; tell a rate, or s from one to the next"):
        TracePrograms(trace)
    slow, fast = (sample(TracePrograms(trace, rate=rate), 10, 5) for rate in (1.0, 4.0))
    roots = np.isfinite(slow[0]["arrival"])
    assert roots.sum() == 4
    np.testing.assert_allclose(slow[0]["arrival"][roots], 4 * fast[0]["arrival"][roots])
    at_once = sample(TracePrograms(trace, rate=np.inf), 10, 5)[0]
    assert (at_once["arrival"][roots] == 0).all()
    _, _, programs = sample(TracePrograms(trace, rate=1.0, order="bootstrap"), 200)
    assert len(sizes(programs)) == 200 and set(sizes(programs).tolist()) == {1, 2, 3, 4}
    workload = TracePrograms(trace, rate=1.0, max_tokens=15)
    assert workload.too_long == 2 and len(workload) == 2
    np.testing.assert_array_equal(workload.output_sample(), [1, 1, 1, 2])
    for named, message in (
        ({"rate": 0.0}, "rate=0 must be positive, programs per s"),
        ({"rate": 1.0, "rate_scale": 2.0}, "rate_scale=2 has no recorded times"),
        ({"rate": 1.0, "order": "windows"}, "did you mean 'window'"),
        ({"rate": 1.0, "max_tokens": 5}, "no program is left: 4 have a call above 5 tokens"),
    ):
        with pytest.raises(BadInput, match=message):
            TracePrograms(trace, **named)
    with pytest.raises(BadInput, match="order='bootstrap' has no recorded times"):
        TracePrograms(chains(1, starts=[0]), order="bootstrap")


def rows_of(*parts):
    with gzip.open(recorded(*parts), "rt") as stream:
        return list(csv.DictReader(stream))


def by_session(rows, *names):
    found = defaultdict(list)
    for row in rows:
        found[tuple(row[name] for name in names)].append(row)
    return found


def counted(sessions, begin, took):
    """Calls that began before an earlier one of their session had ended, by more than a ms."""
    overlapping = 0
    for rows in sessions.values():
        end = -np.inf
        for row in sorted(rows, key=begin):
            overlapping += begin(row) < end - 1e-3
            end = max(end, begin(row) + took(row))
    return overlapping


def test_claude_code():
    rows = [row for row in rows_of("traces", "data", "agent_claude_code.csv.gz") if int(row["output_tokens"])]
    trace = load_programs(recorded("traces", "data", "agent_claude_code.csv.gz"))
    sessions = by_session(rows, "session")
    assert (len(trace), len(trace.calls.program), trace.failed, trace.begun_before) == (21, 4999, 1, 0)
    np.testing.assert_array_equal(np.bincount(trace.calls.program), [len(mine) for mine in sessions.values()])
    overlapping = counted(sessions, lambda row: float(row["session_offset_s"]), lambda row: float(row["api_time_s"]))
    assert trace.overlapping == overlapping == 105
    assert trace.calls.outputs.sum() == sum(int(row["output_tokens"]) for row in rows)
    assert trace.calls.prompts.sum() == sum(int(row["prompt_tokens"]) for row in rows)


def test_exgentic():
    every = rows_of("traces", "data", "agent_exgentic_swebench.csv.gz")
    rows = [row for row in every if row["error"] == "0"]  # 148 calls failed
    trace = load_programs(recorded("traces", "data", "agent_exgentic_swebench.csv.gz"))
    sessions = by_session(rows, "session")
    assert (len(trace), len(trace.calls.program), trace.failed) == (46, 2146, 148)
    assert trace.overlapping == counted(
        sessions, lambda row: float(row["arrival_s"]), lambda row: float(row["duration_s"])
    )
    assert trace.begun_before == 0
    starts = np.sort([min(float(row["arrival_s"]) for row in mine) for mine in sessions.values()])
    np.testing.assert_allclose(trace.starts, starts - starts[0])
    requests, _, programs = sample(TracePrograms(trace, order="first"), 10_000)
    assert len(requests) == 2146 and (np.diff(programs.first) > 1).any()
    gaps, stated = [], []
    for mine in sorted(sessions.values(), key=lambda mine: min(float(row["arrival_s"]) for row in mine)):
        mine = sorted(mine, key=lambda row: float(row["arrival_s"]))
        ends = np.array([float(row["arrival_s"]) + float(row["duration_s"]) for row in mine])
        for i, row in enumerate(mine):
            over = ends[:i][ends[:i] <= float(row["arrival_s"]) + 1e-3]
            gaps.append(max(float(row["arrival_s"]) - over.max(), 0.0) if len(over) else 0.0)
            after_all = i and len(over) == i and ends[i - 1] == over.max()
            plain = after_all and int(row["span"]) == int(mine[i - 1]["span"]) + 1
            stated.append(float(row["gap_before_s"]) if plain else np.nan)
    np.testing.assert_allclose(trace.calls.gap, gaps, atol=1e-6)
    plain = np.isfinite(stated)
    assert plain.sum() > 500  # calls that come after all others of their session, and right after the one above
    np.testing.assert_allclose(trace.calls.gap[plain], np.maximum(np.array(stated)[plain], 0), atol=2e-3)


def test_lmcache():
    rows = rows_of("traces", "data", "agent_lmcache_raw.csv.gz")
    path = recorded("traces", "data", "agent_lmcache_raw.csv.gz")
    trace = load_programs(path)
    sessions = by_session(rows, "agent", "session")
    assert (len(trace), len(trace.calls.program), trace.overlapping) == (45, 1148, 0)
    np.testing.assert_array_equal(np.bincount(trace.calls.program), [len(mine) for mine in sessions.values()])
    stated = [float(row["gap_s"] or 0) for mine in sessions.values() for row in mine]
    np.testing.assert_allclose(trace.calls.gap, stated, atol=1e-6)
    shared = [int(row["shared_prefix_tokens"]) for mine in sessions.values() for row in mine]
    assert (trace.calls.kept <= shared).all() and trace.calls.kept.sum() > 0.95 * sum(shared)
    slower = load_programs(path, seconds_per_token=0.01)
    took = trace.calls.gap.sum() - slower.calls.gap.sum()
    assert 0 < took <= 0.01 * trace.calls.outputs.sum()


def test_lmcache_gaps():
    rows = rows_of("traces", "data", "agent_lmcache_gaps.csv.gz")
    trace = load_programs(recorded("traces", "data", "agent_lmcache_gaps.csv.gz"), prompt=2000, returned=500)
    sessions = by_session(rows, "session")
    assert (len(trace), len(trace.calls.program), trace.negative) == (209, 4976, 0)
    stated = [float(row["pre_gap_s"]) * (i > 0) for mine in sessions.values() for i, row in enumerate(mine)]
    np.testing.assert_allclose(trace.calls.gap, stated)
    outputs = [[int(row["output_tokens"]) for row in mine] for mine in sessions.values()]
    prompts = [2000 + 500 * i + sum(mine[:i]) for mine in outputs for i in range(len(mine))]
    np.testing.assert_array_equal(trace.calls.prompts, prompts)


def test_taubench():
    rows = rows_of("traces", "data", "agent_taubench_airline.csv.gz")
    law = "lognormal:sigma=1,mean=5"
    trace = load_programs(recorded("traces", "data", "agent_taubench_airline.csv.gz"), gap=law)
    sessions = by_session(rows, "session")
    assert (len(trace), len(trace.calls.program), trace.begun_before) == (200, 2454, 0)
    np.testing.assert_array_equal(trace.calls.prompts, [int(r["prompt_tokens"]) for m in sessions.values() for r in m])
    waits = np.diff(trace.calls.first) > 0
    assert abs(trace.calls.gap[waits].mean() - 5) <= 4 * trace.calls.gap[waits].std() / np.sqrt(waits.sum())
    assert (trace.calls.kept[waits] > 0).all()  # no prompt of the file is shorter than the context before it


def test_tracelab():
    trace = load_programs(recorded("traces", "native", "tracelab_replay_multi_session_large.csv"))
    with open(recorded("traces", "native", "tracelab_replay_multi_session_large.csv")) as stream:
        rows = list(csv.DictReader(stream))
    sessions = by_session(rows, "session_id")
    assert (len(trace), len(trace.calls.program), trace.begun_before) == (len(sessions), len(rows), 0)
    waits = [int(row["tool_wait_after_ms"]) for mine in sessions.values() for row in mine[:-1]]
    np.testing.assert_allclose(trace.calls.gap[np.diff(trace.calls.first) > 0] * 1e3, waits)
    begins = np.array([int(mine[0]["arrival_time"]) for mine in sessions.values()]) / 1e3
    np.testing.assert_allclose(trace.starts, begins - begins[0])
    rounds = load_programs(recorded("traces", "native", "tracelab_sanitized_round_trace.jsonl"))
    assert (len(rounds), len(rounds.calls.program), rounds.overlapping) == (2, 19, 0)


@pytest.mark.parametrize(
    ("file", "options", "counts"),
    [
        ("cc_traces.normalized.head800.jsonl", {}, (8, 799)),
        ("exgentic_agent_llm_traces.normalized.head200.jsonl", {}, (3, 200)),
        ("lmcache_agentic_traces.normalized.head500.jsonl", {"prompt": 2000, "returned": 500}, (21, 500)),
    ],
)
def test_native_forms(file, options, counts):
    path = recorded("traces", "native", file)
    trace = load_programs(path, **options)
    with open(path) as stream:
        rows = [json.loads(line) for line in stream]
    assert (len(trace), len(trace.calls.program)) == counts
    assert len({row["session_id"] for row in rows if row["output_tokens"]}) == counts[0]
    assert trace.calls.outputs.sum() == sum(row["output_tokens"] for row in rows)


def test_the_two_forms_of_a_source_agree():
    """The first rows of the native file are those of the compact one."""
    native = load_programs(recorded("traces", "native", "cc_traces.normalized.head800.jsonl"))
    compact = load_programs(recorded("traces", "data", "agent_claude_code.csv.gz"))
    for name in ("prompts", "outputs", "gap", "kept"):
        whole = len(np.flatnonzero(native.calls.program < 7))
        np.testing.assert_allclose(getattr(native.calls, name)[:whole], getattr(compact.calls, name)[:whole])

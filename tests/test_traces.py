"""Loaders of native trace formats: tiny files, each error with its file, row and column, then the real samples."""

import gzip
import json

import numpy as np
import pytest
from recorded import recorded

from llmqueue_gym.errors import BadInput
from llmqueue_gym.workloads import TRACE_FORMATS, load_trace
from llmqueue_gym.workloads.requests import TraceRequests
from llmqueue_gym.workloads.traces import detect, load_lengths
from llmqueue_gym.workloads.traces.loaders import nanoseconds

BURST = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type"
TINY = {
    "azure": "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    "2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n",
    "burstgpt": f"{BURST}\n5,ChatGPT,374,44,418,API log\n6,GPT-4,9,0,9,API log\n45,ChatGPT,396,109,505,API log\n",
    "mooncake": '{"timestamp": 0, "input_length": 374, "output_length": 44, "hash_ids": [0]}\n'
    '{"timestamp": 6000, "input_length": 396, "output_length": 109, "hash_ids": [0, 1]}\n',
    "compact": "arrival_s,prompt_tokens,output_tokens\n1.5,374,44\n2.5,396,109\n",
    "vidur": "arrived_at,num_prefill_tokens,num_decode_tokens\n1.5,374,44\n2.5,396,109\n",
    "llmservingsim": '{"arrival_time_ns": 500000000, "input_toks": 374, "output_toks": 44}\n'
    '{"arrival_time_ns": 1500000000, "input_toks": 396, "output_toks": 109}\n',
    "vtc": '{"req_time": 0.5, "prompt_len": 374, "output_len": 44}\n'
    '{"req_time": 1.5, "prompt_len": 396, "output_len": 109}\n',
    # From here on rows may come in any order.
    "sessions": "session,session_offset_s,prompt_tokens,output_tokens\na,2.5,396,109\na,1.5,374,44\n",
    "qwen": '{"chat_id": 1, "timestamp": 61.5, "input_length": 396, "output_length": 109, "turn": 1, "hash_ids": [0]}\n'
    '{"chat_id": 0, "timestamp": 0.5, "input_length": 374, "output_length": 44, "turn": 1, "hash_ids": [0, 1]}\n',
    "exgentic": '{"start_time_s": 71.5, "input_tokens": 396, "output_tokens": 109, "span_id": "b"}\n'
    '{"start_time_s": 1.5, "input_tokens": 374, "output_tokens": 44, "span_id": "a"}\n',
    "claude": '{"request_arrival_delta_s": 7, "input_tokens": 396, "output_tokens": 109, "session_id": "a"}\n'
    '{"request_arrival_delta_s": 1, "input_tokens": 374, "output_tokens": 44, "session_id": "b"}\n',
    "tracelab": "session_id,arrival_time,round_idx,prefix_len,input_len,output_len,tool_wait_after_ms\n"
    "7,1000,0,0,374,44,500\n7,1000,1,300,96,109,0\n",
    "tracelab-rounds": '{"timing_events": [{"event_type": "tool_result", "timestamp": "2026-06-01T05:40:22.5Z"}, '
    '{"event_type": "text", "timestamp": "2026-06-01T05:40:29Z"}], "input_tokens_total": 396, "output_tokens": 109}\n'
    '{"timing_events": [{"event_type": "user_message", "timestamp": "2026-06-01T05:40:20.5Z"}], '
    '"input_tokens_total": 374, "output_tokens": 44}\n',
}
SPAN = {  # s
    "azure": 4.314579,
    "burstgpt": 40.0,
    "qwen": 61.0,
    "exgentic": 70.0,
    "claude": 6.0,
    "tracelab": 0.5,
    "tracelab-rounds": 2.0,
    **dict.fromkeys(("compact", "sessions", "vidur", "llmservingsim", "vtc"), 1.0),
}
FORMATS = [name for name in TRACE_FORMATS if name != "csv"]  # that is compact again


def write(tmp_path, text, name="trace.csv"):
    path = tmp_path / name
    with gzip.open(path, "wt") if name.endswith(".gz") else open(path, "w") as stream:
        stream.write(text)
    return path


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", ["trace.csv", "trace.csv.gz"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_tiny_files(tmp_path, format, name, newline):
    path = write(tmp_path, TINY[format].replace("\n", newline), name)
    assert detect(path) == format
    for trace in (load_trace(path), load_trace(str(path), format)):
        assert len(trace) == 2 and trace.name == name
        assert trace.arrival_s[0] == 0 and trace.arrival_s.dtype == np.float64
        np.testing.assert_array_equal(trace.prompt_tokens, [374, 396])
        np.testing.assert_array_equal(trace.output_tokens, [44, 109])
        assert trace.prompt_tokens.dtype == trace.output_tokens.dtype == np.int64
        assert trace.dropped == (format == "burstgpt")
        assert format in ("compact", "sessions") or (trace.source and trace.licence)
        if format in SPAN:
            assert trace.arrival_s[1] == SPAN[format]


# Errors. Every format that is sorted by time has these columns for time, prompt and output.
COLUMNS = {
    "azure": ("TIMESTAMP", "ContextTokens", "GeneratedTokens"),
    "burstgpt": ("Timestamp", "Request tokens", "Response tokens"),
    "mooncake": ("timestamp", "input_length", "output_length"),
    "compact": ("arrival_s", "prompt_tokens", "output_tokens"),
    "vidur": ("arrived_at", "num_prefill_tokens", "num_decode_tokens"),
    "llmservingsim": ("arrival_time_ns", "input_toks", "output_toks"),
    "vtc": ("req_time", "prompt_len", "output_len"),
}
TIMES = {"azure": "2023-11-16 18:15:{:02d}.0000000", "mooncake": "{}000", "llmservingsim": "{}000000000"}
JSON = ("mooncake", "llmservingsim", "vtc")


def table(format, rows, **renamed):
    """The text of a trace of `format`; rows are (time in whole s or text, prompt, output), None leaves a cell out."""
    rows = [(TIMES.get(format, "{}").format(t) if isinstance(t, int) else t, *rest) for t, *rest in rows]
    names = [renamed.get(role, name) for role, name in zip(("time", "prompt", "output"), COLUMNS[format], strict=True)]
    if format not in JSON:
        lines = [",".join(map(str, filter(lambda cell: cell is not None, row))) for row in rows]
        return "\n".join([",".join(names), *lines])
    records = [{k: v for k, v in zip(names, row, strict=True) if v is not None} for row in rows]
    return "\n".join(json.dumps(record) for record in records)


GOOD = (1, 10, 20)


@pytest.mark.parametrize("format", list(COLUMNS))
@pytest.mark.parametrize(
    ("row", "column", "message"),
    [
        ((2, -3, 4), 1, "is negative"),
        ((2, 3, -4), 2, "is negative"),
        ((2, "nan", 4), 1, "not a finite number"),
        ((2, "inf", 4), 1, "not a finite number"),
        ((2, 3, "many"), 2, "'many' is not a number"),
        ((2, 3.5, 4), 1, "not a whole number"),
        ((2, 3, ""), 2, "missing"),
        ((2, 3, None), 2, "missing|no such key"),
        ((2, 1e300, 4), 1, "out of all proportion"),
        ((2, 3_000_000_000, 4), 1, "is more than 1,000,000,000"),
        ((2, 3, 3e9), 2, "is more than 1,000,000,000"),
        (("1e300", 3, 4), 0, "out of all proportion|is not a date"),
        (("0001-01-01 00:00:00+23:59", 3, 4), 0, "is not a"),
        (("noon", 3, 4), 0, "'noon' is not"),
        (("", 3, 4), 0, "missing|is not a date"),
        ((0, 3, 4), 0, "before that of the row above"),
    ],
)
def test_bad_rows(tmp_path, format, row, column, message):
    path = write(tmp_path, table(format, [GOOD, row]), "bad.csv")
    with pytest.raises(BadInput, match=message) as caught:
        load_trace(path)
    assert "bad.csv" in str(caught.value)
    assert f"row 2, column {COLUMNS[format][column]!r}" in str(caught.value)


@pytest.mark.parametrize("format", list(COLUMNS))
@pytest.mark.parametrize(("role", "column"), [("time", 0), ("prompt", 1), ("output", 2)])
def test_misnamed_columns(tmp_path, format, role, column):
    name = COLUMNS[format][column]
    path = write(tmp_path, table(format, [GOOD], **{role: name + "x"}))
    with pytest.raises(BadInput, match=f"{name}'.*did you mean '{name}x'"):
        load_trace(path)


@pytest.mark.parametrize("format", FORMATS)
def test_empty_files(tmp_path, format):
    for text in ("", "\n\n"):
        for how in ("auto", format):
            with pytest.raises(BadInput, match="is empty"):
                load_trace(write(tmp_path, text), how)
    if format in COLUMNS and format not in JSON:
        with pytest.raises(BadInput, match="no data rows"):
            load_trace(write(tmp_path, table(format, [])))


def test_unreadable_files(tmp_path):
    with pytest.raises(BadInput, match=r"cannot read .*none\.csv: No such file"):
        load_trace(tmp_path / "none.csv")
    (tmp_path / "plain.csv.gz").write_text(TINY["compact"])
    cut = tmp_path / "cut.csv.gz"
    cut.write_bytes(gzip.compress(TINY["compact"].encode())[:40])
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    for name in ("plain.csv.gz", "cut.csv.gz", "binary.csv", ""):
        with pytest.raises(BadInput, match="cannot read"):
            load_trace(tmp_path / name)


ROW = "1.5,374,44\n"
FLOODS = {  # what a file of a few kB unpacks to
    "rows": TINY["compact"] + ROW * 1_000_000,
    "line": "x" * 10_000_000,
    "json": '{"timestamp": 1, "hash_ids": ' + "[" * 9_000_000,
}


@pytest.mark.parametrize("text", FLOODS.values(), ids=FLOODS)
def test_a_packed_flood_is_refused_before_it_is_read(tmp_path, text):
    path = tmp_path / "flood.csv.gz"
    path.write_bytes(gzip.compress(text.encode(), 1))
    with pytest.raises(BadInput, match="unpacks to more than 20 times its size"):
        load_trace(path, "compact")


def test_a_line_without_end_is_refused(tmp_path):
    with pytest.raises(BadInput, match="a line has more than"):
        load_trace(write(tmp_path, "x" * 20_000_000))


@pytest.mark.parametrize("format", [name for name in TINY if TINY[name].startswith("{")])
@pytest.mark.parametrize("line", ["5", "[" * 100_000, '{"a": ' * 100_000, '{"a": "\\ud800"}', "9" * 5000])
def test_json_that_is_no_object(tmp_path, format, line):
    with pytest.raises(BadInput, match="row 1"):
        load_trace(write(tmp_path, line), format)


def test_sessions_may_have_any_names(tmp_path):
    text = TINY["claude"].replace('"a"', "[1]").replace('"b"', "{}")
    np.testing.assert_array_equal(load_trace(write(tmp_path, text, "c.jsonl"), gap=10.0).arrival_s, [0, 4])


# Units, priorities, classes.


@pytest.mark.parametrize("format", [name for name in SPAN if name not in ("azure", "tracelab-rounds")])
def test_the_unit_of_times_can_be_told(tmp_path, format):
    path = write(tmp_path, TINY[format])
    own = {"tracelab": 1e-3, "llmservingsim": 1e-9}.get(format, 1.0)
    waits = 0.5 if format == "tracelab" else 0.0  # told in ms by the name of their column
    before, after = load_trace(path).arrival_s[-1], load_trace(path, unit="us").arrival_s[-1]
    assert (after - waits) * own == pytest.approx((before - waits) * 1e-6)
    with pytest.raises(BadInput, match="unknown unit of time 'min'; choose from: s, ms, us, ns"):
        load_trace(path, unit="min")


def test_dates_have_no_unit(tmp_path):
    with pytest.raises(BadInput, match="trace format 'azure' has no option unit='ms'"):
        load_trace(write(tmp_path, TINY["azure"]), unit="ms")


def test_priorities_and_classes_are_read(tmp_path):
    text = "class,arrival_s,prompt_tokens,output_tokens,priority\nchat,0,3,4,-2\nbatch,1,3,4,7\nchat,2,3,4,0\n"
    with pytest.warns(UserWarning, match="classes are numbered: batch is 0, chat is 1$"):
        trace = load_trace(write(tmp_path, text))
    assert trace.priority.tolist() == [-2, 7, 0] and trace.klass.tolist() == [1, 0, 1]
    requests, _ = TraceRequests.from_trace(trace).sample(3, *np.random.default_rng(0).spawn(2))
    assert requests["priority"].tolist() == [-2, 7, 0] and requests["klass"].tolist() == [1, 0, 1]
    with pytest.raises(BadInput, match=r"row 1, column 'priority': '-2\.5' is not a whole number"):
        load_trace(write(tmp_path, text.replace("-2", "-2.5")))
    numbered = load_trace(write(tmp_path, text.replace("chat", "7").replace("batch", "12")))
    assert numbered.klass.tolist() == [7, 12, 7]  # numbers stay
    plain = load_trace(write(tmp_path, TINY["compact"]))
    assert plain.priority is None and plain.klass is None and plain.rate == 1


def test_unknown_formats(tmp_path):
    for text in ("a,b\n1,2\n", '{"a": 1}\n', "[1]\n"):
        with pytest.raises(BadInput, match="no known trace format"):
            load_trace(write(tmp_path, text))
    for text in ("{broken\n", '{"timestamp": ' + "[" * 100_000 + "]" * 100_000 + "}\n"):
        with pytest.raises(BadInput, match=r"row 1 is no JSON object, or one that is cut off or nested too deep$"):
            load_trace(write(tmp_path, text))
    with pytest.raises(BadInput, match="did you mean 'azure'"):
        load_trace(write(tmp_path, TINY["azure"]), "azur")


def test_the_seventh_digit_and_zones():
    tick = nanoseconds("2023-11-16 18:15:46.6805901") - nanoseconds("2023-11-16 18:15:46.6805900")
    assert tick == 100
    assert nanoseconds("2024-05-10 00:00:00.009930+00:00") == nanoseconds("2024-05-10T00:00:00.009930Z")
    assert nanoseconds("2024-05-10 02:00:00+02:00") == nanoseconds("2024-05-10 00:00:00")
    assert nanoseconds("2024-10-15T12:00:00.269Z") % 10**9 == 269 * 10**6
    for text in ("2024-05-10", "5", ""):
        with pytest.raises(ValueError):
            nanoseconds(text)


def test_seventh_digits_survive_a_week(tmp_path):
    rows = [("2024-05-10 00:00:00.0000001", 1, 1), ("2024-05-17 00:00:00.0000004", 1, 1)]
    assert load_trace(write(tmp_path, table("azure", rows))).arrival_s[1] == 604800.0000003


def test_mooncake_leaves_its_grid(tmp_path):
    path = write(tmp_path, table("mooncake", [(3 * (i // 10), i, 1) for i in range(2000)]), "m.jsonl")
    grid = load_trace(path, spread=False)
    np.testing.assert_array_equal(np.unique(grid.arrival_s), 3.0 * np.arange(200))
    first, again, other = (load_trace(path, spread=True, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.arrival_s, again.arrival_s)
    assert not np.array_equal(first.arrival_s, other.arrival_s)
    assert np.all(np.diff(first.arrival_s) > 0)
    # Rows move together with their times, and only inside their cell.
    assert np.array_equal(np.sort(first.prompt_tokens), grid.prompt_tokens)
    cell = first.prompt_tokens // 10
    assert np.all(np.diff(cell) >= 0) and not np.array_equal(first.prompt_tokens, grid.prompt_tokens)
    off_grid = write(tmp_path, table("mooncake", [(1, 1, 1), (5, 1, 1)]), "off.jsonl")
    np.testing.assert_array_equal(load_trace(off_grid).arrival_s, [0, 4])
    np.testing.assert_array_equal(load_trace(off_grid, unit="s").arrival_s, [0, 4000])
    broken = write(tmp_path, TINY["mooncake"] + "{oops\n", "broken.jsonl")
    with pytest.raises(BadInput, match=r"broken\.jsonl: row 3 is not a JSON object"):
        load_trace(broken)


def test_burstgpt_without_success(tmp_path):
    with pytest.raises(BadInput, match="every row has 0 response tokens"):
        load_trace(write(tmp_path, table("burstgpt", [(1, 1, 0)])))


def test_compact_carries_what_the_caller_says(tmp_path):
    trace = load_trace(write(tmp_path, TINY["compact"]), "compact", source="mine", licence="CC0-1.0")
    assert (trace.source, trace.licence) == ("mine", "CC0-1.0")


@pytest.mark.parametrize("packed", ["", ".gz"])
def test_compact_may_have_an_object_a_line(tmp_path, packed):
    rows = [
        {"arrival_s": 5.5, "prompt_tokens": 40, "output_tokens": 3, "class": "chat", "hash_ids": [1, 2]},
        {"arrival_s": 7, "prompt_tokens": 30.0, "output_tokens": 4, "class": "code", "hash_ids": [1], "own": {"a": 1}},
    ]
    path, text = tmp_path / f"mine.jsonl{packed}", "\n".join(map(json.dumps, rows)).encode()
    path.write_bytes(gzip.compress(text) if packed else text)
    with pytest.warns(UserWarning, match="chat is 0, code is 1"):
        trace = load_trace(path)
    assert trace.arrival_s.tolist() == [0, 1.5] and trace.prompt_tokens.tolist() == [40, 30]
    assert trace.klass.tolist() == [0, 1] and trace.contexts is not None and trace.priority is None
    del rows[1]["class"]
    path.write_bytes(b"\n".join(json.dumps(row).encode() for row in rows))
    with pytest.raises(BadInput, match="row 2, column 'class': there is nothing" if not packed else "cannot read"):
        load_trace(path)


def test_a_column_is_there_once(tmp_path):
    with pytest.raises(BadInput, match="has 2 columns 'prompt_tokens'; leave all but one out"):
        load_trace(write(tmp_path, "arrival_s,prompt_tokens,output_tokens,prompt_tokens\n0,1,2,3\n"))


def test_csv_is_another_name_of_compact(tmp_path):
    trace = load_trace(write(tmp_path, TINY["compact"]), "csv")
    np.testing.assert_array_equal(trace.output_tokens, [44, 109])


def test_records_of_real_runs_have_seconds(tmp_path):
    row = '{"arrival_time": 1777142838.25, "input_toks": 1, "output_toks": 2, "first_token_ts": 5}'
    path = write(tmp_path, row + "\n" + row.replace(".25", ".75"), "b.jsonl")
    assert load_trace(path).arrival_s[1] == 0.5


def test_sessions_without_a_common_clock(tmp_path):
    path = write(tmp_path, TINY["claude"], "claude.jsonl")
    np.testing.assert_array_equal(load_trace(path, gap=10.0).arrival_s, [0, 4])  # a at 0 + 7, b at 10 + 1
    with pytest.raises(BadInput, match="gap=-1"):
        load_trace(path, gap=-1.0)


def test_rounds_wait_for_those_before(tmp_path):
    path = write(tmp_path, TINY["tracelab"])
    assert load_trace(path, seconds_per_token=0.25).arrival_s[1] == 0.5 + 44 * 0.25
    with pytest.raises(BadInput, match="seconds_per_token=-1"):
        load_trace(path, seconds_per_token=-1.0)
    rows = write(
        tmp_path, '{"timing_events": [], "input_tokens_total": 1, "output_tokens": 1, "round_index": 0}', "r.jsonl"
    )
    with pytest.raises(BadInput, match="row 1, column 'timing_events': no user message"):
        load_trace(rows)


LENGTHS = {
    "vidur": "num_prefill_tokens,num_decode_tokens,num_total_tokens,pd_ratio\n74,918,992,0.08\n",
    "compact": "prompt_tokens,output_tokens\n74,918\n",
    "block": "num_prefill_tokens,num_decode_tokens,num_total_tokens,pd_ratio,num_predicted_decode_tokens\n"
    "74,918,992,1,9\n",
}


@pytest.mark.parametrize("kind", LENGTHS)
def test_lengths_without_arrivals(tmp_path, kind):
    path = write(tmp_path, LENGTHS[kind], "lengths.csv")
    assert [lengths.tolist() for lengths in load_lengths(path)] == [[74], [918]]
    with pytest.raises(BadInput, match=r"lengths but no arrivals.*RequestWorkload\('file:.*lengths\.csv'"):
        load_trace(path)
    with pytest.raises(BadInput, match="no columns"):
        load_lengths(write(tmp_path, "a,b\n1,2\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("t,rate,x\n", "no known trace format"),
        ("0,0,0,,0,0\n600,0.1,2,Gamma,1,2\n", "arrival rates of one client"),
        ('{\n"0": {\n"input_tokens": "{}"}}\n', "length distributions of one client"),
        (",output_token_length,predicted_length,latency,model\n0,40,1,0.02,v\n", "length predictor pairs:"),
        ('{"input_len": 0, "output_tokens": 9, "pre_gap_s": 0.1, "session_id": "a"}', "lost the prompts' lengths"),
        ('{"timestamp": 1, "input": "Hi", "output": "Ho", "session_id": "a"}', "texts of prompts"),
    ],
)
def test_files_that_hold_no_requests(tmp_path, text, message):
    with pytest.raises(BadInput, match=message) as caught:
        load_trace(write(tmp_path, text, "other.txt"))
    assert "\n" not in str(caught.value)


REFUSED = {  # native sample -> why; every other one loads
    "arxiv_long_online": "no arrivals",
    "arxiv_summarization": "no arrivals",
    "block_sharegpt": "no arrivals",
    "bwb": "no arrivals",
    "sharegpt_8k": "no arrivals",
    "lmcache_agent_trace": "texts",
    "lmcache_agentic": "lost the prompts",
    "servegen": "of one client",
    "ssjf": "pairs:",
}


def test_every_native_sample_loads_or_is_refused_in_one_line():
    for path in sorted(recorded("traces", "native").iterdir()):
        why = next((why for start, why in REFUSED.items() if path.name.startswith(start)), None)
        if why is None:
            trace = load_trace(path)
            assert len(trace) >= 2 and np.all(np.diff(trace.arrival_s) >= 0), path.name
            assert trace.prompt_tokens.min() > 0 and trace.output_tokens.min() >= 0, path.name
            continue
        with pytest.raises(BadInput, match=why) as caught:
            load_trace(path)
        assert "\n" not in str(caught.value), path.name
        if why == "no arrivals":
            assert len(load_lengths(path)[1]) == 1000


@pytest.mark.parametrize(
    ("name", "rows", "format", "last"),
    [
        ("AzureLLMInferenceTrace_conv.head2000.csv", 2000, "azure", None),
        ("AzureLLMInferenceTrace_code.head2000.csv", 2000, "azure", None),
        ("AzureLLMInferenceTrace_conv_1week.10rows.csv", 10, "azure", None),
        ("AzureLLMInferenceTrace_code_1week.10rows.csv", 10, "azure", None),
        ("AzureLMMInferenceTrace_multimodal.10rows.csv", 10, "azure", 604799.695),
        ("BurstGPT_1.first3rows.csv", 3, "burstgpt", 113.0),
        ("mooncake_conversation_trace.head2000.jsonl", 2000, "mooncake", None),
        ("mooncake_synthetic_trace.head2000.jsonl", 2000, "mooncake", None),
        ("qwen_bailian.format_example.jsonl", 2, "qwen", 61.114),
        ("vidur_splitwise_conv.head1000.csv", 1000, "vidur", None),
        ("llmservingsim_example_trace.jsonl", 10, "llmservingsim", None),
        ("llmservingsim_vllm_requests.jsonl", 300, "llmservingsim", None),
        ("vtc_real_trace.converted.head500.jsonl", 500, "vtc", None),
        ("exgentic_agent_llm_traces.normalized.head200.jsonl", 200, "exgentic", None),
        ("tracelab_replay_multi_session_large.csv", 303, "tracelab", None),
        ("tracelab_sanitized_round_trace.jsonl", 19, "tracelab-rounds", None),
    ],
)
def test_native_samples(name, rows, format, last):
    path = recorded("traces", "native", name)
    assert detect(path) == format
    trace = load_trace(path)
    assert abs(len(trace) - rows) <= 1  # "head2000" may count the header
    assert trace.arrival_s[0] == 0 and np.all(np.diff(trace.arrival_s) >= 0)
    assert trace.output_tokens.min() > 0
    assert last is None or trace.arrival_s[-1] == last

"""Loaders of native trace formats: tiny files, each error with its file, row and column, then the real samples."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from llmqueue_gym.errors import BadInput
from llmqueue_gym.workloads import TRACE_FORMATS, load_trace
from llmqueue_gym.workloads.traces import detect
from llmqueue_gym.workloads.traces.azure import nanoseconds

NATIVE = Path(__file__).parents[2] / "shared" / "traces" / "native"
BURST = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type"
TINY = {
    "azure": "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    "2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n",
    "burstgpt": f"{BURST}\n5,ChatGPT,374,44,418,API log\n6,GPT-4,9,0,9,API log\n45,ChatGPT,396,109,505,API log\n",
    "mooncake": '{"timestamp": 0, "input_length": 374, "output_length": 44, "hash_ids": [0]}\n'
    '{"timestamp": 6000, "input_length": 396, "output_length": 109, "hash_ids": [0, 1]}\n',
    "compact": "arrival_s,prompt_tokens,output_tokens\n1.5,374,44\n2.5,396,109\n",
}
SPAN = {"azure": 4.314579, "burstgpt": 40.0, "mooncake": None, "compact": 1.0}  # s


def write(tmp_path, text, name="trace.csv"):
    path = tmp_path / name
    with gzip.open(path, "wt") if name.endswith(".gz") else open(path, "w") as stream:
        stream.write(text)
    return path


@pytest.mark.parametrize("format", list(TRACE_FORMATS))
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
        assert format == "compact" or (trace.source and trace.licence)
        if SPAN[format]:
            assert trace.arrival_s[1] == SPAN[format]


# Errors. Every format has these columns for time, prompt and output.
COLUMNS = {
    "azure": ("TIMESTAMP", "ContextTokens", "GeneratedTokens"),
    "burstgpt": ("Timestamp", "Request tokens", "Response tokens"),
    "mooncake": ("timestamp", "input_length", "output_length"),
    "compact": ("arrival_s", "prompt_tokens", "output_tokens"),
}
TIMES = {"azure": "2023-11-16 18:15:{:02d}.0000000", "mooncake": "{}000"}


def table(format, rows, **renamed):
    """The text of a trace of `format`; rows are (time in whole s or text, prompt, output), None leaves a cell out."""
    rows = [(TIMES.get(format, "{}").format(t) if isinstance(t, int) else t, *rest) for t, *rest in rows]
    names = [renamed.get(role, name) for role, name in zip(("time", "prompt", "output"), COLUMNS[format], strict=True)]
    if format != "mooncake":
        lines = [",".join(map(str, filter(lambda cell: cell is not None, row))) for row in rows]
        return "\n".join([",".join(names), *lines])
    records = [{k: v for k, v in zip(names, row, strict=True) if v is not None} for row in rows]
    return "\n".join(json.dumps(record) for record in records)


GOOD = (1, 10, 20)


@pytest.mark.parametrize("format", list(TRACE_FORMATS))
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


@pytest.mark.parametrize("format", list(TRACE_FORMATS))
@pytest.mark.parametrize(("role", "column"), [("time", 0), ("prompt", 1), ("output", 2)])
def test_misnamed_columns(tmp_path, format, role, column):
    name = COLUMNS[format][column]
    path = write(tmp_path, table(format, [GOOD], **{role: name + "x"}))
    with pytest.raises(BadInput, match=f"{name}'.*did you mean '{name}x'"):
        load_trace(path)


@pytest.mark.parametrize("format", list(TRACE_FORMATS))
def test_empty_files(tmp_path, format):
    for text in ("", "\n\n"):
        for how in ("auto", format):
            with pytest.raises(BadInput, match="is empty"):
                load_trace(write(tmp_path, text), how)
    if format != "mooncake":
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


def test_unknown_formats(tmp_path):
    for text in ("a,b\n1,2\n", '{"a": 1}\n', "{broken\n", "[1]\n"):
        with pytest.raises(BadInput, match="no known trace format"):
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
    broken = write(tmp_path, TINY["mooncake"] + "{oops\n", "broken.jsonl")
    with pytest.raises(BadInput, match=r"broken\.jsonl: row 3 is not a JSON object"):
        load_trace(broken)


def test_burstgpt_without_success(tmp_path):
    with pytest.raises(BadInput, match="every row has 0 response tokens"):
        load_trace(write(tmp_path, table("burstgpt", [(1, 1, 0)])))


def test_compact_carries_what_the_caller_says(tmp_path):
    trace = load_trace(write(tmp_path, TINY["compact"]), "compact", source="mine", licence="CC0-1.0")
    assert (trace.source, trace.licence) == ("mine", "CC0-1.0")


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
    ],
)
def test_native_samples(name, rows, format, last):
    if not (NATIVE / name).exists():
        pytest.skip(f"the native sample {name} is not on this machine")
    assert detect(NATIVE / name) == format
    trace = load_trace(NATIVE / name)
    assert abs(len(trace) - rows) <= 1  # "head2000" may count the header
    assert trace.arrival_s[0] == 0 and np.all(np.diff(trace.arrival_s) >= 0)
    assert trace.output_tokens.min() > 0
    assert last is None or trace.arrival_s[-1] == last

"""Files that pyarrow reads give the traces, and the errors, that the readers in `columns` give."""

import gzip
import json

import numpy as np
import pytest

from llmqueue_gym import arrow
from llmqueue_gym.errors import BadInput
from llmqueue_gym.workloads.traces import load_trace
from llmqueue_gym.workloads.traces.trace import read_json_columns

COMPACT = """arrival_s,prompt_tokens,output_tokens,client,session
0.5, 12 ,3,b,x
0.75,7,12.0,a,y

1e1,400,1,b,x
"""
AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
"""
ZONED = AZURE.replace("6805900", "680590+00:00").replace("9951690", "995169+00:00")
MOONCAKE = "".join(
    json.dumps({"timestamp": t, "input_length": 600, "output_length": 5, "hash_ids": [0, t], "more": {"a": [1]}}) + "\n"
    for t in (0, 3000, 3000, 6000)
)
QWEN = "".join(
    json.dumps({"chat_id": k, "parent_chat_id": -1, "timestamp": k / 4, "input_length": 20, "output_length": 2 + k,
                "type": "text", "turn": 1, "hash_ids": [k, 7]}) + "\n" for k in range(3)
)  # fmt: skip
FILES = {"compact.csv": COMPACT, "azure.csv": AZURE, "zoned.csv": ZONED, "moon.jsonl": MOONCAKE, "qwen.jsonl": QWEN}

pytestmark = [
    pytest.mark.skipif(not arrow.INSTALLED, reason="pyarrow is not installed"),
    pytest.mark.filterwarnings("ignore:.*are numbered"),
]


def slowly(path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(arrow, "INSTALLED", False)
        return load_trace(path)


def said(load):
    """Return what a loader says: the trace's numbers, or the message of its error."""
    try:
        made = load()
    except BadInput as error:
        return str(error)
    told = made.contexts and [table.tolist() for table in made.contexts]
    return made.arrival_s.tolist(), made.prompt_tokens.tolist(), made.output_tokens.tolist(), told


def assert_same(one, other):
    assert vars(one).keys() == vars(other).keys()
    for name, value in vars(one).items():
        if name not in ("name", "contexts"):
            np.testing.assert_array_equal(value, getattr(other, name), name)
    assert (one.contexts is None) == (other.contexts is None)
    if one.contexts is not None:
        for name in one.contexts._fields:
            np.testing.assert_array_equal(getattr(one.contexts, name), getattr(other.contexts, name))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("packed", ["", ".gz", ".zst"])
def test_both_ways_of_reading_give_one_trace(tmp_path, monkeypatch, name, packed):
    import pyarrow as pa

    plain, file = tmp_path / name, tmp_path / (name + packed)
    plain.write_text(FILES[name])
    if packed == ".gz":
        file.write_bytes(gzip.compress(FILES[name].encode()))
    elif packed:
        with pa.CompressedOutputStream(str(file), "zstd") as stream:
            stream.write(FILES[name].encode())
    calls = []
    for reader in ("csv_cells", "json_cells"):
        read = getattr(arrow, reader)
        monkeypatch.setattr(arrow, reader, lambda *told, read=read: calls.append(read(*told)) or calls[-1])
    fast = load_trace(file)
    assert calls and None not in calls, "pyarrow has not read it"
    assert_same(fast, slowly(plain, monkeypatch))


@pytest.mark.parametrize("name", FILES)
def test_parquet_gives_the_same_trace(tmp_path, monkeypatch, name):
    from pyarrow import csv, json, parquet

    plain, file = tmp_path / name, tmp_path / "t.parquet"
    plain.write_text(FILES[name])
    parquet.write_table((json.read_json if name.endswith("jsonl") else csv.read_csv)(plain), file)
    assert_same(load_trace(file), slowly(plain, monkeypatch))


@pytest.mark.parametrize(
    "row",
    [
        "2,x,1",
        "2,,1",
        "2,5",
        "2,5,1,9",
        "2,-5,1",
        "2,1.5,1",
        "2,1e300,1",
        "2,nan,1",
        "0.1,5,1",
        '2,"5',
        "2,NA,1",
        "2,1_0,1",
    ],
)
def test_a_bad_row_is_told_in_the_same_words(tmp_path, monkeypatch, row):
    file = tmp_path / "t.csv"
    file.write_text("arrival_s,prompt_tokens,output_tokens\n0,1,1\n1,2,2\n" + row + "\n")
    assert said(lambda: load_trace(file)) == said(lambda: slowly(file, monkeypatch))


@pytest.mark.parametrize(
    "line", ['{"timestamp": 1}', '{"timestamp": "x", "input_length": 1, "output_length": 1}', "{", "[1]"]
)
def test_a_bad_line_of_json_is_told_in_the_same_words(tmp_path, monkeypatch, line):
    file = tmp_path / "t.jsonl"
    file.write_text(MOONCAKE + line + "\n")
    with pytest.raises(BadInput) as fast:
        load_trace(file)
    with pytest.raises(BadInput) as slow:
        slowly(file, monkeypatch)
    assert str(fast.value) == str(slow.value)


@pytest.mark.parametrize("start", ["\n", "   \r\n", "\ufeff", "\ufeff\n", "\ufeff \r\n\n", "\xa0\n", " " * 5000 + "\n"])
def test_what_stands_above_the_header_is_read_both_ways(tmp_path, monkeypatch, start):
    file = tmp_path / "t.csv"
    file.write_bytes((start + COMPACT).encode())
    assert said(lambda: load_trace(file)) == said(lambda: slowly(file, monkeypatch))
    assert load_trace(file).prompt_tokens.tolist() == [12, 7, 400]


def row_of(time, ids=(1, 2), **more):
    return json.dumps({"timestamp": time, "input_length": 900, "output_length": 5, "hash_ids": list(ids), **more})


@pytest.mark.parametrize("ids", [(2**63, 2**63 + 1), (2**64 - 1, 2**64), (-(2**63) - 1, 4), (2**63 - 1, -(2**63))])
def test_ids_of_more_than_64_bits_stay_apart(tmp_path, monkeypatch, ids):
    file = tmp_path / "t.jsonl"
    file.write_text(row_of(0, ids) + "\n" + row_of(1, ids[::-1]) + "\n" + row_of(2, ids) + "\n")
    fast = said(lambda: load_trace(file))
    assert fast == said(lambda: slowly(file, monkeypatch)) and len(fast) == 4
    named = [{"session_id": number} for number in ids]
    file.write_text("\n".join(map(json.dumps, named)))
    assert list(read_json_columns(file, ["session_id"])[0].cells) == list(ids)


BROKEN = row_of(1).replace(", ", ",\n", 1)
LINES = {
    "two on a line": [row_of(0), row_of(1) + row_of(2)],
    "one over two lines": [row_of(0), BROKEN],
    "one over many": [row_of(0), json.dumps(json.loads(row_of(1)), indent=1)],
    "both, as many lines as objects": [row_of(0), row_of(0) + " " + row_of(1), BROKEN],
    "broken by a return": [row_of(0), BROKEN.replace("\n", "\r")],
    "braces inside, broken": [row_of(0), row_of(1, x={"y": {}}).replace(": {}}", ":\n{}}")],
    "blank lines": ["", row_of(0), "", "  ", row_of(1), ""],
    "returns": [row_of(0) + "\r", row_of(1) + "\r"],
    "blanks around": ["  " + row_of(0) + "  ", row_of(1)],
    "a mark before": ["\ufeff" + row_of(0), row_of(1)],
}


@pytest.mark.parametrize("kind", LINES)
@pytest.mark.parametrize("block", [7, 2**24])
def test_each_line_has_one_object(tmp_path, monkeypatch, kind, block):
    file = tmp_path / "t.jsonl"
    file.write_bytes("\n".join([*LINES[kind], row_of(9), ""]).encode())
    if block < 100:  # of what is counted; no row fits into it
        read = arrow._one_a_line
        monkeypatch.setattr(arrow, "_one_a_line", lambda *told: in_blocks(read, *told, block=block))
    fast = said(lambda: load_trace(file))
    assert fast == said(lambda: slowly(file, monkeypatch))
    broken = any(word in kind for word in ("two", "one", "both", "broken"))
    assert ("is not a JSON object" in fast) == broken


def in_blocks(read, path, rows, block):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(arrow, "BLOCK", block)
        return read(path, rows)


@pytest.mark.parametrize(("between", "end"), [("\n", "\n"), ("\n", ""), ("\r\n", "\r\n"), ("\n", "\n\n")])
def test_usual_lines_are_not_left_to_the_slow_reader(tmp_path, between, end):
    file = tmp_path / "t.jsonl"
    file.write_bytes((between.join([row_of(0), row_of(1)]) + end).encode())
    assert arrow.json_cells(file, ["timestamp"], []) is not None


def test_a_date_without_a_time_is_refused(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text(AZURE + "2023-11-17,1,1\n")
    with pytest.raises(BadInput, match="row 3, column 'TIMESTAMP': '2023-11-17' is not a date and time"):
        load_trace(file)


@pytest.mark.parametrize("name", ["t.parquet", "t.csv.zst"])
def test_without_pyarrow_one_line_says_what_to_install(tmp_path, monkeypatch, name):
    file = tmp_path / name
    file.write_bytes(b"something")
    monkeypatch.setattr(arrow, "INSTALLED", False)
    with pytest.raises(BadInput, match=r"needs pyarrow: pip install 'llmqueue-gym\[traces\]'"):
        load_trace(file)


@pytest.mark.parametrize("name", ["t.parquet", "t.csv.zst", "t.csv.gz"])
def test_a_damaged_file_is_refused(tmp_path, name):
    file = tmp_path / name
    file.write_bytes(b"something")
    with pytest.raises(BadInput, match="cannot read"):
        load_trace(file)


def test_a_parquet_file_that_lacks_a_column_names_it(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    file = tmp_path / "t.parquet"
    parquet.write_table(pa.table({"arrival_s": [0.0], "prompt_tokens": [1], "output_token": [1]}), file)
    with pytest.raises(BadInput, match=r"no column 'output_tokens'.*output_token"):
        load_trace(file)


ODD = {
    "rows": ({"arrival_s": [], "prompt_tokens": [], "output_tokens": []}, "is empty: no data rows under"),
    "class with a null": ({"class": ["a", None]}, "row 2, column 'class': there is nothing"),
    "class of nulls": ({"class": [None, None]}, "row 1, column 'class': there is nothing"),
    "client with a null": ({"client": [4, None]}, "row 2, column 'client': there is nothing"),
    "class of lists": ({"class": [[1], [2]]}, r"row 1, column 'class': \[1\] is neither a text nor a number"),
    "client of objects": ({"client": [{"a": 1}] * 2}, "row 1, column 'client'.*neither a text nor a number"),
    "session of lists": ({"session": [[1], [2]]}, r"row 1, column 'session': \[1\] is neither a text nor a number"),
    "dates": ({"arrival_s": np.array([1, 2], "datetime64[ns]")}, "row 1, column 'arrival_s'.*is not a number"),
}


@pytest.mark.parametrize("what", ODD)
def test_an_odd_parquet_file_is_refused_in_one_line(tmp_path, what):
    import pyarrow as pa
    from pyarrow import parquet

    columns, words = ODD[what]
    file = tmp_path / "t.parquet"
    usual = {"arrival_s": [0.0, 1.0], "prompt_tokens": [1, 2], "output_tokens": [1, 2]}
    parquet.write_table(pa.table(usual | columns), file)
    with pytest.raises(BadInput, match=words) as told:
        load_trace(file)
    assert "\n" not in str(told.value)

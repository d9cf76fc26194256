"""Files that pyarrow reads give the traces, and the errors, that the readers in `columns` give."""

import gzip
import json

import numpy as np
import pytest

from llmqueue_gym import arrow
from llmqueue_gym.errors import BadInput
from llmqueue_gym.workloads.traces import load_trace

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

    def said(load):
        try:
            made = load()
        except BadInput as error:
            return str(error)
        return made.prompt_tokens.tolist(), made.output_tokens.tolist()

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

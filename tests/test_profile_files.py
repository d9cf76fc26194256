"""Cost profiles on disk, and the commands that list, show and write them."""

import json
import os

import numpy as np
import pytest
from click.testing import CliRunner
from measured_iterations import synthetic, write_csv

from llmqueue_gym.cli.profile import profile as command
from llmqueue_gym.engines.batching import cost
from llmqueue_gym.errors import BadInput
from llmqueue_gym.profiles import PROFILES, Profile, profile
from llmqueue_gym.profiles.base import COUNTS
from llmqueue_gym.profiles.files import read_profile, write_profile
from llmqueue_gym.profiles.iterations import read_iterations
from llmqueue_gym.profiles.plot import plot_fit

NAMES = [name for name in PROFILES if name != "file"]


# On disk.


@pytest.mark.parametrize("name", NAMES)
def test_profiles_come_back_from_json(tmp_path, name):
    made, path = profile(name), tmp_path / "made.json"
    write_profile(path, made, {"rows": 3})
    again = profile(f"file:{path}")
    np.testing.assert_array_equal(again.numbers, made.numbers)
    assert str(again.to_dict()) == str(made.to_dict())  # as text, because NaN is not equal to itself
    assert read_profile(str(path), kv_tokens=77).kv_tokens == 77
    assert profile(f"file:{path},kv_bytes_per_token=9").kv_bytes_per_token == 9
    assert os.listdir(tmp_path) == ["made.json"]


def test_failing_to_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "made.json"
    write_profile(path, profile("unit"))
    before = path.read_text()
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_profile(path, profile("gpt3-175b"))
    assert path.read_text() == before and os.listdir(tmp_path) == ["made.json"]


def test_a_device_is_neither_replaced_nor_read_for_ever(tmp_path):
    for path in (os.devnull, tmp_path):
        with pytest.raises(OSError, match="not a file that can be replaced"):
            write_profile(path, profile("unit"))
    with pytest.raises(BadInput, match="cannot read /dev/zero: it has more than"):
        read_profile("/dev/zero")
    (tmp_path / "link.json").symlink_to(tmp_path / "made.json")
    write_profile(tmp_path / "link.json", profile("unit"))
    assert (tmp_path / "link.json").is_symlink() and read_profile(str(tmp_path / "made.json")).name == "unit"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"modell": "x"}, "no field 'modell'; did you mean 'model'"),
        ({"source": None}, "source=None"),
        ({"kv_tokens": "many"}, "kv_tokens='many'"),
        ({"kv_tokens": True}, "kv_tokens=True"),
        ({"numbers": ["a"]}, "numbers="),
        ({"numbers": [1, None, 0, 0, 0]}, "nan is not finite"),
        ({"power": 3}, "power=3"),
        ({"power": {"idle": 1}}, "lacks the field 'prefill'"),
        ({"form": "x"}, "unknown form"),
        ({"form": "vidur-tables"}, "form 'vidur-tables' has 46209 numbers, not 5"),
        ({"numbers": [1e308, 0, 0, 0, 0]}, "1e\\+308 is not finite and from 0 to 1e"),
        ({"numbers": [1e-320, 0, 0, 0, 0]}, "must take some time"),
        ({"numbers": [10**400, 0, 0, 0, 0]}, "numbers="),
        ({"kv_tokens": 1e300}, "kv_tokens=1e\\+300"),
        ({"kv_tokens": 10**400}, "kv_tokens="),
        ({"kv_bytes_per_token": 1e308}, "must lie between 0 and"),
        ({"price_per_hour": -1}, "must lie between 0 and"),
        ({"power": {"idle": 1e300, "prefill": 1, "decode": 1}}, "power.idle"),
        ({"name": "a\nb"}, "must be one line of text"),
        ({"name": "\ud800"}, "surrogates not allowed"),
    ],
)
def test_wrong_files(tmp_path, change, words):
    path = tmp_path / "made.json"
    path.write_text(json.dumps({**profile("unit").to_dict(), "memory_gb": None, **change}).replace("NaN", "null"))
    with pytest.raises(BadInput, match=words) as caught:
        read_profile(str(path))
    assert str(path) in str(caught.value)


def test_files_that_are_none(tmp_path):
    path = tmp_path / "made.json"
    for text in ("", "{", "[1]", "\x00", "[" * 100_000, '{"a":' * 100_000, "9" * 5000, '{"numbers": NaN}'):
        path.write_text(text)
        with pytest.raises(BadInput, match="made"):
            read_profile(str(path))
    told = profile("unit").to_dict()
    del told["numbers"]
    path.write_text(json.dumps(told))
    with pytest.raises(BadInput, match="lacks the field 'numbers'"):
        read_profile(str(path))


def test_tables_have_the_shape_that_the_engine_reads():
    cells = cost.LINEAR + cost.DECODE * cost.DECODE_PAGES + cost.NEW + cost.PAGES * cost.CHUNK
    assert COUNTS["vidur-tables"] == 1 + cells


# The command line.


@pytest.fixture
def measured(tmp_path):
    table = synthetic(200, noise=0.02)
    columns = (table.prefill_tokens, table.decodes, table.context, table.pairs, 1e3 * table.seconds)
    return write_csv(
        tmp_path / "mine.csv", "prefill_tokens,decodes,context,pairs,ms", np.stack(columns, axis=1).tolist()
    )


def call(*arguments):
    return CliRunner().invoke(command, [str(word) for word in arguments])


def test_list_and_show():
    listed = json.loads(call("list", "--json").output)["profiles"]
    assert [entry["name"] for entry in listed] == NAMES and all(entry["description"] for entry in listed)
    text = call("list").output
    assert all(name in text for name in NAMES)
    shown = json.loads(call("show", "splitwise-a100-llama2-70b", "--json").output)
    assert shown["milliseconds"]["prompt of 512 tokens"] == pytest.approx(93.02)
    assert "3200 prefill" in call("show", "splitwise-a100-llama2-70b").output
    assert "watts" not in call("show", "unit").output
    assert isinstance(call("show", "unti").exception, BadInput)


def test_fit_writes_and_draws(tmp_path, measured):
    out, picture = tmp_path / "mine.json", tmp_path / "mine.png"
    ran = call("fit", measured, "--kv-tokens", 5000, "--name", "mine", "--out", out, "--plot", picture, "--json")
    found = json.loads(ran.output)
    assert found["held_out"]["mape"] < 3 and found["profile"]["name"] == "mine"
    made = profile(f"file:{out}")
    assert isinstance(made, Profile) and made.kv_tokens == 5000 and made.numbers.tolist() == found["profile"]["numbers"]
    assert json.loads(out.read_text())["fit"]["rows"] == 200
    assert picture.read_bytes().startswith(b"\x89PNG")
    text = call("fit", measured, "--kv-tokens", 5000).output
    assert "held_out" in text and "context" in text


@pytest.mark.parametrize("plot", ["a.foo", "missing\0/a.png", "."])
def test_a_picture_that_cannot_be_written_leaves_no_profile(tmp_path, measured, plot):
    out = tmp_path / "mine.json"
    ran = call("fit", measured, "--kv-tokens", 5000, "--out", out, "--plot", tmp_path / plot)
    assert isinstance(ran.exception, (BadInput, OSError, ValueError))
    assert os.listdir(tmp_path) == ["mine.csv"]


def test_drawing_needs_a_roofline_a_format_and_matplotlib(tmp_path, measured, monkeypatch):
    table = read_iterations(measured)
    with pytest.raises(BadInput, match="only rooflines"):
        plot_fit(profile("vllm-opt-13b-tp1"), table, tmp_path / "a.png")
    with pytest.raises(BadInput, match="foo"):
        plot_fit(profile("unit"), table, tmp_path / "a.foo")
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(BadInput, match="pip install matplotlib"):
        plot_fit(profile("unit"), table, tmp_path / "a.png")

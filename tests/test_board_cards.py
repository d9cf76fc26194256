"""Cards, numbers and other files of entries that would cheat or break out."""

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from llmqueue_gym.boards import boards, cell, outside
from llmqueue_gym.errors import BadInput

OURS = {**os.environ, "PYTHONPATH": str(Path(cell.__file__).parents[2])}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"command": None}, "'command' is missing"),
        ({"command": "  "}, "'command' is missing"),
        ({"board": "mg2"}, "unknown board 'mg2'; did you mean 'mg1'"),
        ({"board": ["mg1"]}, "'board' is missing"),
        ({"name": None}, "'name' is missing"),
        ({"name": "../x"}, "must be letters, digits"),
        ({"name": "_bound"}, "must be letters, digits"),
        ({"name": ".hidden"}, "must be letters, digits"),
        ({"name": "mine\n"}, "printable letters"),
        ({"name": "spr\N{CYRILLIC SMALL LETTER ER}t"}, "of ASCII"),
        ({"name": "\N{FULLWIDTH DIGIT ONE}"}, "of ASCII"),
        ({"name": "x" * 65}, "at most 64"),
        ({"name": "srpt"}, "has a policy of that name"),
        ({"name": "SRPT"}, "has a policy of that name"),
        ({"name": "power_of_d"}, "has a policy of that name"),  # of another board
        ({"name": "learned-gittins-weibull"}, "has a policy of that name"),
        ({"description": "\x1b[2J"}, "printable letters"),
        ({"description": "\N{RIGHT-TO-LEFT OVERRIDE}"}, "printable letters"),
        ({"description": "x" * 501}, "at most 500"),
        ({"learned": 1}, "'learned' must be true or false"),
        ({"curve": [[1.0, "<img>"]]}, "'curve' must be rows of numbers"),
        ({"curve": [[10**400, 1]]}, "'curve' must be rows of numbers"),
        ({"curve": [[]]}, "'curve' must be rows"),
        ({"cost": {"seconds": "5"}}, "'cost' must be numbers"),
        ({"cost": {"\ud800": 3}}, "not JSON"),
        ({"cost": {"\x1b[2J": 3}}, "'cost' must be numbers"),
        ({"score": {"": 3}}, "'score' must be numbers"),
        ({"board": "impatient"}, "preemptive=False"),
    ],
)
def test_a_card_that_says_too_little_or_too_much_is_refused(changes, told, entry, small):
    with pytest.raises(BadInput) as refused:
        outside.read(entry(**changes), boards() if changes.get("board") == "impatient" else small)
    assert told in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("card", [b"[" * 100_000, b'{"name": NaN}', b"\xff", b"[]", b"", b" " * 300_000, b"9" * 5000])
def test_a_card_that_is_none_is_refused(card, entry, small):
    with pytest.raises(BadInput, match=r"card\.json") as refused:
        outside.read(entry(files={"card.json": card}), small)
    assert "\n" not in str(refused.value)


NET = {"kind": "order", "traits": {}, "trained_on": {}, "cost": {}, "seeds": []}


def packed(array=None, name="params.npy", data=None, **more):
    """An npz file of an array, or of other data."""
    if data is None:
        buffer = io.BytesIO()
        np.save(buffer, array)
        data = buffer.getvalue()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as into:
        for member, content in {name: data, **more}.items():
            into.writestr(member, content)
    return file.getvalue()


class Pickled:
    def __reduce__(self):
        return (print, ("run",))


def header(shape, dtype="<f8"):
    """An array that claims to be of a shape."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": dtype, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


NUMBERS = {
    "pickled": packed(np.array([Pickled()], dtype=object)),
    "a bomb": packed(data=bytes(2**27)),
    "a shape without end": packed(data=header((10**15,))),
    "a shape of two": packed(np.ones((2, 3))),
    "a shape of none": packed(data=header(())),
    "whole numbers": packed(np.arange(6)),
    "text": packed(np.array(["a"])),
    "a record": packed(np.zeros(3, [("x", "f8")])),
    "the other byte order": packed(np.ones(3, ">f8")),
    "another member": packed(np.ones(3), more=b"x"),
    "another name": packed(np.ones(3), "../params.npy"),
    "no members": packed(np.ones(3))[:0] + b"PK\x05\x06" + bytes(18),
    "cut": packed(np.ones(300))[:-40],
    "no archive": b"params",
    "too large": bytes(70_000),
    "a header without end": packed(data=b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65_535),
    "a header of another form": packed(data=b"\x93NUMPY\x01\x00\x0c\x00{1: 2,'a':3}\n"),
    "a header that does not end": packed(data=b"\x93NUMPY\x01\x00\x04\x00[[[}"),
    "another network": packed(np.ones(7)),
    "numbers that are none": packed(np.full(6, np.nan)),
    "too many": packed(np.r_[99.0, 1.0, np.ones(4 + 99 * 6)]),
}


@pytest.mark.parametrize("numbers", NUMBERS.values(), ids=NUMBERS)
def test_numbers_that_are_none_or_too_many_are_refused(numbers, entry, small, capfd):
    with pytest.raises(BadInput) as refused:
        outside.read(entry(None, {"policy.npz": numbers}, **NET), small)
    assert "\n" not in str(refused.value) and capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"traits": {"prepare": "x"}}, "cannot set 'prepare'"),
        ({"traits": {"predictor": "lognormal:sigma=0.001"}}, "must be one of 'exact', None"),
        ({"traits": {"preemptive": 1}}, "must be True or False"),
        ({"traits": {"lcfs_up_to": True}}, "must be a finite number"),
        ({"traits": {"lcfs_up_to": 10**400}}, "must be a finite number"),
        ({"traits": {"params": [1.0]}}, "cannot set 'params'"),
        ({"traits": {"name": "srpt"}}, "cannot set 'name'"),
        ({"kind": "dispatch", "board": "mg1"}, "not a network of 8 features"),
        ({"kind": "os:system"}, "unknown kind"),
        ({"seeds": [[0, 10]]}, "from 10000 on"),
    ],
)
def test_a_network_brings_its_numbers_and_no_more(changes, told, entry, small):
    numbers = packed(np.array([0.0, 1.0, 1.0, 0.0, 0.0, 0.0]))
    assert outside.read(entry(None, {"policy.npz": numbers}, **NET), small)[1].learned
    with pytest.raises(BadInput, match=told):
        outside.read(entry(None, {"policy.npz": numbers}, **{**NET, **changes}), small)


def test_only_plain_files_are_read(entry, small, tmp_path):
    folder = entry(None)
    with pytest.raises(BadInput, match=r"neither policy\.py nor policy\.npz"):
        outside.read(folder, small)
    for make in (lambda path: path.symlink_to("/dev/zero"), os.mkfifo, os.mkdir):
        make(folder / "policy.py")
        with pytest.raises(BadInput, match=r"policy\.py: not a plain file"):
            outside.read(folder, small)
        (folder / "policy.py").rmdir() if (folder / "policy.py").is_dir() else (folder / "policy.py").unlink()
    with pytest.raises(BadInput, match="both are there"):
        outside.read(entry(files={"policy.npz": b"x"}), small)
    with pytest.raises(BadInput, match="no such file; an entry is a folder"):
        outside.read(tmp_path / "nothing", small)


def test_nothing_that_lies_beside_an_entry_is_imported(tmp_path):
    """Processes may begin in the folder of an entry, where modules of any name may lie."""
    beside = tmp_path / "entry"
    beside.mkdir()
    for name in ("multiprocessing", "pickle", "numpy", "sitecustomize", "llmqueue_gym", "signal", "policy"):
        (beside / f"{name}.py").write_text("import pathlib\npathlib.Path('trapped').touch()\n")
    script = tmp_path / "script.py"
    script.write_text(
        "from llmqueue_gym.boards.workers import pool\n"
        "if __name__ == '__main__':\n"
        "    with pool(1) as run:\n"
        "        print(run.submit(abs, -5).result())\n"
    )
    done = subprocess.run([sys.executable, script], cwd=beside, env=OURS, capture_output=True, text=True)
    assert not (beside / "trapped").exists() and done.stdout == "5\n", done.stderr

"""The cache of compiled code: a kernel is compiled anew when a file of its folder changes, or the cache is damaged."""

import os
import subprocess
import sys

import pytest

HELPER = "from llmqueue_gym._jit import kernel\n\n\n@kernel\ndef helper(x):\n    return x + {}\n"
CALLER = (
    "from llmqueue_gym._jit import kernel\nfrom made.helper import helper\n\n\n"
    "@kernel\ndef caller(x):\n    return helper(x)\n"
)
RUN = "from made.caller import caller; print(caller(1)); print(sum(caller.stats.cache_hits.values()))"


TABLES = "from typing import NamedTuple\n\n\nclass {0}(NamedTuple):\n    x: float\n\n\nmade = {0}(2.0)\n"
TAKER = "from llmqueue_gym._jit import kernel\n\n\n@kernel\ndef taker(tables):\n    return tables.x\n"


def python(tmp_path, code):
    """Return the words that code prints in a process of its own, with the package `made` of this folder, and stderr."""
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    env.pop("NUMBA_DISABLE_JIT", None)
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    return done.stdout.split(), done.stderr


def package(tmp_path, **files):
    folder = tmp_path / "made"
    folder.mkdir()
    for name, text in {"__init__": "", **files}.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def test_a_cache_whose_classes_have_other_names_now_is_not_read(tmp_path):
    folder = package(tmp_path, tables=TABLES.format("Old"), taker=TAKER)
    call = "from made.taker import taker; from made.tables import made; print(taker(made))"
    assert python(tmp_path, call) == (["2.0"], "")
    (folder / "tables.py").write_text(TABLES.format("New"))
    assert python(tmp_path, call) == (["2.0"], "")


def test_a_change_in_a_neighbouring_file_reaches_the_caller(tmp_path):
    folder = package(tmp_path, helper=HELPER.format(1), caller=CALLER)

    def run():
        return python(tmp_path, RUN)[0]

    assert run() == ["2", "0"]
    assert run() == ["2", "1"]  # from the cache
    (folder / "helper.py").write_text(HELPER.format(10))
    assert run() == ["11", "0"]


LAYERS = """
from llmqueue_gym._jit import inner_kernel, kernel, part_kernel


@part_kernel
def part(x):
    return x + 1


@inner_kernel
def inner(x):
    return part(x)


@kernel
def outer(x):
    return inner(x)


print(outer(1), *(one.overloads.popitem()[1].fndesc.inline for one in (part, inner, outer)))
"""


def test_what_a_part_calls_is_not_forced_into_all_above(tmp_path):
    """It makes one function of everything, which takes minutes to compile."""
    package(tmp_path, layers=LAYERS)
    words, _ = python(tmp_path, "import made.layers")
    assert words == ["2", "False", "True", "False"]


def test_a_change_in_another_folder_reaches_the_caller(tmp_path):
    folder = package(tmp_path, caller=CALLER.replace("made.helper", "made.parts.helper"))
    (folder / "parts").mkdir()
    (folder / "parts" / "__init__.py").write_text("")
    (folder / "parts" / "helper.py").write_text(HELPER.format(1))
    assert python(tmp_path, RUN)[0] == ["2", "0"]
    (folder / "parts" / "helper.py").write_text(HELPER.format(10))
    assert python(tmp_path, RUN)[0] == ["11", "0"]


def test_a_change_two_folders_down_reaches_the_caller(tmp_path):
    folder = package(tmp_path, caller=CALLER.replace("made.helper", "made.parts.helper"))
    between = CALLER.replace("made.helper import helper", "made.parts.deep.lowest import helper as lowest")
    between = between.replace("def caller", "def helper").replace("return helper(x)", "return lowest(x)")
    for name, text in (("parts", between), ("parts/deep", HELPER.format(1))):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("")
        (folder / name / ("helper.py" if name == "parts" else "lowest.py")).write_text(text)
    assert python(tmp_path, RUN)[0] == ["2", "0"]
    (folder / "parts" / "deep" / "lowest.py").write_text(HELPER.format(10))
    assert python(tmp_path, RUN)[0] == ["11", "0"]


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-7])


def garble(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


def empty(path):
    path.write_bytes(b"")


def test_code_of_other_sources_is_not_taken_for_that_of_these(tmp_path):
    """Who finds the list of files that another process has just made may find the old files still there."""
    folder = package(tmp_path, helper=HELPER.format(1))
    call = "from made.helper import helper; print(helper(1)); print(sum(helper.stats.cache_hits.values()))"
    assert python(tmp_path, call) == (["2", "0"], "")
    (old,) = (folder / "__pycache__").glob("*.nbc")
    kept = old.read_bytes()
    (folder / "helper.py").write_text(HELPER.format(10))
    assert python(tmp_path, call) == (["11", "0"], "")
    old.write_bytes(kept)
    assert python(tmp_path, call) == (["11", "0"], "")
    assert python(tmp_path, call) == (["11", "1"], "")


def test_code_of_other_types_is_not_taken_for_that_of_these(tmp_path):
    folder = package(tmp_path, helper=HELPER.format(1))
    call = "from made.helper import helper; print(helper({})); print(sum(helper.stats.cache_hits.values()))"
    assert python(tmp_path, call.format(1)) == (["2", "0"], "")
    (whole,) = (folder / "__pycache__").glob("*.nbc")
    assert python(tmp_path, call.format(1.5)) == (["2.5", "0"], "")
    (real,) = {*(folder / "__pycache__").glob("*.nbc")} - {whole}
    whole.write_bytes(real.read_bytes())
    assert python(tmp_path, call.format(1)) == (["2", "0"], "")


@pytest.mark.parametrize(("suffix", "damage"), [("nbi", cut_off), ("nbc", cut_off), ("nbc", garble), ("nbi", empty)])
def test_a_damaged_cache_is_rebuilt_with_one_line(tmp_path, suffix, damage):
    folder = package(tmp_path, helper=HELPER.format(1))
    call = "from made.helper import helper; print(helper(1))"
    python(tmp_path, call)
    (file,) = (folder / "__pycache__").glob(f"*.{suffix}")
    damage(file)
    words, errors = python(tmp_path, call)
    assert words == ["2"] and file.name in errors and errors.count("\n") == 1
    assert python(tmp_path, call) == (["2"], "")

"""Does any command line, however hostile, end in a traceback, in silence, too late, or with half a file?

Draws commands with values that are wrong, odd, empty, huge or tiny, and with broken files of every kind that is read,
and runs them one after another in a process of its own, which is started anew where one does not end. Each has to end
within ten seconds, with status 0 and a result or with status 2, one line on stderr, nothing on stdout and no new file.
Prints what broke which promise, with the number by which `--only` plays it again; exits 1 if anything did.

    python experiments/fuzz_commands.py --runs 500 --seed 1
"""

import argparse
import contextlib
import gzip
import inspect
import io
import json
import multiprocessing
import os
import shlex
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

from llmqueue_gym.cli import cli, main
from llmqueue_gym.cli.options import BySystem
from llmqueue_gym.distributions import DISTRIBUTIONS
from llmqueue_gym.engines.batching.rule_sets import RULE_SETS
from llmqueue_gym.policies import POLICIES
from llmqueue_gym.predictors import PREDICTORS
from llmqueue_gym.predictors.lengths import LENGTH_PREDICTORS
from llmqueue_gym.profiles import PROFILES, profile
from llmqueue_gym.registry import kinds_of
from llmqueue_gym.systems import SYSTEMS
from llmqueue_gym.workloads import ARRIVALS
from llmqueue_gym.workloads.requests import LENGTHS
from llmqueue_gym.workloads.traces import TRACE_FORMATS

SECONDS = 10.0  # that a call may take
FIRST = 240.0  # that the first calls of a process may take, which compile
LOST = "lost"
WARM_UP = ["simulate --policy fcfs --jobs 50", "simulate replica --policy ltr --load .5 --requests 50"]
FLOATS = [
    *("nan", "inf", "-inf", "-1", "0", "-0.0", "1e308", "1e-308", "5e-324", "1e400", "1e18", "1e-9", "0.999999999999"),
    *("1e9", "1e-30", "1e100", "1000", "2", "0.5", "1", "3.7", "0.99"),
]
WHOLE = ["0", "-1", "1", "2", "3", "7", "100", "2147483648", "9" * 12, str(2**63), "9" * 22]
NUMBERS = [*FLOATS, *WHOLE, "1_000", "٣", "0x10", "true", "none", "x"]
ODD = [
    "",
    " ",
    ",",
    ",,",
    ":",
    ";",
    "=",
    "a=b",
    "--",
    "-",
    "🙂",
    "\udcff",
    "a\nb",
    "x" * 5000,
    "/",
    "/dev/null",
    "/dev/zero",
]
SPECS = {  # options, and what they are read by
    "size": [DISTRIBUTIONS, LENGTHS],
    "predictor": [PREDICTORS, LENGTH_PREDICTORS],
    "arrivals": [ARRIVALS],
    "profile": [PROFILES],
    "rules": [RULE_SETS],
    "patience": [DISTRIBUTIONS],
    "trace_format": [TRACE_FORMATS],
}
LISTS = {
    "speeds": ["1,2", "1e308,1e308", "1e-308", "1,,2", "2;1", "nan", ",".join(["1"] * 300)],
    "needs": ["1,2,4", "1:0.5,2:0.5", "0", "1,1", "9" * 22, "1:nan", "1:1e308,2:1e308", ",".join(["1"] * 2000)],
    "curves": ["power:exponent=0.5", "amdahl:fraction=nan", "power:exponent=1e308", "power:exponent=0.5|", "|"],
}
SMALL = {"n_jobs": ["1", "2", "40", "300"], "load": ["0.3", "0.8"], "seed": ["0", "7"], "servers": ["1", "2", "5"]}
ROWS = {  # of each kind of table: header, a good row, and the suffix of its name
    "trace": ("arrival_s,prompt_tokens,output_tokens", [1.0, 30, 20]),
    "azure": ("TIMESTAMP,ContextTokens,GeneratedTokens", ["2023-11-16 18:15:46.6805900", 30, 20]),
    "lengths": ("prompt_tokens,output_tokens", [30, 20]),
    "pairs": ("output_tokens,predicted_tokens", [20, 25]),
    "mooncake": ("timestamp,input_length,output_length,hash_ids", [1000, 30, 20, [0]]),
    "rounds": ("timing_events,input_tokens_total,output_tokens", [[], 30, 20]),
    "iterations": ("prefill_tokens,decodes,context,seconds", [30, 2, 900, 0.02]),
    "vllm": (
        "context_requests,context_tokens,generation_requests,generation_tokens,elapsed_ms,kv_usage",
        [1, 30, 2, 2, 20, 0.1],
    ),
}
CELLS = [
    *NUMBERS,
    *ODD[:9],
    1e300,
    3_000_000_000,
    -5,
    None,
    True,
    [],
    {},
    [[1]],
    "2023-11-16",
    "0001-01-01 00:00:00+23:59",
]

Call = list[str]


def calls(runs: int, seed: int, folder: Path) -> Iterator[Call]:
    """Yield command lines; what they read lies in the folder, and what they write would lie in `folder / "out"`."""
    for run in range(runs):
        rng = np.random.default_rng([seed, run])
        make: Callable[..., Call] = _pick(rng, [*[_by_system] * 7, *[_profile] * 2, _other])
        yield [text for text in make(rng, folder)]


def _pick(rng: np.random.Generator, values: Any) -> Any:
    return values[int(rng.integers(len(values)))]


def _by_system(rng: np.random.Generator, folder: Path) -> Call:
    command = _pick(rng, ["simulate", "simulate", "simulate", "compare", "theory"])
    group: Any = cli.commands[command]
    assert isinstance(group, BySystem)
    kind = SYSTEMS.builder(_pick(rng, [*SYSTEMS, "replica", "replica"]))
    options = {str(option.name): option for option in (*group.own, *group._options(kind))}
    policies = [name for name in kind.policies if not name.startswith(("learned", "drop"))]
    given = {"n_jobs": _pick(rng, SMALL["n_jobs"])}
    if command == "compare":
        given["policies"] = ",".join({_pick(rng, policies) for _ in range(2)})
    else:
        given["policy"] = _pick(rng, policies)
    for _ in range(int(_pick(rng, [1, 1, 1, 2, 3]))):
        name = _pick(rng, list(options))
        given[name] = _value(rng, options[name], kind, policies, folder)
    args = [command, kind.name]
    for name, value in given.items():
        if name in options:
            args += [options[name].opts[0]] if options[name].is_flag else [options[name].opts[0], value]
    return args


def _value(rng: np.random.Generator, option: click.Option, kind: Any, policies: list[str], folder: Path) -> str:
    """Return a value of an option of a system, more often wrong than right."""
    name = str(option.name)
    if rng.random() < 0.1:
        return _pick(rng, ODD)
    if name in ("plot", "rows_out"):
        return str(
            _pick(rng, [folder / "out" / f"a{_pick(rng, ['.png', '.csv', '.foo', ''])}", "/proc/x/a.png", folder])
        )
    if name == "trace":
        return str(_table(rng, folder, _pick(rng, list(ROWS))))
    if name in ("policy", "policies", "order"):
        table = kind.policies if name != "order" else POLICIES
        return _spec(rng, _pick(rng, policies if name != "order" else list(POLICIES)), folder, table)
    if name in SPECS:
        table = SPECS[name][len(SPECS[name]) > 1 and kind.name == "replica"]
        if name == "profile" and rng.random() < 0.5:
            return f"file:{_profile_file(rng, folder)}"
        return _spec(rng, _pick(rng, list(table)), folder, table)
    if name in LISTS:
        return _pick(rng, LISTS[name])
    if name in SMALL and rng.random() < 0.3:
        return _pick(rng, SMALL[name])
    if isinstance(option.type, click.types.IntParamType):
        return _pick(rng, WHOLE)
    return _pick(rng, FLOATS if isinstance(option.type, click.types.FloatParamType) else NUMBERS)


def _spec(rng: np.random.Generator, name: str, folder: Path, table: Any = None) -> str:
    """Return a name with parameters, some of which there are."""
    known = inspect.signature(table.builder(name)).parameters if table is not None else {}
    parts = []
    for key in {_pick(rng, list(known) or ["mean"]) for _ in range(int(rng.integers(3)))}:
        kinds = kinds_of(known[key].annotation) if key in known else []
        value = _pick(rng, FLOATS if "float" in kinds else WHOLE if "int" in kinds else NUMBERS)
        if key == "file":
            value = str(_table(rng, folder, _pick(rng, list(ROWS))))
        elif key == "law":
            value = f"weibull:shape={value}"
        parts.append(f"{key}={value}")
    return f"{name}:{','.join(parts)}" if parts else name


def _table(rng: np.random.Generator, folder: Path, kind: str) -> Path:
    """Write a table in which something is wrong, and return its path."""
    header, good = ROWS[kind]
    names, many = header.split(","), int(_pick(rng, [0, 1, 3, 40, 40, 40]))
    rows = [[row + good[0] if isinstance(good[0], float) else good[0], *good[1:]] for row in range(many)]
    for _ in range(int(rng.integers(0, 3)) if rows else 0):
        _pick(rng, rows)[int(rng.integers(len(names)))] = _pick(rng, CELLS)
    if kind in ("mooncake", "rounds") or rng.random() < 0.1:
        text = "\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in rows)
    else:
        lines = [",".join(str(cell) for cell in row) for row in rows]
        text = "\n".join([header, *lines]).encode("utf-8", "replace").decode()
    data = text.encode()
    odd = rng.random()
    if odd < 0.05:
        data = b"[" * 100_000 if odd < 0.02 else b'{"timestamp": ' + b"[" * 100_000
    elif odd < 0.1:
        data = data[: len(data) // 2] + b"\xff\x00"
    path = folder / f"{kind}-{rng.integers(1 << 30)}{'.csv' if text[:1] != '{' else '.jsonl'}"
    if odd > 0.9:
        row = f"{','.join(str(cell) for cell in good)}\n".encode()
        path, data = path.with_name(path.name + ".gz"), gzip.compress(data if odd < 0.97 else data + row * 4_000_000, 1)
    path.write_bytes(data)
    return path


def _profile_file(rng: np.random.Generator, folder: Path) -> Path:
    """Write a profile in which something is wrong, and return its path."""
    shipped = [name for name in PROFILES if name != "file"]
    told = json.loads(json.dumps(profile(_pick(rng, shipped)).to_dict()))
    numbers = [
        float("nan"),
        float("inf"),
        1e308,
        1e-320,
        0,
        -1,
        1e18,
        10**400,
        "1",
        None,
        [],
        {},
        True,
        "\ud800",
        "a\nb",
    ]
    for _ in range(int(rng.integers(1, 3))):
        key = _pick(rng, list(told))
        if key == "numbers":
            told[key][int(rng.integers(len(told[key])))] = _pick(rng, numbers)
        elif key == "form":
            told[key] = _pick(rng, ["roofline", "phases", "splitwise", "vidur-tables", "x", 3])
        else:
            told[key] = _pick(rng, numbers)
    text = json.dumps(told)
    if rng.random() < 0.1:
        text = _pick(
            rng, ["[" * 100_000, '{"a":' * 100_000, "", "[]", "3", text[: len(text) // 2], '{"numbers": 1e999}']
        )
    path = folder / f"profile-{rng.integers(1 << 30)}.json"
    path.write_text(text, encoding="utf-8")
    return path


def _profile(rng: np.random.Generator, folder: Path) -> Call:
    if rng.random() < 0.3:
        return ["profile", "show", _pick(rng, [f"file:{_profile_file(rng, folder)}", _spec(rng, "unit", folder)])]
    args = ["profile", "fit", str(_table(rng, folder, _pick(rng, ["iterations", "iterations", "vllm", "trace"])))]
    args += ["--kv-tokens", _pick(rng, ["1000", "1000", *NUMBERS])]
    for option in ("--out", "--plot", "--name", "--kv-bytes-per-token"):
        if rng.random() < 0.3:
            values = [folder / "out" / _pick(rng, ["a.json", "a.png", "a.foo"]), "/proc/x/a.png", folder, "", " "]
            args += [option, str(_pick(rng, values if option in ("--out", "--plot") else NUMBERS + ODD))]
    return args


def _other(rng: np.random.Generator, folder: Path) -> Call:
    value = _pick(rng, NUMBERS + ODD)
    return _pick(
        rng,
        [
            ["reproduce", _pick(rng, ["table1", "closed-forms", value]), "--jobs", _pick(rng, ["1", "1600", value])],
            ["bench", "--out", str(folder / "out"), "--data", _pick(rng, ["/nonexistent", value]), "--seeds", "1"],
            ["envs", value],
            [_pick(rng, ["policies", "systems", "rules", "workloads", value]), "--json"],
            [value, "--policy", "fcfs"],
            ["simulate", value],
        ],
    )


def judge(call: Call, folder: Path) -> tuple[str, list[str]]:
    """Run a command line in this process; return how it ended, in a line, and which promises it broke."""
    out, err, broken = io.StringIO(), io.StringIO(), list[str]()
    before, start, status = _files(folder), time.process_time(), None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(call)
        except SystemExit as ended:
            status = ended.code
        except BaseException:
            broken.append(f"traceback: {traceback.format_exc().strip().splitlines()[-1]}")
    lines = err.getvalue().splitlines()
    if status == 2:
        if len(lines) != 1 or not lines[0].startswith("llmqueue: error: "):
            broken.append(f"not one line of error but {lines[:3]}")
        if out.getvalue():
            broken.append(f"status 2 and on stdout {out.getvalue()[:100]!r}")
        if _files(folder) != before:
            broken.append(f"status 2 and files {sorted(_files(folder) - before)}")
    elif status == 0:
        if lines:
            broken.append(f"status 0 and on stderr {lines[:2]}")
        if "--json" in call:
            with contextlib.suppress(ValueError):
                json.loads(out.getvalue(), parse_constant=lambda name: broken.append(f"{name} in JSON"))
    elif not broken:
        broken.append(f"status {status}")
    if any(Path(name).name.startswith(".") for name in _files(folder)):
        broken.append("a file that is half written")
    if (took := time.process_time() - start) > SECONDS:
        broken.append(f"took {took:.1f} s")
    return (lines[0] if lines else "done"), broken


def _files(folder: Path) -> set[str]:
    return {str(file) for file in Path(folder, "out").rglob("*")}


def _work(pipe: Any, folder: Path) -> None:
    """Judge the calls that come through a pipe."""
    sys.stdin = open(os.devnull)  # noqa: SIM115 (for good)
    for line in WARM_UP:
        judge(shlex.split(line), folder)
    pipe.send(None)
    while True:
        pipe.send(judge(pipe.recv(), folder))


def judged(given: Iterator[tuple[int, Call]], folder: Path) -> Iterator[tuple[int, Call, str, list[str]]]:
    """Yield each call, how it ended and what it broke; one that does not end is ended from outside."""
    context, worker, pipe = multiprocessing.get_context("spawn"), None, None
    try:
        for number, call in given:
            if worker is None:
                pipe, theirs = context.Pipe()
                worker = context.Process(target=_work, args=(theirs, folder), daemon=True)
                worker.start()
                theirs.close()
                if pipe.poll(FIRST):
                    pipe.recv()
            pipe.send(call)
            try:
                ended, found = pipe.recv() if pipe.poll(3 * SECONDS) else (LOST, ["does not end"])
            except EOFError:
                ended, found = LOST, ["the process died"]
            yield number, call, ended, found
            if ended == LOST:
                worker.kill()
                worker = None
    finally:
        if worker is not None:
            worker.kill()


def command_line() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="number of one call")
    parser.add_argument("--verbose", action="store_true", help="print every call and how it ended")
    asked, broken, done = parser.parse_args(), 0, 0
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "out").mkdir()
        given = enumerate(calls(asked.runs if asked.only is None else asked.only + 1, asked.seed, folder))
        chosen = (one for one in given if asked.only in (None, one[0]))
        for number, call, ended, found in judged(chosen, folder):
            broken, done = broken + bool(found), done + (ended == "done")
            if found or asked.verbose:
                print(
                    f"{number}: llmqueue {shlex.join(call)[:600]!r}\n    {'; '.join(found) or ended[:300]}", flush=True
                )
    print(f"{asked.runs if asked.only is None else 1} calls, {done} done, {broken} broke a promise")
    sys.exit(bool(broken))


if __name__ == "__main__":
    command_line()

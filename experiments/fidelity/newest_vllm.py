"""Does the newest vLLM still decide by the rules of `vllm-v1`?

Installs the newest vLLM that there is into an environment of its own (lean, without a GPU), lets its EngineCore serve
random requests with each of its features on and off, and compares every call of its scheduler with the simulator's.
Prints a line for each feature: its rules, by their numbers in `llmqueue_gym.engines.batching.rules`, and the first
difference, if any. Exits 1 if there is one.

    python experiments/fidelity/newest_vllm.py [--version 0.33.0] [--cases 40]

The simulator runs fastest here as plain Python: NUMBA_DISABLE_JIT=1.
"""

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import zlib
from itertools import zip_longest
from pathlib import Path
from typing import Any

from llmqueue_gym.evaluation.results import result, write_json

sys.path.insert(0, str(Path(__file__).parents[1]))
from fidelity import vllm as fidelity

ROOT = Path(__file__).parents[2]
OUT = Path(__file__).parents[1] / "results" / "newest_vllm.json"
SIMULATED = "0.33.0"  # whose rules `vllm-v1` are
FEATURES: dict[str, tuple[str, dict[str, Any]]] = {  # the rules that it adds, and what turns it on
    "first come first served": ("1-6, 9, 10, 12-14, 16-18", {}),
    "priority": ("7-9, 11", {"policy": "priority"}),
    "long prompts capped": ("5", {"long_prefill_token_threshold": 12}),
    "prompts never cut": ("12", {"enable_chunked_prefill": False, "max_num_batched_tokens": 160}),
    "watermark": ("15", {"watermark": 0.06}),
    "room for the first chunk is enough": ("13, 14", {"scheduler_reserve_full_isl": False}),
    "prefix caching": ("19-23", {"enable_prefix_caching": True}),
    "prefix caching, priority": ("7-9, 11, 19-23", {"enable_prefix_caching": True, "policy": "priority"}),
    "asynchronous": ("24", {"async_scheduling": True}),
    "asynchronous, priority": ("7-9, 11, 24", {"async_scheduling": True, "policy": "priority"}),
    "asynchronous, ends unknown": ("25", {"async_scheduling": True, "stop": "eos"}),
    "asynchronous, prefix caching": ("20, 24", {"async_scheduling": True, "enable_prefix_caching": True}),
}
OF_FIELD = {  # rules by which a field of a call is decided
    "t": "1",
    "add": "1",
    "s": "2-5",
    "adm": "10-16, 19",
    "p": "6-8",
    "fb": "6, 16, 21",
    "fin": "17, 18",
    "fa": "9, 18, 22",
    "run": "4, 16",
    "wait": "9, 11",
    "tok": "3",
}


def newest() -> str:
    """Return the newest version of vLLM that can be installed."""
    asked = subprocess.run([sys.executable, "-m", "pip", "index", "versions", "vllm"], capture_output=True, text=True)
    found = re.search(r"vllm \(([^)]+)\)", asked.stdout)
    if not found:
        raise SystemExit("no package index answers: name a version that is installed, --version 0.33.0")
    return found[1]


def interpreter(version: str) -> Path:
    """Return the interpreter of an environment with a version of vLLM, made now if there is none yet."""
    environment = ROOT / f".venv-engines-{version}"
    python, done = environment / "bin" / "python", environment / "installed"
    if not done.exists():
        own, known = (ROOT / "tests" / "engines" / f"requirements-vllm-{one}.txt" for one in (version, SIMULATED))
        packages = (own if own.exists() else known).read_text().replace(f"vllm=={SIMULATED}", f"vllm=={version}")
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        subprocess.run([*pip, "torch==2.13.0"], check=True)
        subprocess.run(
            [*pip, "--no-deps", *[line for line in packages.split("\n") if line and line[0] != "#"]], check=True
        )
        done.touch()
    return python


def random_case(rng: random.Random, changes: dict[str, Any]) -> dict[str, Any]:
    """Return an engine of little memory and requests for it; times are multiples of 1/512 s, so sums are exact."""
    longest, size = 128, rng.choice([4, 8, 16])
    config = {
        "num_blocks": 1 + -(-longest // size) + rng.randint(0, -(-2 * longest // size)),
        "block_size": size,
        "max_num_batched_tokens": rng.choice([24, 64, 160]),
        "max_num_seqs": rng.randint(2, 16),
        "max_model_len": longest,
        "enable_chunked_prefill": True,
        "policy": "fcfs",
        "long_prefill_token_threshold": 0,
        "watermark": 0.0,
        "scheduler_reserve_full_isl": True,
        "enable_prefix_caching": False,
        "async_scheduling": False,
        "stop": "max_tokens",
        "c0": 1 / 64,
        "c1": 1 / 512,
        **changes,
    }
    tick, rows = 0, []
    for i in range(rng.randint(2, 40)):
        tick += rng.choice([1, 1, 4, 30])
        prompt, pieces = rng.randint(1, 90), []
        if rows and rng.random() < 0.4:  # it goes on from what another said
            other = rng.choice(rows)
            pieces = [*other["segs"], [fidelity.OUTPUTS + other["id"], 0, rng.randint(1, other["out"])]]
        elif rng.random() < 0.5:
            pieces = [[5000 + rng.randrange(2), 0, rng.randint(4, 60)]]
        prompt = max(prompt, min(sum(piece[2] for piece in pieces) + 1, 90))
        segs, left = [], prompt
        for text, start, length in [*pieces, [1 + i, 0, prompt]]:
            if left > 0:
                segs.append([text, start, min(length, left)])
                left -= segs[-1][2]
        row = {"id": i, "arrival": tick / 512, "prompt": prompt, "out": rng.randint(1, 36)}
        rows.append({**row, "priority": rng.randrange(3), "segs": segs})
    return {"config": config, "requests": rows, "asynchronous": config["async_scheduling"]}


def real_calls(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the engine's calls in the fields of a log."""
    calls = []
    for t, added, scheduled, admitted, preempted, running, waiting, free, finished, after in found["calls"]:
        calls.append(
            {
                "t": round(t, 9),
                "add": [int(name) for name in added],
                "s": [int(name) if n == 1 else [int(name), n] for name, n in scheduled],
                "adm": [[int(name), computed, int(back)] for name, computed, back in admitted],
                "p": [int(name) for name in preempted],
                "fb": free,
                "fin": [int(name) for name in finished],
                "fa": after,
                "run": zlib.crc32(",".join(running).encode()),
                "wait": zlib.crc32(",".join(waiting).encode()),
                "tok": sum(n for _, n in scheduled),
            }
        )
    return calls


def simulated_calls(case: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the simulator's calls but for those in which nothing is scheduled or preempted."""
    calls, added = [], []
    for call in fidelity.replay({"config": case["config"], "vllm": SIMULATED}, case["requests"]):
        added += call["add"]
        if call["s"] or call["p"]:
            calls.append({**call, "add": added})
            added = []
    return calls


def difference(case: dict[str, Any], found: dict[str, Any]) -> dict[str, Any] | None:
    """Return where the two differ first, or None."""
    for n, (ours, real) in enumerate(zip_longest(simulated_calls(case), real_calls(found))):
        if ours is None or real is None:
            return {"call": n, "field": "s", "simulated": "ends" if ours is None else "goes on", "rules": "18"}
        for field, rules in OF_FIELD.items():
            if ours[field] != real[field]:
                told = {"simulated": ours[field], "vllm": real[field]}
                return {"call": n, "field": field, **told, "rules": rules}
    return None


def main() -> int:
    """Compare, print and store; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--version", help="of vLLM; the newest that there is")
    parser.add_argument("--cases", type=int, default=40, help="random ones for each feature")
    told = parser.parse_args()
    version = told.version or newest()
    python = interpreter(version)
    rng, rows = random.Random(0), {}
    cases = [(name, random_case(rng, changes)) for name, (_, changes) in FEATURES.items() for _ in range(told.cases)]
    with tempfile.TemporaryDirectory() as folder:
        given, out = Path(folder, "cases"), Path(folder, "results")
        given.write_text("".join(json.dumps(case) + "\n" for _, case in cases))
        ran = subprocess.run(
            [python, ROOT / "tests" / "engines" / "drive_vllm.py", given, out], capture_output=True, text=True
        )
        if ran.returncode:
            print(f"vLLM {version} cannot be driven: {ran.stderr.strip().splitlines()[-1]}")
            return 1
        found = [json.loads(line) for line in out.read_text().splitlines()]
    print(f"vLLM {found[0]['vllm']} against vllm-v1, {told.cases} cases each")
    for name, (rules, _) in FEATURES.items():
        mine = [(case, one) for (of, case), one in zip(cases, found, strict=True) if of == name]
        looked = [(len(case["requests"]), case, difference(case, one)) for case, one in mine]
        differ = sorted((entry for entry in looked if entry[2]), key=lambda entry: entry[0])
        calls = sum(len(one["calls"]) for _, one in mine)
        preempted = sum(len(call[4]) for _, one in mine for call in one["calls"])
        rows[name] = {"rules": rules, "cases": len(mine), "calls": calls, "preempted": preempted, "differ": len(differ)}
        words = "identical"
        if differ:
            first = differ[0][2] or {}
            rows[name] |= {"first": first, "case": differ[0][1]}
            words = f"{len(differ)} differ; the shortest in call {first['call']}, field {first['field']}, rules "
            words += f"{first['rules']}: {first['simulated']} simulated, {first.get('vllm', '')} in vLLM"
        print(f"{name} [{rules}]: {calls} calls, {preempted} preempted: {words}", flush=True)
    write_json(OUT, result({"vllm": found[0]["vllm"], "simulated": "vllm-v1", "features": rows}, seeds=[0]))
    return int(any(row["differ"] for row in rows.values()))


if __name__ == "__main__":
    sys.exit(main())

"""Does the engine take the time that Vidur takes, request by request?

Replays the reference runs that DIR/runs.json lists: `*_requests.csv` holds arrivals, lengths and Vidur's times of each.
Prints a line per run and a last line with the worst errors, and exits 1 if one is outside: on runs with a formula (B)
mean and p99 of TTFT and of end-to-end latency within 0.1 % and equal numbers of iterations, on runs with Vidur's lookup
tables (A) within 1 %.

    python experiments/vidur_fidelity.py DIR
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from llmqueue_gym.columns import read_columns
from llmqueue_gym.engines.batching.cost import CHUNK, DECODE, DECODE_PAGES, LINEAR, NEW, PAGES
from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.serving import serve
from llmqueue_gym.profiles.base import Profile
from llmqueue_gym.requests import Requests, never_refreshed, request_table
from llmqueue_gym.systems import Run

TOLERANCE = {"formula": 0.001, "tables": 0.01}
RULE_SET = {"vllm": "vllm-v0", "sarathi": "vidur-sarathi"}
FIGURES = ("TTFT mean", "TTFT p99", "e2e mean", "e2e p99")


def main() -> int:
    """Replay every run; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", metavar="DIR", type=Path, help="folder with runs.json")
    folder = parser.parse_args().folder
    try:
        return replay_all(folder)
    except (BadInput, OSError, KeyError, ValueError) as error:
        print(f"{folder}: error: {type(error).__name__}: {error}", file=sys.stderr)
        return 1


def replay_all(folder: Path) -> int:
    """Print a line per run and the worst errors; return 1 where one is outside its tolerance."""
    worst = dict.fromkeys(TOLERANCE, 0.0)
    unequal, outside = 0, 0
    for run in json.loads((folder / "runs.json").read_text())["runs"]:
        kind = next(kind for kind in TOLERANCE if kind in run["cost"])
        served, real = replay(run, folder)
        errors = [abs(ours / theirs - 1) for ours, theirs in zip(figures(served), summary(real), strict=True)]
        iterations, expected = served.totals["iterations"], run["summary"]["iterations"]
        gap = np.abs(served.outcome["completion"] - real["completed_at"]).max()
        inside = max(errors) <= TOLERANCE[kind] and (kind == "tables" or iterations == expected)
        outside += not inside
        worst[kind] = max(worst[kind], *errors)
        unequal += kind == "formula" and iterations != expected
        words = ", ".join(f"{name} {error:.2%}" for name, error in zip(FIGURES, errors, strict=True))
        verdict = "inside" if inside else "OUTSIDE"
        counted = f"iterations {iterations} of {expected}"
        print(f"{run['name']}: {verdict}: {words}; {counted}; ends off by at most {gap:.1e} s")
    print(
        f"worst: {worst['formula']:.4%} with formula (limit 0.1 %), {worst['tables']:.4%} with tables (limit 1 %); "
        f"{unequal} formula runs with other numbers of iterations; {outside} runs outside"
    )
    return 1 if outside else 0


def replay(run: dict[str, Any], folder: Path) -> tuple[Run, dict[str, np.ndarray]]:
    """Return our run and Vidur's columns `(n,)` for one reference run."""
    names = ["arrived_at", "prefill_tokens", "decode_tokens", "first_token_at", "completed_at"]
    columns = read_columns(folder / f"{run['name']}_requests.csv", names)
    real = dict(zip(names, (column.numbers() for column in columns), strict=True))
    order = np.argsort(real["arrived_at"], kind="stable")
    real = {name: values[order] for name, values in real.items()}
    table = request_table(real["arrived_at"], real["prefill_tokens"].astype(int))
    given = Requests(table, real["decode_tokens"].astype(np.int64), never_refreshed(len(table)))
    form, numbers = cost(run["cost"], folder)
    blocks = run["num_blocks"]
    profile = Profile(
        name=run["name"],
        model="",
        gpu="",
        form=form,
        numbers=numbers,
        kv_tokens=16 * blocks,
        kv_bytes_per_token=1.0,
        source="Vidur",
    )
    return serve(given, "fcfs", profile, RULE_SET[run["scheduler"]], blocks=blocks), real


def cost(given: dict[str, Any], folder: Path) -> tuple[Any, np.ndarray]:
    """Return the form and the numbers of a run's cost, which is in ms there."""
    if "formula" in given:
        return "roofline", np.array([given["formula"][key] for key in ("w0", "a", "b", "c2", "c3")]) / 1000
    tables = np.load(folder / given["tables"])
    shapes = {
        "linear_plus_allreduce_ms_per_layer": (LINEAR,),
        "decode_ms_per_layer": (DECODE, DECODE_PAGES),
        "prefill_kv0_ms_per_layer": (NEW,),
        "prefill_chunk_le512_ms_per_layer": (PAGES, CHUNK),
    }
    for name, shape in shapes.items():
        if tables[name].shape != shape:
            raise BadInput(f"{given['tables']}: {name} has shape {tables[name].shape}, not {shape}")
    parts = [tables[name].ravel() / 1000 for name in shapes]
    return "vidur-tables", np.concatenate([[float(tables["num_layers"])], *parts])


def figures(served: Run) -> list[float]:
    """Return mean and p99 of TTFT and of end-to-end latency, s."""
    arrival = served.jobs["arrival"]
    times = (served.outcome["first_token"] - arrival, served.response_times)
    return [value for column in times for value in (column.mean(), np.percentile(column, 99))]


def summary(real: dict[str, np.ndarray]) -> list[float]:
    """Return the same of Vidur's columns."""
    times = (real["first_token_at"] - real["arrived_at"], real["completed_at"] - real["arrived_at"])
    return [value for column in times for value in (column.mean(), np.percentile(column, 99))]


if __name__ == "__main__":
    sys.exit(main())

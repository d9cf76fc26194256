"""How far is the simulator from measured engines, on requests that no fit has seen, and what explains the rest?

Four measured runs of vLLM 0.19.0, as in `vllm_measured.py`, whose stored fits this plays again: errors of TTFT and of
end-to-end time by request, of their means and of p99, in two splits. What might explain them, settled beforehand:

* memory: the same coefficients with a tenth less and a tenth more of the memory for keys and values;
* the client's side: what lies between the engine and whoever measures (tokens to text, the API server, the network), as
  one constant, s, that is fitted together with the coefficients on the same requests and added to both times;
* CUDA graphs: vLLM pads the tokens of an iteration up to the next size that it has captured; nothing of that is
  modelled. Told is by how much of its time an iteration would be longer by that, were tokens as dear as the fit has it.

Writes `accuracy.json`, `.svg`, `.png` and, for the documentation, `.md` into `results`; two minutes.

    python experiments/accuracy.py [--data FOLDER] [--json]
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.optimize import minimize
from vllm_measured import FILE, OUT, SETTINGS, STEPS, Measured, Setting, errors, read, simulate, splits, with_costs

from llmqueue_gym.boards.recorded import FOLDER_VARIABLE, data_folder
from llmqueue_gym.evaluation import result, write_json
from llmqueue_gym.evaluation.results import plain
from llmqueue_gym.evaluation.watch import watch
from llmqueue_gym.storage import write_text

matplotlib.use("Agg")
import matplotlib.pyplot as plt

RESULT = Path(__file__).parent / "results" / "accuracy"
BLIS = 0.067  # median error of end-to-end times that BLIS (inference-sim) states of 36 runs which it held out
NAMES = {"ttft": "time to first token", "e2e": "end-to-end time"}
COLOURS = {"ttft": "#0072b2", "e2e": "#d55e00"}
FIRST_GUESS = 0.01  # s, of the constant of the client's side


def padded(tokens: np.ndarray, most: int) -> np.ndarray:
    """Return the captured sizes that iterations of so many tokens are padded to, by vLLM's rule for its sizes.

    Args:
        tokens: `(n,)`.
        most: the largest size, twice the seats up to 512; what is larger is not padded.
    """
    sizes = np.array([1, 2, 4, *range(8, 256, 8), *range(256, most + 1, 16)])
    sizes = sizes[sizes <= most]
    place = np.minimum(np.searchsorted(sizes, tokens), len(sizes) - 1)
    return np.where(tokens > most, tokens, sizes[place])


def graph_share(run: Measured, setting: Setting, numbers: np.ndarray) -> float:
    """Return by how much of the time of all iterations they would be longer if their tokens were padded."""
    _, base, token, *_ = numbers
    least, longer, span = numbers[0], 0.0, 0.0
    for replica in range(setting.replicas):
        steps = list(
            watch(run.requests(replica, setting.replicas), "fcfs", with_costs(numbers, setting), setting.rules)
        )
        tokens = np.array([sum(count for _, count in step.scheduled) for step in steps])
        full = padded(tokens, min(2 * setting.max_seqs, 512))
        longer += float((np.maximum(least, base + token * full) - np.maximum(least, base + token * tokens)).sum())
        span += steps[-1].clock - steps[0].clock
    return longer / span


def with_client(run: Measured, setting: Setting, start: np.ndarray, rows: np.ndarray) -> tuple[dict[str, Any], float]:
    """Return the errors on the other requests where a constant of the client's side is fitted, too, and that, s."""

    def times(x: np.ndarray) -> dict[str, np.ndarray]:
        found, _ = simulate(run, setting, np.exp(x[:-1]))
        return {name: values + np.exp(x[-1]) * (name != "queue") for name, values in found.items()}

    def off(x: np.ndarray) -> float:
        found = times(x)
        return sum(float(np.abs(np.log(found[name] / getattr(run, name))[rows]).mean()) for name in NAMES)

    begin = np.log([*start, FIRST_GUESS])
    best = minimize(off, begin, method="Nelder-Mead", options={"maxfev": STEPS, "adaptive": True}).x
    return errors(run, times(best), ~rows, rows), float(np.exp(best[-1]))


def explained(run: Measured, setting: Setting, stored: dict[str, Any]) -> dict[str, Any]:
    """Return the errors of a run in both splits, and in the first what may explain them."""
    told: dict[str, Any] = {"run": setting.name, "splits": []}
    for row in stored["splits"]:
        rows = splits(len(run.arrival))[row["split"]]
        numbers = np.array(list(row["coefficients"].values()))
        times, _ = simulate(run, setting, numbers)
        told["splits"].append({"split": row["split"], "held_out": errors(run, times, ~rows, rows)})
        if row["split"] == "pairs":
            print(f"{setting.name}: client's side", file=sys.stderr, flush=True)
            client, constant = with_client(run, setting, numbers, rows)
            told |= {"memory": row["memory"], "client": client, "client_s": constant}
            told["graphs"] = graph_share(run, setting, numbers)
    return told


def draw(runs: list[dict[str, Any]]) -> plt.Figure:
    """Return the figure: a row for each run and split, median error by request, and of the mean."""
    style = {"font.family": "sans-serif", "font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "0"}
    rows = [(run["run"], split) for run in runs for split in run["splits"]]
    with plt.rc_context(style):
        figure, panels = plt.subplots(1, 2, figsize=(9.4, 0.36 * len(rows) + 1.5), sharey=True, layout="constrained")
        of_panels = ((panels[0], "median_ape", "median error of a request"), (panels[1], "mean", "error of the mean"))
        for panel, key, words in of_panels:
            for name, colour in COLOURS.items():
                off = [100 * split["held_out"][name][key] for _, split in rows]
                panel.plot(off, range(len(rows)), "o", color=colour, ms=5, label=NAMES[name])
            panel.set_title(words, loc="left", fontsize=9.5)
            panel.set_xlabel("%")
            panel.grid(axis="x", color="0.92")
            panel.spines[["top", "right"]].set_visible(False)
        panels[0].axvline(100 * BLIS, color="0.6", lw=0.9, ls=(0, (4, 3)))
        panels[0].annotate(f" {BLIS:.1%}, stated by BLIS", (100 * BLIS, -0.75), color="0.4", fontsize=8, va="center")
        panels[0].set_xlim(left=0)
        panels[1].axvline(0, color="0.7", lw=0.8)
        panels[0].set_yticks(range(len(rows)), [f"{run}\nfitted: {split['split']}" for run, split in rows], fontsize=8)
        panels[0].set_ylim(len(rows) - 0.5, -1.1)
        panels[0].legend(frameon=False, loc="center right", bbox_to_anchor=(1.0, 0.72), fontsize=8.5)
    return figure


def rows_of(runs: list[dict[str, Any]]) -> list[list[str]]:
    """Return the cells of the table of errors."""
    cells = []
    for run in runs:
        for split in run["splits"]:
            held = split["held_out"]
            kinds = ("median_ape", "mape", "mean", "p99")
            each = [
                f"{100 * held[name][kind]:{'+' * (kind in ('mean', 'p99'))}.1f}" for name in NAMES for kind in kinds
            ]
            cells.append([run["run"], split["split"], *each])
    return cells


def reasons_of(runs: list[dict[str, Any]]) -> list[list[str]]:
    """Return the cells of the table of what may explain the errors."""
    cells = []
    for run in runs:
        first = run["splits"][0]["held_out"]
        memory = [f"{100 * run['memory'][share]['e2e']:+.1f}" for share in ("0.9", "1.1")]
        each = [
            f"{100 * first[name]['median_ape']:.1f} to {100 * run['client'][name]['median_ape']:.1f}" for name in NAMES
        ]
        cells.append([run["run"], *memory, f"{1000 * run['client_s']:.1f}", *each, f"{100 * run['graphs']:.1f}"])
    return cells


HEAD = ["run", "fitted", *(f"{k} {what}" for k in ("TTFT", "e2e") for what in ("median", "MAPE", "mean", "p99"))]
WHY = ["run", "memory -10 %", "memory +10 %", "client, ms", "TTFT with it", "e2e with it", "graphs"]


def markdown(runs: list[dict[str, Any]]) -> str:
    """Return both tables for the documentation."""
    parts = [
        "Errors on requests that no fit has seen, in %: of a request (median, mean), of the mean, of p99. Fitted are "
        "every other pair of requests, or the first half."
    ]
    for head, rows in ((HEAD, rows_of(runs)), (WHY, reasons_of(runs))):
        lines = [" | ".join(row) for row in (head, ["---"] * len(head), *rows)]
        parts.append("\n".join(f"| {line} |" for line in lines))
    parts.insert(
        2,
        "What may explain them, in the split of pairs: error of the mean end-to-end time with other memory, %; the "
        "constant of the client's side, and the median errors without and with it, %; by how much padding to CUDA "
        "graphs would lengthen iterations, %.",
    )
    return "\n\n".join(parts) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Play the stored fits again, explain, store, draw and print; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help=f"folder of the measured data; else ${FOLDER_VARIABLE}")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--out", type=Path, default=RESULT, help="where results are stored, without ending")
    options = parser.parse_args(arguments)
    folder = data_folder(options.data)
    if folder is None or not (folder / FILE).is_file():
        print(f"skipped: {FILE} not found; name its folder with --data or ${FOLDER_VARIABLE}", file=sys.stderr)
        return 0
    runs, stored = read(folder / FILE), {row["run"]: row for row in json.loads(OUT.read_text())["runs"]}
    told = [explained(runs[setting.name], setting, stored[setting.name]) for setting in SETTINGS]
    medians = [split["held_out"]["e2e"]["median_ape"] for run in told for split in run["splits"]]
    summary = {"median_e2e": float(np.median(medians)), "worst_e2e": max(medians), "blis": BLIS}
    found = result({"runs": told, **summary})
    write_json(options.out.with_suffix(".json"), found)
    write_text(options.out.with_suffix(".md"), markdown(told))
    figure = draw(told)
    figure.savefig(options.out.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(options.out.with_suffix(".png"), dpi=130)
    if options.json:
        print(json.dumps(plain(found)))
        return 0
    console = Console(width=130)
    for head, rows in ((HEAD, rows_of(told)), (WHY, reasons_of(told))):
        table = Table(*head)
        for row in rows:
            table.add_row(*row)
        console.print(table)
    console.print(
        f"Median error of an end-to-end time: {summary['median_e2e']:.1%} in the middle of the {len(medians)} splits, "
        f"{summary['worst_e2e']:.1%} at worst. BLIS states {BLIS:.1%} of runs that it held out whole, which is harder: "
        "here coefficients are fitted to other requests of the same run."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Which policy wins as the memory for keys and values shrinks from plenty to tight?

The memory holds M times the longest request of the workload, from M = 64 (128 running requests, the most that the rule
set allows, then fit with room to spare) to M = 1.05 (hardly more than one long request). At every M the load is 0.9 of
what first come first served sustains with just that memory, so that the queue, not the GPU's size, is what is compared;
a policy that sustains more than first come first served has more to spare there. Profile a100-llama3-8b, rules vllm-v1
with 128 seats, predictions log-normal with sigma 0.5, the same requests for every policy. Intervals are Student's t
over seeds on the logarithms of the ratio to first come first served; the first tenth of the requests is left out. A
winner is `clear` if the interval of its ratio to each other policy lies below 1, without correction for so many
comparisons; a lead over first come first served of less than 0.5 % counts as none. A policy that leaves requests undone
has no ratio, but the reason. Predictions beyond what a request can have in that memory are cut to it. Policies have
their defaults; nothing is tuned. Writes `kv_pressure.json`, `.svg` and `.png` into `results`; a few minutes.
"""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from rich.console import Console
from rich.table import Table

from llmqueue_gym.evaluation import across_seeds
from llmqueue_gym.systems import Scenario
from llmqueue_gym.systems.capacity import capacity

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from study import study

OUT = Path(__file__).parent / "results" / "kv_pressure"
LONGEST = {"azure-conv": 4096, "deepseek-r1": 8192}  # tokens; longer requests are drawn again
MEMORIES = (64.0, 32.0, 16.0, 8.0, 4.0, 2.0, 1.05)  # times the longest request
LOAD, PREDICTOR, PROFILE, RULES = 0.9, "lognormal:sigma=0.5", "a100-llama3-8b", "vllm-v1:max_seqs=128"
BASE = "fcfs"
POLICIES = (
    "sjf",
    "sjf-total",
    "sprpt",
    "trail",
    "mc-sf",
    "light-admission",
    "memory-time",
    "remaining-seconds",
    "ltr",
)
LEAST = 0.005  # share by which a policy has to be better to be called so
REQUESTS, SEEDS, WARMUP = 1500, 8, 0.1
COLOURS = dict(
    zip(
        POLICIES,
        ("#56b4e9", "#0072b2", "#d55e00", "#e69f00", "#009e73", "#999999", "#000000", "#8a6fb0", "#cc79a7"),
        strict=True,
    )
)


def scenario(workload: str, memory: float, n: int) -> Scenario:
    """Return the scenario of a workload and a memory, in units of the longest request."""
    profile = f"{PROFILE}:kv_tokens={int(memory * LONGEST[workload])}"
    told = {"predictor": PREDICTOR, "load": LOAD, "n_requests": n, "rules": RULES}
    return Scenario("replica", lengths=workload, max_tokens=LONGEST[workload], profile=profile, **told)


def play(job: tuple[str, float, int, int]) -> dict[str, Any]:
    """Return what every policy does with a workload and a memory, relative to first come first served."""
    workload, memory, n, seeds = job
    where = scenario(workload, memory, n)
    means: dict[str, list[float]] = {}
    tails: dict[str, list[float]] = {}
    preemptions: dict[str, float] = {}
    reasons: dict[str, list[str]] = {}
    for name in (BASE, *POLICIES):
        runs = [where.simulate(name, seed) for seed in range(seeds)]
        latencies = [run.after_warmup(WARMUP).response_times for run in runs]  # NaN where something is undone
        means[name] = [float(values.mean()) for values in latencies]
        tails[name] = [float(np.percentile(values, 99)) for values in latencies]
        reasons[name] = sorted({run.reason for run in runs} - {"drained"})
        preemptions[name] = float(np.mean([run.totals["preemptions"] / n for run in runs]))
    rows = [
        {
            "policy": name,
            "mean_e2e": float(np.mean(means[name])),
            "mean": ratio(means[name], means[BASE]),
            "p99": ratio(tails[name], tails[BASE]),
            "preemptions_per_request": preemptions[name],
            "undone": reasons[name],
        }
        for name in (BASE, *POLICIES)
    ]
    told = {"workload": workload, "memory": memory, "kv_tokens": int(memory * LONGEST[workload])}
    rate = LOAD * capacity(where).rate
    return {**told, "rate": rate, "policies": rows, "winner": {"mean": winner(means), "p99": winner(tails)}}


def ratio(values: list[float], base: list[float]) -> dict[str, float]:
    """Return the ratio of two rows of numbers, a seed each, with its 95 % interval; NaN where a run was left undone."""
    if not np.isfinite([*values, *base]).all():
        return dict.fromkeys(("ratio", "low", "high"), float("nan"))
    mean, low, high, *_ = across_seeds(np.log(np.divide(values, base)))
    return {"ratio": float(np.exp(mean)), "low": float(np.exp(low)), "high": float(np.exp(high))}


def winner(numbers: dict[str, list[float]]) -> dict[str, Any]:
    """Return the policy with the least numbers, and those that cannot be told from it."""
    done = {name: values for name, values in numbers.items() if np.isfinite(values).all()}
    first = min(done, key=lambda name: float(np.log(done[name]).mean()))
    ties = [name for name in done if name != first and not ratio(done[first], done[name])["high"] < 1]
    return {"policy": first, "clear": not ties, "ties": ties}


def finding(found: list[dict[str, Any]], workload: str, kind: str = "mean") -> str:
    """Say who wins at which memory, by the mean or by the 99th percentile, where it can be told from first come."""
    words = []
    for cell in (cell for cell in found if cell["workload"] == workload):
        won = cell["winner"][kind]
        told = next(row for row in cell["policies"] if row["policy"] == won["policy"])[kind]
        if won["policy"] == BASE or BASE in won["ties"] or told["ratio"] > 1 - LEAST:
            verdict = f"nobody beats {BASE}"
        elif won["clear"]:
            verdict = f"{won['policy']} wins ({told['ratio']:.2f} of {BASE})"
        else:
            verdict = f"{won['policy']} ({told['ratio']:.2f} of {BASE}), not told from {', '.join(won['ties'])}"
        if words and words[-1][1] == verdict:
            words[-1][0].append(cell["memory"])
        else:
            words.append(([cell["memory"]], verdict))
    told = [f"at M = {', '.join(f'{m:g}' for m in memories)} {verdict}" for memories, verdict in words]
    return f"{workload}, {kind} end-to-end time: {'; '.join(told)}."


def draw(found: dict[str, Any]) -> plt.Figure:
    """Return the figure: a panel for each workload, memory shrinking to the right."""
    cells = found["cells"]
    style = {"font.family": "sans-serif", "font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "0"}
    with plt.rc_context(style):
        workloads = list(dict.fromkeys(cell["workload"] for cell in cells))
        figure, panels = plt.subplots(1, len(workloads), figsize=(5.2 * len(workloads), 4.0), squeeze=False)
        for panel, workload in zip(panels[0], workloads, strict=True):
            _draw_panel(panel, [cell for cell in cells if cell["workload"] == workload])
            panel.set_title(f"{workload}, at most {LONGEST[workload]} tokens", loc="left", fontsize=10)
        panels[0][0].set_ylabel(f"mean end-to-end time / that of {BASE}")
        title = f"KV memory from plenty to tight, load {LOAD:g} of what {BASE} sustains; bars: 95 % intervals"
        figure.suptitle(title, x=0.02, ha="left", fontsize=10.5)
        figure.tight_layout(w_pad=2.0)
    return figure


def _draw_panel(panel: plt.Axes, cells: list[dict[str, Any]]) -> None:
    ends = [(1.0, BASE, "0.4")]
    panel.axhline(1.0, color="0.6", lw=0.9, ls=(0, (4, 3)), zorder=1)
    for k, name in enumerate(POLICIES):
        rows = [next(row for row in cell["policies"] if row["policy"] == name)["mean"] for cell in cells]
        y, low, high = (np.array([row[key] for row in rows], float) for key in ("ratio", "low", "high"))
        x = np.arange(len(cells)) + 0.03 * (k - len(POLICIES) / 2)  # side by side, so that bars can be told apart
        panel.errorbar(x, y, [y - low, high - y], color=COLOURS[name], lw=1.4, elinewidth=0.8, capsize=1.5, zorder=3)
        if np.isfinite(y[-1]):
            ends.append((float(y[-1]), name, COLOURS[name]))
    stuck = {name: cell["memory"] for cell in reversed(cells) for name in _undone(cell)}  # largest memory of each
    for row, (name, memory) in enumerate(stuck.items()):
        panel.text(0.02, 0.96 - 0.06 * row, f"{name}: stuck at M = {memory:g} and below", transform=panel.transAxes)
    panel.set_yscale("log")
    panel.set_xticks(range(len(cells)), [f"{cell['memory']:g}" for cell in cells])
    panel.set_xlabel("memory M, in longest requests")
    fine = panel.get_ylim()[1] < 5 * panel.get_ylim()[0]
    marks = (0.5, 0.6, 0.7, 0.8, 1, 1.2, 1.5, 2, 2.5) if fine else (0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20)
    ticks = [t for t in marks if _inside(panel, t)]
    panel.set_yticks(ticks, [f"{t:g}" for t in ticks])
    panel.minorticks_off()
    panel.spines[["top", "right"]].set_visible(False)
    _label(panel, ends)


def _undone(cell: dict[str, Any]) -> list[str]:
    return [row["policy"] for row in cell["policies"] if row["undone"]]


def _inside(panel: plt.Axes, y: float) -> bool:
    low, high = panel.get_ylim()
    return low <= y <= high


def _label(panel: plt.Axes, ends: list[tuple[float, str, str]]) -> None:
    """Write names beside the ends of the lines, moved apart just far enough to be read."""
    ends = sorted(ends)
    low, high = np.log(panel.get_ylim())
    wanted = np.log([y for y, _, _ in ends])
    gap, at = 0.05 * (high - low), wanted.copy()
    for _ in range(500):
        for k in range(len(at) - 1):
            overlap = gap - (at[k + 1] - at[k])
            if overlap > 0:
                at[k] -= overlap / 2
                at[k + 1] += overlap / 2
    for y, place, (_, text, colour) in zip(wanted, at, ends, strict=True):
        arrow = {"arrowstyle": "-", "color": colour, "lw": 0.6, "shrinkA": 0, "shrinkB": 2, "relpos": (0, 0.5)}
        beside = panel.get_yaxis_transform()  # across in shares of the panel, up in data
        where = {"xy": (1.0, np.exp(y)), "xytext": (1.06, np.exp(place)), "xycoords": beside, "textcoords": beside}
        panel.annotate(text, **where, color=colour, va="center", annotation_clip=False, arrowprops=arrow)


def report(found: dict[str, Any], console: Console) -> None:
    """Print the ratios and the finding."""
    for workload in LONGEST:
        cells = [cell for cell in found["cells"] if cell["workload"] == workload]
        title = f"{workload}: mean end-to-end time over that of {BASE}, with half of the interval"
        table = Table("policy", *(f"M = {cell['memory']:g}" for cell in cells), title=title, title_justify="left")
        for name in POLICIES:
            rows = [next(row for row in cell["policies"] if row["policy"] == name) for cell in cells]
            table.add_row(name, *(_cell(row) for row in rows))
        console.print(table)
    for sentence in found["finding"]:
        console.print(sentence)


def _cell(row: dict[str, Any]) -> str:
    told = row["mean"]
    if row["undone"]:
        return ", ".join(row["undone"])
    return f"{told['ratio']:.2f} ±{(told['high'] - told['low']) / 2:.2f}"


def tasks(options: Any) -> list[Any]:
    """Return the cells to be played."""
    return [(workload, memory, options.requests, options.seeds) for workload in LONGEST for memory in MEMORIES]


def tell(cells: list[dict[str, Any]], options: Any) -> dict[str, Any]:
    """Return the result."""
    sentences = [finding(cells, workload, kind) for workload in LONGEST for kind in ("mean", "p99")]
    told = {"load": LOAD, "predictor": PREDICTOR, "profile": PROFILE, "rules": RULES, "longest": LONGEST}
    return {**told, "requests": options.requests, "cells": cells, "finding": sentences}


def main(arguments: list[str] | None = None) -> None:
    """Play, store, draw and print."""
    usual = {"work": "requests", "requests": REQUESTS, "seeds": SEEDS}
    study(__doc__, OUT, tasks, play, tell, draw, report, arguments=arguments, **usual)


if __name__ == "__main__":
    main()

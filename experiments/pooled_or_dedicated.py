"""Should replicas read prompts and decode both, or each one of the two, and at which ratio?

Eight replicas serve first come first served, each with both phases (pooled), or k of them only read prompts and the
others only decode, for every k. Prompts go to the replica with fewest requests outstanding, decodes to the one with the
least of its KV cache in use; links carry 50 GB/s. The load is a share of what the eight pooled replicas sustain. A
request is within its objectives with its first token within 1 s and each later token within 50 ms on average; these
were set before any run. Profile a100-llama3-8b, rules vllm-v1, the same requests for every k; means over seeds with
Student's t intervals.

Beside it what theory of two queues in tandem says without a simulation: readers are an M/G/k queue (Erlang C times half
of one plus the squared variation, Allen and Cunneen), and a decoder with n requests makes a token of each in the time
of that batch, so that n solves Little's law; the k with the least sum is its choice.
Writes `pooled_or_dedicated.json`, `.svg` and `.png` into `results`; some minutes.
"""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from rich.console import Console
from rich.table import Table

from llmqueue_gym._jit import records
from llmqueue_gym.engines.batching.cost import FORMS, iteration_time
from llmqueue_gym.engines.batching.tables import BATCH
from llmqueue_gym.evaluation import across_seeds
from llmqueue_gym.evaluation.serving import measure
from llmqueue_gym.profiles import profile as cost_profile
from llmqueue_gym.systems import Scenario
from llmqueue_gym.theory.erlang import erlang_c

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from study import study

OUT = Path(__file__).parent / "results" / "pooled_or_dedicated"
REPLICAS, PROFILE, RULES, TTFT, TPOT = 8, "a100-llama3-8b", "vllm-v1", 1.0, 0.05
WORKLOADS = ("azure-code", "azure-conv", "deepseek-r1")
LONGEST = 16_384  # tokens; longer requests are drawn again
LOADS = (0.3, 0.5, 0.7, 0.9)
REQUESTS, SEEDS, WARMUP = 3000, 4, 0.1
COLOURS = dict(zip(LOADS, ("#56b4e9", "#009e73", "#e69f00", "#d55e00"), strict=True))


def scenario(workload: str, load: float, prefill: int, n: int) -> Scenario:
    """Return the fleet in which so many replicas only read prompts; 0 is the pooled one."""
    told = {"replicas": REPLICAS, "prefill": prefill, "profile": PROFILE, "rules": RULES, "bandwidth": 50e9}
    return Scenario("fleet", lengths=workload, max_tokens=LONGEST, load=load, n_jobs=n, **told)


def play(job: tuple[str, float, int, int]) -> dict[str, Any]:
    """Return how a workload fares at a load with every number of readers."""
    workload, load, n, seeds = job
    rows = []
    for prefill in range(REPLICAS):
        where = scenario(workload, load, prefill, n)
        measured = []
        for seed in range(seeds):
            run = where.simulate("least-outstanding", seed)
            told = measure(run, ttft_slo=TTFT, tpot_slo=TPOT, warmup=WARMUP)
            done = run.reason == "drained"
            measured.append(
                {
                    "attainment": told["attainment"],
                    "mean_e2e": told["e2e"]["mean"] if done else np.nan,
                    "p99_ttft": told["ttft"]["p99"] if done else np.nan,
                    "p99_tpot": told["tpot"]["p99"] if done else np.nan,
                }
            )
        row: dict[str, Any] = {"prefill": prefill}
        for key in measured[0]:
            mean, low, high, *_ = across_seeds(np.array([one[key] for one in measured]))
            row[key] = {"mean": float(mean), "low": float(low), "high": float(high)}
        rows.append(row)
    where = scenario(workload, load, 0, n)
    rate = load * where.system.sustains(where).rate  # type: ignore[attr-defined]
    predicted = [in_tandem(where, rate, k) for k in range(1, REPLICAS)]
    return {"workload": workload, "load": load, "rate": rate, "rows": rows, "theory": predicted}


def in_tandem(where: Scenario, rate: float, readers: int) -> float:
    """Return the mean end-to-end time by theory, s; infinity where either queue is unstable."""
    requests, outputs = where.source.sample(1000, np.random.default_rng(0), np.random.default_rng(1))
    prompts = requests["prompt"].astype(float)
    read = np.array([_time(tokens=p, prefills=1, prefill_tokens=p, pairs=p * p / 2, squares=p * p) for p in prompts])
    offered = rate * read.mean()
    if offered >= readers:
        return np.inf
    varied = (1 + read.var() / read.mean() ** 2) / 2
    wait = erlang_c(readers, offered) * read.mean() / (readers - offered) * varied
    context, decoders = float((outputs * (prompts + outputs / 2)).sum() / outputs.sum()), REPLICAS - readers
    seats = min(1024.0, cost_profile(PROFILE).kv_tokens / context)
    batch = np.linspace(1e-3, seats, 20_000)
    passed = np.array([_time(tokens=n, decodes=n, context=n * context) for n in batch[::100]])
    passed = np.interp(batch, batch[::100], passed)
    needed = rate / decoders * outputs.mean() * passed  # by Little's law, were the batch that large
    stable = np.flatnonzero(needed <= batch)
    if not len(stable):
        return np.inf
    bytes_moved = prompts.mean() * cost_profile(PROFILE).kv_bytes_per_token
    return float(wait + read.mean() + bytes_moved / 50e9 + outputs.mean() * passed[stable[0]])


def _time(**batch: float) -> float:
    """Return the time of an iteration with this batch, s."""
    profile, row = cost_profile(PROFILE), np.zeros(1, BATCH)
    for name, value in batch.items():
        row[name] = value
    return float(iteration_time(FORMS.index(profile.form), profile.numbers, records(row)[0]))


def best(rows: list[dict[str, Any]], key: str, most: bool) -> dict[str, Any]:
    """Return the row of the best mean of a metric."""
    known = [row for row in rows if np.isfinite(row[key]["mean"])]
    return (max if most else min)(known, key=lambda row: row[key]["mean"])


def theory_in_short(cells: list[dict[str, Any]]) -> str:
    """Say how often theory chooses the best number of readers by the mean, and what its choice and its numbers miss."""
    known = [cell for cell in cells if np.isfinite(cell["theory"]).any()]
    chosen = [int(np.argmin(cell["theory"])) for cell in known]
    means = [[row["mean_e2e"]["mean"] for row in cell["rows"][1:]] for cell in known]
    right = sum(k == int(np.nanargmin(mean)) for k, mean in zip(chosen, means, strict=True))
    loss = max(mean[k] / np.nanmin(mean) - 1 for k, mean in zip(chosen, means, strict=True))
    off = [cell["theory"][k] / mean[k] - 1 for k, mean, cell in zip(chosen, means, known, strict=True)]
    return (
        f"Theory of a tandem finds a stable ratio in {len(known)} of {len(cells)} cells, the best by the mean in "
        f"{right} of them, and its choice costs at most {loss:.1%}; the mean that it says there is off by "
        f"{min(off):+.0%} to {max(off):+.0%}."
    )


def findings(cells: list[dict[str, Any]]) -> list[str]:
    """Say which number of readers is best, and how it compares with the pooled fleet and with theory."""
    words = [theory_in_short(cells)]
    for cell in cells:
        rows, split = cell["rows"], cell["rows"][1:]
        within, quick = best(split, "attainment", True), best(split, "mean_e2e", False)
        pooled = rows[0]
        theory = int(np.argmin(cell["theory"])) + 1 if np.isfinite(cell["theory"]).any() else None
        words.append(
            f"{cell['workload']}, load {cell['load']:g}: pooled {pooled['attainment']['mean']:.1%} within, mean "
            f"{pooled['mean_e2e']['mean']:.2f} s; dedicated at best {within['attainment']['mean']:.1%} with "
            f"{within['prefill']} readers, and {quick['mean_e2e']['mean']:.2f} s with {quick['prefill']}; theory of a "
            f"tandem chooses {theory if theory else 'none, no ratio is stable'}."
        )
    return words


def draw(found: dict[str, Any]) -> plt.Figure:
    """Return the figure: workloads side by side; the share within the objectives above, the mean time below."""
    style = {"font.family": "sans-serif", "font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "0"}
    with plt.rc_context(style):
        figure, panels = plt.subplots(2, len(WORKLOADS), figsize=(4 * len(WORKLOADS), 6.4), sharex=True, squeeze=False)
        for column, workload in enumerate(WORKLOADS):
            for cell in (cell for cell in found["cells"] if cell["workload"] == workload):
                colour, x = COLOURS[cell["load"]], np.arange(REPLICAS)
                for panel, key in zip(panels[:, column], ("attainment", "mean_e2e"), strict=True):
                    y, low, high = (
                        np.array([row[key][end] for row in cell["rows"]]) for end in ("mean", "low", "high")
                    )
                    panel.plot(x[1:], y[1:], color=colour, marker="o", ms=3, label=f"load {cell['load']:g}")
                    panel.errorbar(x[:1], y[:1], [y[:1] - low[:1], high[:1] - y[:1]], color=colour, marker="s", ms=4)
                    low = np.maximum(low, y / 10)  # an interval that goes below 0 has no end on a scale of logarithms
                    panel.fill_between(x[1:], low[1:], high[1:], color=colour, alpha=0.15, lw=0)
                panels[1, column].plot(x[1:], cell["theory"], color=colour, ls=(0, (2, 2)), lw=1)
            panels[0, column].set_title(workload, loc="left", fontsize=10)
            panels[0, column].set_ylim(-0.02, 1.02)
            panels[1, column].set_yscale("log")
            panels[1, column].set_xlabel("replicas of 8 that only read prompts; 0: pooled")
            panels[1, column].set_xticks(range(REPLICAS))
        for panel in panels.ravel():
            panel.spines[["top", "right"]].set_visible(False)
        panels[0, 0].set_ylabel(f"share with first token in {TTFT:g} s, later in {1000 * TPOT:g} ms")
        panels[1, 0].set_ylabel("mean end-to-end time, s; dotted: theory")
        panels[0, -1].legend(frameon=False)
        figure.suptitle("Pooled or dedicated?  Eight replicas, by workload and load", x=0.02, ha="left", fontsize=10.5)
        figure.tight_layout(w_pad=1.5)
    return figure


def report(found: dict[str, Any], console: Console) -> None:
    """Print the shares within the objectives, and the findings."""
    table = Table("workload", "load", *(f"{k} readers" if k else "pooled" for k in range(REPLICAS)))
    for cell in found["cells"]:
        shares = [f"{row['attainment']['mean']:.1%}" for row in cell["rows"]]
        table.add_row(cell["workload"], f"{cell['load']:g}", *shares)
    console.print(table)
    for sentence in found["finding"]:
        console.print(sentence)


def tasks(options: Any) -> list[Any]:
    """Return the cells to be played."""
    return [(workload, load, options.requests, options.seeds) for workload in WORKLOADS for load in LOADS]


def tell(cells: list[dict[str, Any]], options: Any) -> dict[str, Any]:
    """Return the result."""
    told = {"replicas": REPLICAS, "profile": PROFILE, "rules": RULES, "ttft_slo": TTFT, "tpot_slo": TPOT}
    return {**told, "requests": options.requests, "cells": cells, "finding": findings(cells)}


def main(arguments: list[str] | None = None) -> None:
    """Play, store, draw and print."""
    usual = {"work": "requests", "requests": REQUESTS, "seeds": SEEDS, "width": 150}
    study(__doc__, OUT, tasks, play, tell, draw, report, arguments=arguments, **usual)


if __name__ == "__main__":
    main()

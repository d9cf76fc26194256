"""From which gap on is a context better dropped than kept?

Programs that use a tool (tool-calls, kind qa; Table 1 of InferCept has its uses and contexts) whose gaps have a mean
from half a second to half a minute, log-normal with a deviation of a quarter of that. One replica, a100-llama3-8b under
vllm-v1 with memory for 60,000 tokens, so that contexts that are kept are in somebody's way. Contexts are kept
until their program is back, dropped and computed again, or moved to the host and back; or each goes by InferCept's or
LAMPS' least waste, reckoned with the costs of this replica and the true gaps. Loads are shares of what the replica
sustains of all calls with every context computed anew. Seen is the time that programs wait and are served, the gaps
left out, over that with dropped contexts on the same programs; 95 % intervals are Student's t over seeds, of
logarithms. The first fifth of the programs is left out. Calls go in the order in which their programs came, as
InferCept lets them; once more contexts are kept while each call goes in the order in which it came itself.

Beside it what is computed. A context of c tokens wastes c tokens of memory each second while it is kept; dropped, it
wastes what it and those who run hold while it is computed again. `policies.retention.crossings` gives the gap at which
both are equal, here for the mean context, with the tokens that an iteration has and that those who run hold as
measured at that load with dropped contexts. By Little's law kept contexts hold their rate times gap times tokens, so
that there is also a gap from which on they fill all memory that those who run leave, as measured where gaps are least.
The simulated crossing is where the ratio comes to one, on a straight line in the logarithms of gap and ratio, for each
seed; where it goes up steeply, kept contexts leave no room for those who wait, and it is as large as the run is long.

Writes `from_which_gap_on_is_a_context_better_dropped.json`, `.svg` and `.png` into `results`; a few minutes.
"""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from reasoning_programs import programs_of
from rich.console import Console
from rich.table import Table
from survey_factors_llm import interval

from llmqueue_gym.evaluation import across_seeds
from llmqueue_gym.evaluation.programs import together
from llmqueue_gym.policies.retention.costs import costs_of
from llmqueue_gym.policies.retention.crossings import crossings
from llmqueue_gym.policies.retention.waste import preserve_waste, wastes_by
from llmqueue_gym.systems import Scenario
from llmqueue_gym.systems.programs import ProgramFleet
from llmqueue_gym.workloads.programs.tool_calls import AUGMENTATIONS

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from study import study

OUT = Path(__file__).parent / "results" / "from_which_gap_on_is_a_context_better_dropped"
CALLS, SEEDS, FIRST_SEED, WARMUP = 5000, 4, 400, 0.2
PROFILE, KIND = "a100-llama3-8b:kv_tokens=60000", "qa"
GAPS = (0.5, 1.0, 2.0, 2.8, 4.0, 5.6, 8.0, 11.0, 16.0, 32.0)
LOADS = (0.5, 0.7, 0.85)
BASE, KEPT, MOVED, IN_TURN = "discard", "preserve", "swap", "preserve, calls in turn"
WAYS = {  # retention, order, colour, label
    BASE: ("discard", "program-fcfs", "0.45", "dropped, computed again"),
    KEPT: ("preserve", "program-fcfs", "#d55e00", "kept until it is back"),
    IN_TURN: ("preserve", "fcfs", "#e69f00", "the same, calls in turn"),
    MOVED: ("swap", "program-fcfs", "#0072b2", "moved to the host"),
    "infercept": ("infercept:costs=profile", "program-fcfs", "#009e73", "InferCept's least waste"),
    "lamps": ("lamps:costs=profile", "program-fcfs", "#cc79a7", "LAMPS' least waste"),
}
PLAIN = (BASE, KEPT, MOVED)


def scenario(way: str, gap: float, rate: float, calls: int) -> Scenario:
    """Return programs with gaps of a mean, s, at a rate, programs/s."""
    retention = WAYS[way][0]
    law = f"tool-calls:kind={KIND},stretch={gap / AUGMENTATIONS[KIND].gap}"
    return Scenario(
        ProgramFleet(PROFILE, replicas=1, retention=retention), law=law, rate=rate, n_programs=programs_of(law, calls)
    )


def sustained() -> float:
    """Return the programs/s that the replica sustains if every context is computed anew."""
    alone = scenario(BASE, 1.0, 1.0, 100)
    return float(alone.system.sustains(alone).rate)


def tasks(options: Any) -> list[Any]:
    """Return the cells."""
    top = sustained()
    return [(load, load * top, gap, options.calls, options.seeds) for load in LOADS for gap in GAPS]


def play(task: tuple[float, float, float, int, int]) -> dict[str, Any]:
    """Return the mean time that programs wait and are served, of every way and seed, and the loads beside a context."""
    load, rate, gap, calls, seeds = task
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    beside: dict[str, list[tuple[float, ...]]] = {BASE: [], KEPT: []}
    for seed in range(FIRST_SEED, FIRST_SEED + seeds):
        for way in WAYS:
            run = scenario(way, gap, rate, calls).simulate(WAYS[way][1], seed)
            kept = np.arange(len(run)) >= WARMUP * len(run)
            times[way].append(float(together(run)[kept].mean()) if run.done.all() else np.nan)
            if way in beside:
                beside[way].append(loads_of(run))
    context, scheduled, held, uses = np.mean(beside[BASE], axis=0)
    told = {"load": load, "rate": rate, "gap": gap, "context": context, "scheduled": scheduled, "held": held}
    return {**told, "uses": uses, "held_beside_kept": float(np.mean(beside[KEPT], axis=0)[2]), "times": times}


def loads_of(run: Any) -> tuple[float, float, float, float]:
    """Return the loads beside a context.

    These are the mean context that somebody goes on with, the tokens of an iteration, those that who runs holds, and
    how many contexts a program leaves.
    """
    calls = run.calls
    whole = calls.jobs["prompt"] + calls.sizes
    computed = calls.jobs["prompt"].sum() + calls.sizes.sum() - len(calls)
    served = calls.outcome["completion"] - calls.outcome["scheduled"]
    held = float((served * (calls.jobs["prompt"] + calls.sizes / 2)).sum() / run.totals["clock"])
    left = calls.jobs["heir"] >= 0
    return float(whole[left].mean()), float(computed / run.totals["iterations"]), held, float(left.sum() / len(run))


def crossing(gaps: np.ndarray, ratios: np.ndarray) -> float:
    """Return the gap from which on a ratio is above one, on straight lines of logarithms; NaN where there is none."""
    below = np.flatnonzero(ratios <= 1)
    if not len(below) or below[-1] == len(ratios) - 1:
        return np.nan
    k = below[-1]
    x, y = np.log(gaps[k : k + 2]), np.log(ratios[k : k + 2])
    return float(np.exp(x[0] - y[0] * (x[1] - x[0]) / (y[1] - y[0])))


def reckoned(cell: dict[str, Any]) -> dict[str, Any]:
    """Return what is computed for the loads of a cell: where lines cross, and what each way wastes, token s."""
    replica = scenario(BASE, 1.0, 1.0, 100).system.members[0]
    costs, size = costs_of(replica.profile, replica.rules), replica.rules.block_size
    context = int(-(-cell["context"] // size) * size)
    beside = round(cell["scheduled"]), round(cell["held"])
    found = crossings(costs, context, *beside)
    again, moved = wastes_by(context, *beside, costs)
    full = (replica.profile.kv_tokens - cell["held_beside_kept"]) / (cell["rate"] * cell["uses"] * cell["context"])
    told = {"context": context, "scheduled": beside[0], "held": beside[1], "discard": found.discard, "swap": found.swap}
    return {**told, "full": full, "wastes": {"discard": again, "swap": moved, "preserve": preserve_waste(1.0, context)}}


def tell(played: list[dict[str, Any]], options: Any) -> dict[str, Any]:
    """Return the ratios of all cells, and both crossings of each load."""
    rows, found = [], []
    for cell in played:
        base = np.array(cell["times"][BASE])
        ratios = {way: interval((np.array(times) / base).tolist()) for way, times in cell["times"].items()}
        rows.append({**cell, "ratios": {way: list(ratio) for way, ratio in ratios.items()}})
    for load in LOADS:
        cells = [row for row in rows if row["load"] == load]
        gaps, times = np.array([row["gap"] for row in cells]), {}
        for way in WAYS:
            times[way] = np.array([row["times"][way] for row in cells])  # (gaps, seeds)
        simulated = {}
        for other in (BASE, MOVED):
            ratios = times[KEPT] / times[other]
            each = np.log([crossing(gaps, one) for one in ratios.T])
            simulated[other] = np.exp(across_seeds(each)[:3]).tolist() if np.isfinite(each).all() else None
        found.append({"load": load, "computed": reckoned(cells[0]), "simulated": simulated})
    told = {"profile": PROFILE, "kind": KIND, "calls": options.calls, "warmup": WARMUP}
    return {**told, "rows": rows, "crossings": found, "finding": findings(rows, found)}


def findings(rows: list[dict[str, Any]], found: list[dict[str, Any]]) -> list[str]:
    """Say where the crossings are, and what following them gives."""
    words = []
    for one in found:
        computed, seen = one["computed"], one["simulated"]
        said = {
            way: "nowhere" if told is None else f"at {told[0]:.3g} s ({told[1]:.3g} to {told[2]:.3g})"
            for way, told in seen.items()
        }
        words.append(
            f"Load {one['load']:g}: by waste kept is as good as dropped at a gap of {computed['discard']:.3g} s and as "
            f"moved at {computed['swap']:.3g} s; memory is full from {computed['full']:.3g} s on; simulated it is as "
            f"good as dropped {said[BASE]}, as moved {said[MOVED]}."
        )
    for way in ("infercept", "lamps"):
        ratios = [row["ratios"][way][0] / min(row["ratios"][plain][0] for plain in PLAIN) for row in rows]
        words.append(f"{way}: {min(ratios):.2f} to {max(ratios):.2f} times the best of the three.")
    return words


def draw(found: dict[str, Any]) -> plt.Figure:
    """Return the figure: above what each way wastes, below the simulated times, a column for each load."""
    style = {"font.family": "sans-serif", "font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "0"}
    with plt.rc_context(style):
        figure, panels = plt.subplots(2, 3, figsize=(11, 6.4), layout="constrained", sharex=True, sharey="row")
        for (above, below), one in zip(panels.T, found["crossings"], strict=True):
            rows = [row for row in found["rows"] if row["load"] == one["load"]]
            gaps, computed = np.array([row["gap"] for row in rows]), one["computed"]
            for way in PLAIN:
                waste = computed["wastes"][way]
                above.plot(gaps, waste * gaps if way == KEPT else np.full(len(gaps), waste), color=WAYS[way][2])
            for way in (BASE, MOVED):
                above.plot(computed[way], computed["wastes"][way], "o", color=WAYS[way][2], ms=6)
                below.axvline(computed[way], color=WAYS[way][2], lw=1, ls=(0, (4, 3)))
            below.axvline(computed["full"], color="k", lw=1, ls=(0, (1, 2)))
            for way, (_, _, colour, label) in WAYS.items():
                ratio, low, high = np.array([row["ratios"][way] for row in rows], float).T
                below.plot(gaps, ratio, color=colour, marker="o", ms=3, label=label)
                below.fill_between(gaps, low, high, color=colour, alpha=0.2, linewidth=0)
            for way in (BASE, MOVED):
                if one["simulated"][way] is not None:
                    gap, low, high = one["simulated"][way]
                    at = 1.0 if way == BASE else float(np.interp(gap, gaps, [row["ratios"][way][0] for row in rows]))
                    below.errorbar(
                        gap, at, xerr=[[gap - low], [high - gap]], fmt="D", color=WAYS[way][2], ms=6, mec="k"
                    )
            above.set_title(f"load {one['load']:g}", loc="left", fontsize=10)
            above.set_yscale("log")
            below.set_yscale("log")
            below.set_xscale("log")
            below.set_xticks([0.5, 1, 2, 4, 8, 16, 32], ["0.5", "1", "2", "4", "8", "16", "32"])
            below.set_ylim(0.2, 10)
            below.set_yticks([0.2, 0.3, 0.5, 1, 2, 3, 5, 10], ["0.2", "0.3", "0.5", "1", "2", "3", "5", "10"])
            below.minorticks_off()
            below.set_xlabel("mean gap, s")
            for panel in (above, below):
                panel.spines[["top", "right"]].set_visible(False)
        panels[0, 0].set_ylabel("waste of one context, token s,\nas computed")
        panels[1, 0].set_ylabel("simulated time of a program without gaps,\nover that with dropped contexts")
        panels[0, 0].legend(*panels[1, 0].get_legend_handles_labels(), frameon=False, fontsize=8, loc="upper left")
        words = (
            "dots and dashed lines: crossings as computed; dotted: kept contexts fill memory; diamonds: as simulated"
        )
        figure.suptitle(f"From which gap on is a context better dropped?  {words}", x=0.01, ha="left", fontsize=10)
    return figure


def report(found: dict[str, Any], console: Console) -> None:
    """Print the ratios and the findings."""
    table = Table("load", "gap, s", *WAYS)
    for row in found["rows"]:
        words = ["{:.2f} ({:.2f} to {:.2f})".format(*row["ratios"][way]) for way in WAYS]
        table.add_row(f"{row['load']:g}", f"{row['gap']:g}", *words)
    console.print(table)
    for sentence in found["finding"]:
        console.print(sentence)


def main(arguments: list[str] | None = None) -> None:
    """Play, store, draw and print."""
    usual = {"work": "calls", "calls": CALLS, "seeds": SEEDS, "width": 150, "first_seed": FIRST_SEED}
    study(__doc__, OUT, tasks, play, tell, draw, report, arguments=arguments, **usual)


if __name__ == "__main__":
    main()

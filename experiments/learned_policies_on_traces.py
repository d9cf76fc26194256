"""Recorded requests at capacity: is a learned policy worth it, in the mean and in the tail?

The four workloads of the board `llm-recorded` on one GPU at load 1, what first come first served just sustains, in
eight windows of the recordings (drawn from the embedded tables where the recordings are not at hand, which the result
says). Everybody is given the same log-normal predictions (sigma 0.5); `srpt` is told the truth. A run lasts at most one
and a half times as long as its arrivals; what is left then counts as if it ended there. Who plays:

* every registered policy, by hand or learned;
* aged variants of the best simple ones: the rank plus a weight times the arrival time;
* these and first come first served under the batch size and token budget that the learned policy has found, so that
  what the order gains can be told from what the rules gain.

A learned policy was trained on requests drawn from the embedded tables of lengths, which were computed from these
recordings, with Poisson arrivals and other seeds. That batch size and token budget matter was seen on the recordings
before it was left to learning to set them. Each is held against every policy by hand whose 99th percentile is no worse
than its own; the gap is that of means to the best of them, paired by window, with Student's t at 95 %. Numbers are over
those of first come first served on the same requests. Writes `results/learned_policies_on_traces.json`, `.svg` and
`.png`; about three minutes.
"""

import argparse
import json
import math
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from llmqueue_gym.boards.board import Board, boards
from llmqueue_gym.boards.recorded import told
from llmqueue_gym.boards.workers import end_with_parent
from llmqueue_gym.evaluation import across_seeds, result, write_json
from llmqueue_gym.evaluation.results import plain
from llmqueue_gym.policies import TRUTH
from llmqueue_gym.policies.learned import stored
from llmqueue_gym.policies.serving import SERVING_POLICIES, ServingPolicy, serving_policy
from llmqueue_gym.systems import Scenario

matplotlib.use("Agg")
import matplotlib.pyplot as plt

OUT = Path(__file__).parent / "results" / "learned_policies_on_traces"
BOARD, PROFILE, REQUESTS, WINDOWS, LATE = "llm-recorded", "a100-llama3-8b", 2500, 8, 1.5
BASE, TAIL, AHEAD = "fcfs", 1.5, 0.05  # the p99 that is allowed, over that of the base; the lead that is asked for
AGES = {"total": (10.0, 30.0, 100.0, 300.0), "output": (3.0, 10.0, 30.0, 100.0), "log total": (0.01, 0.03, 0.1, 0.3)}
NAMED = (BASE, "slai-like", "srpt")
MARKS = "*DPXp"  # of learned policies, in order of their names
GROUPS = {
    "by hand": ("#9a9a9a", "o"),
    "aged": ("#56b4e9", "v"),
    "with learned rules": ("#0072b2", "^"),
    "learned": ("#d55e00", ""),
    "told the truth": ("#009e73", "s"),
}


def total(request, system, params):
    """Rank by total length, aged."""
    return request.prompt + request.predicted + params[0] * request.arrival


def output(request, system, params):
    """Rank by predicted output, aged."""
    return request.predicted + params[0] * request.arrival


def log_total(request, system, params):
    """Rank by the logarithm of the total length, aged."""
    return math.log(request.prompt + request.predicted) + params[0] * request.arrival


RANKS = {"total": total, "output": output, "log total": log_total}


def players() -> dict[str, tuple[str, ServingPolicy]]:
    """Return who plays: name -> (group, policy)."""
    learned = stored("serving")
    found: dict[str, tuple[str, ServingPolicy]] = {}
    for name in SERVING_POLICIES:
        made = serving_policy(name)
        group = "told the truth" if made.told == TRUTH else "by hand"
        found[name] = ("learned" if name in learned else group, made)
    aged = [
        ServingPolicy(f"{name} + {weight:g} arrival", RANKS[name], (weight,))
        for name, weights in AGES.items()
        for weight in weights
    ]
    found |= {made.name: ("aged", made) for made in aged}
    for rules in {tuple(sorted(found[name][1].rules.items())) for name in learned} - {()}:
        words = ", ".join(f"{key} {value}" for key, value in rules)
        for made in (serving_policy(BASE), serving_policy("sjf-total"), *aged):
            name = f"{made.name}; {words}"
            found[name] = ("with learned rules", replace(made, name=name, rules=dict(rules)))
    return found


@dataclass(frozen=True, eq=False)
class Played:
    """Mean and 99th percentile of the latency, s, and the share of the requests left undone, by window `(windows,)`."""

    mean: np.ndarray
    p99: np.ndarray
    undone: np.ndarray


def place(on: Board, name: str) -> Scenario:
    """Return a scenario of the board, in which a run is cut off early."""
    return replace(on.scenarios[name], cut_off=LATE)


def once(job: tuple[Scenario, ServingPolicy]) -> Played:
    """Play one policy in all windows of a scenario."""
    scenario, policy = job
    numbers = []
    for seed in range(WINDOWS):
        run = scenario.simulate(policy, seed)
        arrival = run.jobs["arrival"]
        times = np.where(run.done, run.response_times, LATE * arrival[-1] - arrival)
        numbers.append((times.mean(), np.percentile(times, 99), 1 - run.done.mean()))
    return Played(*np.array(numbers).T)


def rows(played: dict[str, Played], groups: dict[str, str]) -> list[dict[str, Any]]:
    """Return a row for each policy, least mean first."""
    base, found = played[BASE], []
    for name, one in played.items():
        mean, p99 = across_seeds(one.mean / base.mean), across_seeds(one.p99 / base.p99)
        found.append(
            {
                "policy": name,
                "group": groups[name],
                "mean": {"mean": mean.mean, "low": mean.low, "high": mean.high},
                "p99": {"mean": p99.mean, "low": p99.low, "high": p99.high},
                "undone": float(one.undone.mean()),
            }
        )
    return sorted(found, key=lambda row: row["mean"]["mean"])


def verdicts(played: dict[str, Played], ranked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Hold each learned policy against those by hand, and against aged ones, whose tail is no worse."""
    found = []
    for row in (row for row in ranked if row["group"] == "learned"):
        verdict = {"policy": row["policy"], "p99": row["p99"]["mean"]}
        for group in ("by hand", "aged", "with learned rules"):
            rivals = [r for r in ranked if r["group"] == group and r["p99"]["mean"] <= row["p99"]["mean"]]
            if not rivals:
                verdict[group] = None
                continue
            best = rivals[0]["policy"]
            gap = across_seeds(1 - played[row["policy"]].mean / played[best].mean)
            verdict[group] = {"best": best, "lead": {"mean": gap.mean, "low": gap.low, "high": gap.high}}
        hand = verdict["by hand"]
        verdict["tail_allowed"] = row["p99"]["mean"] <= TAIL
        verdict["holds"] = bool(verdict["tail_allowed"] and (hand is None or hand["lead"]["mean"] >= AHEAD))
        verdict["clear"] = bool(hand is not None and hand["lead"]["low"] > 0)
        found.append(verdict)
    return found


def sentences(found: list[dict[str, Any]]) -> list[str]:
    """Say in words what came out, by rule."""
    words = []
    for block in found:
        for v in block["verdicts"]:
            parts = []
            for group in ("by hand", "aged", "with learned rules"):
                if v[group] is None:
                    parts.append(f"{group}: nobody has such a tail")
                    continue
                lead = v[group]["lead"]
                ahead = f"{lead['mean']:+.1%} ({lead['low']:+.1%} to {lead['high']:+.1%})"
                parts.append(f"{group} {ahead} against {v[group]['best']}")
            tail = f"p99 {v['p99']:.2f} of {BASE}'s"
            words.append(f"{block['title']}, {v['policy']}, {tail}; lead in the mean, {'; '.join(parts)}.")
    return words


def draw(found: list[dict[str, Any]]) -> plt.Figure:
    """Return the figure: mean against p99, a panel for each workload."""
    style = {"font.family": "sans-serif", "font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "0"}
    with plt.rc_context(style):
        figure, panels = plt.subplots(2, 2, figsize=(11.0, 8.0))
        learned = sorted({row["policy"] for row in found[0]["policies"] if row["group"] == "learned"})
        marks = dict(zip(learned, MARKS, strict=False))
        for panel, block in zip(panels.ravel(), found, strict=True):
            _panel(panel, block, marks)
        looks = [(name, colour, mark) for name, (colour, mark) in GROUPS.items() if mark]
        looks += [(name, GROUPS["learned"][0], mark) for name, mark in marks.items()]
        handles = [plt.Line2D([], [], color=c, marker=m, ls="", ms=10 if m == "*" else 6) for _, c, m in looks]
        handles.append(plt.Line2D([], [], color="0.3", ls=(0, (4, 3)), lw=1))
        names = [*(name for name, _, _ in looks), "floor of the mean"]
        figure.legend(handles, names, ncols=5, loc="upper left", bbox_to_anchor=(0.05, 0.958), frameon=False)
        figure.suptitle(
            "Load 1 on one A100, Llama 3 8B: latency over that of first come first served", x=0.06, ha="left"
        )
        figure.tight_layout(rect=(0, 0, 1, 0.915))
    return figure


def _panel(panel: plt.Axes, block: dict[str, Any], marks: dict[str, str]) -> None:
    most = 2.1
    for row in reversed(block["policies"]):
        colour, mark = GROUPS[row["group"]]
        mean, p99 = row["mean"], row["p99"]
        if mean["mean"] > 1.3 or p99["mean"] > most or row["undone"] > 0:
            continue
        learned = row["group"] == "learned"
        if learned:
            x = [[max(mean["mean"] - mean["low"], 0)], [mean["high"] - mean["mean"]]]
            y = [[max(p99["mean"] - p99["low"], 0)], [p99["high"] - p99["mean"]]]
            panel.errorbar(mean["mean"], p99["mean"], y, x, color=colour, lw=0.8, capsize=2, zorder=3)
            mark = marks[row["policy"]]
        look = {"s": 130 if mark == "*" else 50 if learned else 22, "color": colour, "marker": mark}
        panel.scatter(mean["mean"], p99["mean"], linewidths=0, alpha=0.9, zorder=4 if learned else 2, **look)
        if row["policy"] in NAMED:
            place = {"xytext": (4, -10), "textcoords": "offset points", "fontsize": 7.5, "color": "0.3"}
            panel.annotate(row["policy"], (mean["mean"], p99["mean"]), **place)
    panel.axhline(TAIL, color="0.75", lw=0.8)
    panel.axvline(block["floor"], color="0.3", lw=1, ls=(0, (4, 3)))
    panel.set_title(block["title"], loc="left", fontsize=10)
    panel.set_xlabel("mean end-to-end latency / that of fcfs")
    panel.set_ylabel("99th percentile / that of fcfs")
    panel.set_ylim(0.55, most)
    panel.spines[["top", "right"]].set_visible(False)


def report(found: dict[str, Any], console: Console) -> None:
    """Print the best of each workload and the verdicts."""
    for block in found["workloads"]:
        table = Table("policy", "group", "mean / fcfs", "p99 / fcfs", title=block["title"], title_justify="left")
        for row in block["policies"][:14]:
            cells = [f"{row[k]['mean']:.3f} ({row[k]['low']:.3f} to {row[k]['high']:.3f})" for k in ("mean", "p99")]
            table.add_row(row["policy"], row["group"], *cells)
        console.print(table)
    for sentence in found["finding"]:
        console.print(sentence)


def main() -> None:
    """Play, store, draw and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--requests", type=int, default=REQUESTS, help="of a window, at most")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--data", help="folder of the recordings")
    parser.add_argument("--out", type=Path, default=OUT, help="where results are stored, without ending")
    options = parser.parse_args()
    everybody, on = players(), boards("llm", options.data)[BOARD].sized(WINDOWS, options.requests)
    on = replace(on, fields={name: given for name, given in on.fields.items() if given["profile"] == PROFILE})
    places = {name: place(on, name) for name in on.fields}
    blocks = []
    with ProcessPoolExecutor(options.processes, initializer=end_with_parent) as pool:
        jobs = [(where, made) for where, (_, made) in product(places.values(), everybody.values())]
        done = iter(track(pool.map(once, jobs), "runs", len(jobs), console=Console(stderr=True)))
        by_place = {name: {one: next(done) for one in everybody} for name in places}
    for (name, played), recording in zip(by_place.items(), on.recorded, strict=True):
        ranked = rows(played, {one: group for one, (group, _) in everybody.items()})
        floors = np.array([places[name].bound(seed) for seed in range(WINDOWS)])
        words = {"workload": on.fields[name]["recording"], "title": name.partition(",")[0], "input": told(recording)}
        least = float((floors / played[BASE].mean).mean())
        blocks.append({**words, "floor": least, "policies": ranked, "verdicts": verdicts(played, ranked)})
    where = next(iter(places.values())).to_dict()
    values = {key: where[key] for key in ("profile", "predictor")} | {"workloads": blocks, "finding": sentences(blocks)}
    found = result(values, None, range(WINDOWS))
    options.out.parent.mkdir(exist_ok=True)
    write_json(options.out.with_suffix(".json"), found)
    figure = draw(blocks)
    figure.savefig(options.out.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(options.out.with_suffix(".png"), dpi=110)
    plt.close(figure)
    print(json.dumps(plain(found))) if options.json else report(found, Console(width=150))


if __name__ == "__main__":
    main()

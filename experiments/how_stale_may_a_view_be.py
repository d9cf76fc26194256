"""How stale may a router's view of the replicas be?

Setting: 4 and 16 replicas of a100-llama3-8b under vllm-v1, Poisson arrivals at load .8 and .9 of what each of them
sustains by itself, lengths of azure-conv; nobody shares a prefix. All replicas report at the same moments, so that a
report is from 0 to `staleness` old when it is used. Routers: two that read reports alone (llm-d's weighted scorers, and
least predicted time to first token), one that reads memory alone (least KV), vLLM's rule with and without what was sent
since the last report, and least outstanding, which counts by itself and reads no report.

The same requests meet every router and every staleness, so that ratios to the fresh view are paired. Intervals are
Student's t over seeds, 95 %; the first tenth of the requests is left out. Nothing is tuned. BLIS (inference-sim) says
of llm-d's scorers with weights 3, 2, 2, on a workload of its own, that a view below 5 ms old costs nothing, one of
10 ms 14 % of the p99 of the time to first token, and one of 100 ms 354 %. Writes `how_stale_may_a_view_be.json`,
`.svg` and `.png` into `results`; ten minutes of one core.
"""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from rich.console import Console
from rich.table import Table

from llmqueue_gym.evaluation import Estimate, across_seeds
from llmqueue_gym.systems import Scenario

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from study import study

OUT = Path(__file__).parent / "results" / "how_stale_may_a_view_be"
SIZES, LOADS = (4, 16), (0.8, 0.9)
STALENESS = (0.0, 0.005, 0.01, 0.03, 0.1, 0.3, 1.0)
REQUESTS, SEEDS, FIRST_SEED, WARMUP = 12_000, 6, 300, 0.1
ROUTERS = {
    "llm-d": "#d55e00",
    "least-ttft": "#0072b2",
    "least-kv": "#7f4f24",
    "vllm-dp:since=false": "#cc79a7",
    "vllm-dp": "#009e73",
    "least-outstanding": "0.45",
}
BLIS = {0.005: 0.0, 0.01: 0.14, 0.1: 3.54}  # what is added to the p99


def p99(router: str, size: int, load: float, staleness: float, requests: int, seed: int) -> float:
    """Return the p99 of the time to first token of a run, s."""
    fleet = Scenario("fleet", replicas=size, load=load, n_jobs=requests, staleness=staleness, lengths="azure-conv")
    run = fleet.simulate(router, seed)
    waits = (run.outcome["first_token"] - run.jobs["arrival"])[int(WARMUP * requests) :]
    return float(np.quantile(waits, 0.99))


def play(task: tuple[str, int, float, int, int]) -> list[dict[str, Any]]:
    """Return what a router does by the age of what it sees, at one size and load."""
    router, size, load, requests, seeds = task
    rows: list[dict[str, Any]] = []
    for staleness in STALENESS:
        waits = [p99(router, size, load, staleness, requests, FIRST_SEED + k) for k in range(seeds)]
        row = {"router": router, "replicas": size, "load": load, "staleness": staleness, "p99": waits}
        row |= across_seeds(waits)._asdict()
        row["ratio"] = across_seeds(np.divide(waits, rows[0]["p99"] if rows else waits))._asdict()
        rows.append(row)
    return rows


def added(row: dict[str, Any]) -> str:
    """Return in words what staleness adds to the p99."""
    ratio = Estimate(**row["ratio"])
    return f"{100 * (ratio.mean - 1):+.0f} % (±{50 * (ratio.high - ratio.low):.0f})"


def findings(rows: list[dict[str, Any]]) -> list[str]:
    """Say what each age costs, who stays the same, and how that compares with what BLIS says."""
    found = {(r["router"], r["replicas"], r["load"], r["staleness"]): r for r in rows}
    sentences = []
    for router in ROUTERS:
        mine = [r for r in rows if r["router"] == router and r["staleness"] > 0]
        if all(r["ratio"]["mean"] == 1 for r in mine):
            sentences.append(f"{router} reads no report, and no age makes a difference to it.")
            continue
        for size in SIZES:
            for load in LOADS:
                parts = [f"{1000 * s:g} ms {added(found[router, size, load, s])}" for s in STALENESS[1:]]
                sentences.append(f"{router}, {size} replicas, load {load:g}, on p99: {', '.join(parts)}.")
    for size in SIZES:
        for load in LOADS:
            own = found["least-outstanding", size, load, 0.0]["p99"]
            against = {s: across_seeds(np.divide(found["llm-d", size, load, s]["p99"], own)) for s in STALENESS}
            better = [f"{1000 * s:g}" for s, ratio in against.items() if ratio.high < 1]
            worse = [f"{1000 * s:g}" for s, ratio in against.items() if ratio.low > 1]
            sentences.append(
                f"{size} replicas, load {load:g}: llm-d against counting one's own requests, by p99: better at "
                f"{', '.join(better) or 'no'} ms, worse at {', '.join(worse) or 'no'} ms."
            )
    told = ", ".join(f"{1000 * s:g} ms {100 * more:+.0f} %" for s, more in BLIS.items())
    here = []
    for size in SIZES:
        for load in LOADS:
            cells = [found["llm-d", size, load, s]["ratio"] for s in BLIS]
            inside = [c["low"] <= 1 + more <= c["high"] for c, more in zip(cells, BLIS.values(), strict=True)]
            ratios = ", ".join(f"{100 * (c['mean'] - 1):+.0f} %" for c in cells)
            here.append(f"{size} replicas at {load:g}: {ratios} ({sum(inside)} of {len(inside)} intervals hold it)")
    sentences.append(f"BLIS says of llm-d's scorers on its workload {told}; here {'; '.join(here)}.")
    for staleness, more in BLIS.items():
        verdicts: dict[str, list[str]] = {"less": [], "as much": [], "more": []}
        for size in SIZES:
            for load in LOADS:
                ratio = found["llm-d", size, load, staleness]["ratio"]
                word = "less" if ratio["high"] < 1 + more else "more" if ratio["low"] > 1 + more else "as much"
                verdicts[word].append(f"{size} replicas at {load:g}")
        parts = [f"{word} with {', '.join(where)}" for word, where in verdicts.items() if where]
        sentences.append(f"So {1000 * staleness:g} ms cost, beside what BLIS says: {'; '.join(parts)}.")
    return sentences


def draw(found: dict[str, Any]) -> plt.Figure:
    """Return the figure: p99 of the time to first token by the age of reports, a panel each size and load."""
    style = {"font.family": "sans-serif", "font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "0"}
    x = np.arange(len(STALENESS))
    with plt.rc_context(style):
        figure, panels = plt.subplots(1, 4, figsize=(13.0, 4.2), sharey=True)
        for panel, (size, load) in zip(panels, [(s, a) for s in SIZES for a in LOADS], strict=True):
            for router, colour in ROUTERS.items():
                rows = [r for r in found["rows"] if (r["router"], r["replicas"], r["load"]) == (router, size, load)]
                mean, low, high = (np.array([r[key] for r in rows]) for key in ("mean", "low", "high"))
                error = np.maximum([mean - low, high - mean], 0)
                panel.errorbar(x, mean, error, color=colour, lw=1.4, elinewidth=0.8, capsize=1.5, label=router)
                if router == "llm-d":
                    at = [STALENESS.index(s) for s in BLIS]
                    shape = {"marker": "x", "ls": "", "color": colour, "ms": 6, "label": "BLIS's ratios on llm-d"}
                    panel.plot(at, mean[0] * (1 + np.array(list(BLIS.values()))), **shape)
            panel.set_yscale("log")
            panel.set_xticks(x, [f"{1000 * s:g}" for s in STALENESS])
            panel.set_xlabel("staleness, ms")
            panel.set_title(f"{size} replicas, load {load:g}", loc="left", fontsize=9.5)
            panel.spines[["top", "right"]].set_visible(False)
        panels[0].set_ylabel("p99 of the time to first token, s")
        panels[0].legend(frameon=False, fontsize=7.5)
        title = "How stale may a router's view be? azure-conv lengths, nobody shares a prefix; 95 % intervals"
        figure.suptitle(title, x=0.02, ha="left", fontsize=10.5)
        figure.tight_layout(w_pad=1.5)
    return figure


def report(found: dict[str, Any], console: Console) -> None:
    """Print the p99 and the findings."""
    for size in SIZES:
        for load in LOADS:
            title = f"{size} replicas, load {load:g}: p99 of the time to first token, s, by staleness"
            table = Table("router", *(f"{1000 * s:g} ms" for s in STALENESS), title=title)
            for router in ROUTERS:
                rows = [r for r in found["rows"] if (r["router"], r["replicas"], r["load"]) == (router, size, load)]
                table.add_row(router, *(f"{r['mean']:.3f} ±{(r['high'] - r['low']) / 2:.3f}" for r in rows))
            console.print(table)
    for sentence in found["finding"]:
        console.print(sentence)


def tasks(options: Any) -> list[Any]:
    """Return the routers, sizes and loads that are to be played."""
    return [
        (router, size, load, options.requests, options.seeds) for size in SIZES for load in LOADS for router in ROUTERS
    ]


def tell(played: list[list[dict[str, Any]]], options: Any) -> dict[str, Any]:
    """Return the result."""
    rows = [row for part in played for row in part]
    setting = {"profile": "a100-llama3-8b", "rules": "vllm-v1", "lengths": "azure-conv"}
    setting |= {"requests": options.requests, "warmup": WARMUP, "blis": {str(s): more for s, more in BLIS.items()}}
    return {**setting, "rows": rows, "finding": findings(rows)}


def main(arguments: list[str] | None = None) -> None:
    """Play, store, draw and print."""
    usual = {"first_seed": FIRST_SEED, "work": "requests", "requests": REQUESTS, "seeds": SEEDS}
    study(__doc__, OUT, tasks, play, tell, draw, report, width=160, arguments=arguments, **usual)


if __name__ == "__main__":
    main()

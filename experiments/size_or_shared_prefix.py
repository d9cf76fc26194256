"""Order by size or by shared prefix? The R1, R2 and R3 of the survey's section 4.2, then streams of requests.

Three requests: R1 and R2 begin with one context of 8,192 tokens, R3 stands alone and is smaller; one seat, all there at
time 0, all six orders, by the size of R3, where memory holds everything and where it holds hardly more than R1.

Streams: one replica, a100-llama3-8b under vllm-v1, with vLLM's cache and with a radix tree. Long contexts: half of the
requests begin with one of 32 contexts of 8,192 tokens, the others stand alone, with 200 tokens of prompt and 60 of
output of their own on average; memory for all contexts, or 80,000 tokens for 262,144. Chats and few-shot prompts have
80,000 tokens, too; Mooncake's conversations, where they are at hand, have all of the GPU. Loads are shares
of what first come first served completes with the same cache while a backlog never ends; 1.1 tells of an overload that
lasts for so many requests, and of no steady state. Orders by size: shortest predicted total, blind to the cache;
shortest uncached prompt; predicted seconds, what is cached free. By prefix: longest cached first, also with age (1,000
tokens a second) or a bound (10 s), and SGLang's own lpm and dfs-weight (tree alone). Between them: highest response
ratio. Predictions are log-normal, sigma .5; all have their defaults, nothing is tuned. Ratios are to first come first
served on the same requests, with 95 % intervals over seeds by logarithms; the first tenth is left out. Starvation is
the share of all waiting, until first scheduled, on the 5 % who wait longest; users report three quarters for longest
prefix first. Nobody reads a shared context once for a whole batch here (Hydragen), which would favour neighbours more.

Writes `size_or_shared_prefix.json`, `.svg` and `.png` into `results`; some minutes.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.ticker import NullLocator
from rich.console import Console
from rich.table import Table
from shared_prefixes import WARMUP, Mixed, at_load, measured, recorded, recording
from survey_factors_llm import interval
from three_requests import three, told_of_three

from llmqueue_gym.evaluation import across_seeds
from llmqueue_gym.systems import Scenario

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from study import study

OUT = Path(__file__).parent / "results" / "size_or_shared_prefix"
REQUESTS, SEEDS = 3000, 5
TICKS = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5)
LOADS, SHOWN = (0.8, 0.95, 1.1), 0.95
LONG = Mixed(own="lognormal:prompt=200,output=60", texts=32, zipf=0.0, prefix=8192.0)
SHORT = "a100-llama3-8b:kv_tokens=80000"
STREAMS: dict[str, tuple[Any, str]] = {
    "contexts fit": (LONG, "a100-llama3-8b"),
    "contexts do not fit": (LONG, SHORT),
    "few-shot": ("few-shot:tasks=20,example=400,own=lognormal:prompt=200;output=60", SHORT),
    "chats": ("chats:think=300,prefix=1024", SHORT),
    "Mooncake": (None, "a100-llama3-8b"),
}
CACHES = ("vllm", "radix")
BASE, REPORTED = "fcfs", 0.75  # of all waiting, as users report
ORDERS = {
    BASE: ("0.4", "o"),
    "sjf-total": ("#56b4e9", "v"),
    "shortest-uncached": ("#0072b2", "^"),
    "uncached-then-output": ("#000000", "<"),
    "hrrn-like": ("#009e73", "s"),
    "longest-prefix": ("#d55e00", "D"),
    "longest-prefix-aged": ("#e69f00", "d"),
    "longest-prefix-bounded": ("#cc79a7", "P"),
    "lpm": ("#7f4f24", "X"),
    "dfs-weight": ("#8a6fb0", "*"),
}
PAIR = ("shortest-uncached", "longest-prefix")  # an order by size that knows the cache, and one by prefix
OF_TREE = ("lpm", "dfs-weight")  # SGLang's own, which are rules here
KEYS = ("mean", "p99", "ttft", "ttft_p99", "hits", "worst")


def play(task: tuple[str, str, float, int, int, Path | None]) -> list[dict[str, Any]]:
    """Return what every order does with a stream, a cache and a load."""
    stream, caching, load, requests, seeds, file = task
    law, profile = STREAMS[stream]
    source = {"lengths": law} if file is None else {"workload": recorded(file)}
    rules = f"vllm-v1:caching={caching}"
    where = Scenario("replica", profile=profile, rules=rules, rate=1.0, n_jobs=requests, **source)
    where, rows, base = at_load(where, BASE, load), [], {}
    for order in ORDERS:
        if order in OF_TREE and caching != "radix":
            continue
        if order in OF_TREE:
            here, player = replace(where, rules=f"{rules},queue_order={order}"), BASE
        else:
            here, player = where, order
        runs = [measured(here.simulate(player, seed)) for seed in range(seeds)]
        values = {key: [run[key] for run in runs] for key in KEYS}
        base = base or values
        row: dict[str, Any] = {"stream": stream, "caching": caching, "load": load, "rate": where.rate, "order": order}
        row |= {key: across_seeds(values[key])._asdict() for key in KEYS} | {"means": values["mean"]}
        for key in ("mean", "p99"):
            ends = interval(np.divide(values[key], base[key]).tolist())
            row[f"{key}_ratio"] = dict(zip(("mean", "low", "high"), ends, strict=True))
        rows.append(row)
    return rows


def cell(rows: list[dict[str, Any]], stream: str, caching: str, load: float) -> list[dict[str, Any]]:
    """Return the rows of a stream, a cache and a load."""
    return [row for row in rows if (row["stream"], row["caching"], row["load"]) == (stream, caching, load)]


def findings(alone: list[dict[str, Any]], rows: list[dict[str, Any]]) -> list[str]:
    """Say which order is best for the three and in each stream, and who starves."""
    words = [in_short(rows), *told_of_three(alone)]
    for stream in dict.fromkeys(row["stream"] for row in rows):
        for caching in CACHES:
            for load in LOADS:
                mine = cell(rows, stream, caching, load)
                best = min(mine, key=lambda row: row["mean"]["mean"])
                kept = min((row for row in mine if row["p99_ratio"]["low"] <= 1), key=lambda row: row["mean"]["mean"])
                prefix = next(row for row in mine if row["order"] == "longest-prefix")
                safe = "" if kept is best else f"; with a p99 not above {BASE}'s {in_words(kept)}"
                words.append(f"{stream}, {caching}, load {load:g}: {in_words(best)}{safe}; {in_words(prefix)}.")
    prefix = [row for row in rows if row["order"] == "longest-prefix"]
    most = max(prefix, key=lambda row: row["worst"]["mean"])
    words.append(
        f"The worst 5 % bear three quarters of all waiting under longest-prefix in "
        f"{sum(row['worst']['mean'] >= REPORTED for row in prefix)} of {len(prefix)} cells, at most "
        f"{most['worst']['mean']:.0%} ({most['stream']}, {most['caching']}, load {most['load']:g})."
    )
    return words


def in_short(rows: list[dict[str, Any]]) -> str:
    """Say in how many cells an order by size has a lower mean than one by prefix, by intervals of paired ratios."""
    size, prefix = ([row for row in rows if row["order"] == order] for order in PAIR)
    ratios = [interval(np.divide(a["means"], b["means"]).tolist()) for a, b in zip(size, prefix, strict=True)]
    told = sum(high < 1 for *_, high in ratios), sum(low > 1 for _, low, _ in ratios)
    least, most = min(ratios), max(ratios)
    return (
        f"{PAIR[0]} has a lower mean than {PAIR[1]} in {told[0]} of {len(ratios)} cells, a higher one in {told[1]}; "
        f"their ratio goes from {least[0]:.2f} ({least[1]:.2f} to {least[2]:.2f}) to {most[0]:.2f} ({most[1]:.2f} to "
        f"{most[2]:.2f})."
    )


def in_words(row: dict[str, Any]) -> str:
    """Return an order with its mean over that of first come first served, and who bears the waiting."""
    ends = row["mean_ratio"]
    return (
        f"{row['order']} {ends['mean']:.2f} ({ends['low']:.2f} to {ends['high']:.2f}) of {BASE}'s mean, "
        f"{row['worst']['mean']:.0%} of waiting on 5 %"
    )


def draw(found: dict[str, Any]) -> plt.Figure:
    """Return the figure: a stream each column; means by load above, who bears the waiting below."""
    style = {"font.family": "sans-serif", "font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "0"}
    streams = list(dict.fromkeys(row["stream"] for row in found["rows"]))
    with plt.rc_context(style):
        size = (3.1 * len(streams) + 0.6, 7.0)
        figure, panels = plt.subplots(2, len(streams), figsize=size, sharey="row", layout="constrained", squeeze=False)
        for column, stream in enumerate(streams):
            above, below = panels[:, column]
            for order, (colour, mark) in ORDERS.items():
                mine = [r for r in found["rows"] if (r["stream"], r["order"]) == (stream, order)]
                for caching in CACHES:
                    ratios = [row["mean_ratio"] for row in mine if row["caching"] == caching]
                    y, low, high = (np.array([r[end] for r in ratios]) for end in ("mean", "low", "high"))
                    if caching == (CACHES[1] if order in OF_TREE else CACHES[0]):
                        shape = {"color": colour, "marker": mark, "ms": 4, "lw": 1.2, "elinewidth": 0.7}
                        above.errorbar(LOADS, y, [y - low, high - y], label=order, **shape)
                    for row in (r for r in mine if (r["caching"], r["load"]) == (caching, SHOWN)):
                        inside = colour if caching == CACHES[0] else "none"
                        x, y = row["mean_ratio"], {end: 100 * row["worst"][end] for end in ("mean", "low", "high")}
                        bars = [[[e["mean"] - e["low"]], [e["high"] - e["mean"]]] for e in (y, x)]
                        below.errorbar(x["mean"], y["mean"], *bars, color=colour, marker=mark, mfc=inside, ms=5,
                                       elinewidth=0.5)  # fmt: skip
            above.set_title(stream, loc="left", fontsize=10)
            above.set_yscale("log")
            above.set_ylim(0.09, 1.8)
            above.set_yticks(TICKS, [f"{tick:g}" for tick in TICKS])
            above.yaxis.set_minor_locator(NullLocator())
            above.set_xticks(LOADS)
            above.set_xlabel(f"load, of what {BASE} completes")
            below.axhline(100 * REPORTED, color="0.7", lw=0.8, ls=(0, (3, 3)))
            below.set_xlabel(f"mean over {BASE}'s at load {SHOWN:g}")
            below.set_ylim(0, 103)
        for panel in panels.ravel():
            panel.spines[["top", "right"]].set_visible(False)
            panel.tick_params(which="both", labelsize=8)
        panels[0, 0].set_ylabel(f"mean end-to-end time over {BASE}'s\nvLLM's cache; lpm, dfs-weight: tree")
        panels[1, 0].set_ylabel("waiting borne by the worst 5 %, %\nfilled: vLLM's cache; hollow: tree")
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
        figure.suptitle("Order by size or by shared prefix?  One replica; 95 % intervals", x=0.01, ha="left")
    return figure


def report(found: dict[str, Any], console: Console) -> None:
    """Print a row for each stream, cache and load, and the findings."""
    names = [name for name in ORDERS if name != BASE]
    table = Table("stream", "cache", "load", *names, title=f"mean over {BASE}'s; waiting borne by the worst 5 %")
    for stream in dict.fromkeys(row["stream"] for row in found["rows"]):
        for caching in CACHES:
            for load in LOADS:
                told = {row["order"]: row for row in cell(found["rows"], stream, caching, load)}
                numbers = [f"{told[n]['mean_ratio']['mean']:.2f}; {told[n]['worst']['mean']:.0%}" if n in told else ""
                           for n in names]  # fmt: skip
                table.add_row(stream, caching, f"{load:g}", *numbers)
    console.print(table)
    for sentence in found["finding"]:
        console.print(sentence)


def tasks(options: Any) -> list[Any]:
    """Return the streams, caches and loads that are played."""
    files = {name: recording(options.data) if law is None else None for name, (law, _) in STREAMS.items()}
    streams = [name for name, (law, _) in STREAMS.items() if law is not None or files[name] is not None]
    sizes = options.requests, options.seeds
    return [(name, caching, load, *sizes, files[name]) for name in streams for caching in CACHES for load in LOADS]


def tell(played: list[list[dict[str, Any]]], options: Any) -> dict[str, Any]:
    """Return the result."""
    alone, rows = three(), [row for part in played for row in part]
    told = {"requests": options.requests, "warmup": WARMUP, "streams": {k: list(v) for k, v in STREAMS.items()}}
    return {**told, "three": alone, "rows": rows, "finding": findings(alone, rows)}


def main(arguments: list[str] | None = None) -> None:
    """Play, store, draw and print."""
    usual = {"work": "requests", "requests": REQUESTS, "seeds": SEEDS, "width": 200, "recordings": True}
    study(__doc__, OUT, tasks, play, tell, draw, report, arguments=arguments, **usual)


if __name__ == "__main__":
    main()

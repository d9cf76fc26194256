"""When is affinity worth its imbalance: when should a prompt go where its beginning is cached, and not where few wait?

Four replicas, a100-llama3-8b under vllm-v1 with vLLM's cache, 80,000 tokens of memory each. Prompts begin with one of a
few texts of 2,048 tokens and have 200 tokens of their own and 60 of output on average: 16 texts, which fit each cache;
100, which fit all four together and not one, equally popular, or so that two in five prompts have the same (Zipf 1.5);
1,000, which fit nowhere. Chats with 1,024 tokens of system prompt; Mooncake's conversations, where they are at hand, on
all of the GPU. In these two all prompts begin with one text, and hashing it sends all to one place. Loads are shares of
what least-outstanding, which looks at no cache, completes with the same caches while a backlog never ends.

Consistent hashing with bounded loads is the dial: no replica has more than `factor` times the mean of requests; 1 is
balance, infinity affinity alone. Beside it the routers that people run, with their defaults; nothing is tuned. Ratios
are to least-outstanding on the same requests, 95 % intervals over seeds by logarithms; the first tenth is left out.

A rule was written down before any run: affinity is worth its imbalance where the busiest replica is less busy for it,
which weighs the prefill that it saves against how unevenly it spreads the rest. It is held against the mean time to
first token: it says so where both ratios are on the same side of 1.

Writes `when_is_affinity_worth_its_imbalance.json`, `.svg` and `.png` into `results`; some minutes.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.ticker import NullLocator
from rich.console import Console
from rich.table import Table
from shared_prefixes import WARMUP, at_load, measured, recorded, recording
from survey_factors_llm import interval

from llmqueue_gym.evaluation import across_seeds
from llmqueue_gym.systems import Run, Scenario

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from study import study

OUT = Path(__file__).parent / "results" / "when_is_affinity_worth_its_imbalance"
REPLICAS, REQUESTS, SEEDS = 4, 4000, 5
LOADS = (0.6, 0.9)
OWN = "prefix=2048,own=lognormal:prompt=200;output=60"
SHORT = "a100-llama3-8b:kv_tokens=80000"
STREAMS: dict[str, tuple[str | None, str]] = {
    "texts fit each cache": (f"prefixes:texts=16,zipf=0,{OWN}", SHORT),
    "fit all together": (f"prefixes:texts=100,zipf=0,{OWN}", SHORT),
    "fit together, one popular": (f"prefixes:texts=100,zipf=1.5,{OWN}", SHORT),
    "fit nowhere": (f"prefixes:texts=1000,zipf=1.1,{OWN}", SHORT),
    "chats": ("chats:think=300,prefix=1024", SHORT),
    "Mooncake": (None, "a100-llama3-8b"),
}
BLIND, ALONE = "least-outstanding", "consistent-hash:factor=inf"
DIAL = ("consistent-hash:factor=1", "consistent-hash:factor=1.25", "consistent-hash:factor=2", ALONE)
NAMED = ("prefix-aware-like", "cache-aware-like", "preble-like", "llm-d", "dynamo", "least-ttft")
ROUTERS = (BLIND, *DIAL, *NAMED)
COLOURS = dict(zip(LOADS, ("#0072b2", "#d55e00"), strict=True))
KEYS = ("mean", "p99", "ttft", "ttft_p99", "hits", "imbalance", "busiest")
RATIOS = ("mean", "ttft", "ttft_p99", "busiest")
SHOWN, TICKS = ("ttft_ratio", "busiest_ratio"), (0.6, 0.8, 1.0, 1.5, 2.0, 3.0)


def told(run: Run) -> dict[str, float]:
    """Return what `measured` does, the busy time of the busiest replica, s, and how often it is the mean."""
    busy = np.array([part["prefill_time"] + part["decode_time"] for part in run.parts])
    return {**measured(run), "imbalance": float(busy.max() / busy.mean()), "busiest": float(busy.max())}


def play(task: tuple[str, float, int, int, Path | None]) -> list[dict[str, Any]]:
    """Return what every router does with a stream at a load."""
    stream, load, requests, seeds, file = task
    lengths, profile = STREAMS[stream]
    source = {"lengths": lengths} if file is None else {"workload": recorded(file)}
    fleet = {"replicas": REPLICAS, "profile": profile, "rules": "vllm-v1:caching=vllm"}
    where = at_load(Scenario("fleet", rate=1.0, n_jobs=requests, **fleet, **source), BLIND, load)
    rows, base = [], {}
    for router in ROUTERS:
        runs = [told(where.simulate(router, seed)) for seed in range(seeds)]
        values = {key: [run[key] for run in runs] for key in KEYS}
        base = base or values
        row: dict[str, Any] = {"stream": stream, "load": load, "rate": where.rate, "router": router}
        row |= {key: across_seeds(values[key])._asdict() for key in KEYS}
        for key in RATIOS:
            ends = interval(np.divide(values[key], base[key]).tolist())
            row[f"{key}_ratio"] = dict(zip(("mean", "low", "high"), ends, strict=True))
        rows.append(row)
    return rows


def side(ratio: dict[str, float]) -> int:
    """Return whether a ratio lies below 1 (-1) or above (1) with all of its interval, or neither (0)."""
    return -1 if ratio["high"] < 1 else 1 if ratio["low"] > 1 else 0


def findings(rows: list[dict[str, Any]]) -> list[str]:
    """Say where affinity is worth it, what affinity alone does, and how the rule fared."""
    others = [row for row in rows if row["router"] != BLIND]
    clear = [row for row in others if side(row["busiest_ratio"]) and side(row["ttft_ratio"])]
    right = [row for row in clear if side(row["busiest_ratio"]) == side(row["ttft_ratio"])]
    means = sum((row["busiest_ratio"]["mean"] < 1) == (row["ttft_ratio"]["mean"] < 1) for row in others)
    best = [
        min((r for r in others if (r["stream"], r["load"]) == cell), key=lambda row: row["ttft_ratio"]["mean"])
        for cell in dict.fromkeys((row["stream"], row["load"]) for row in rows)
    ]
    alone = [side(row["ttft_ratio"]) for row in others if row["router"] == ALONE]
    words = [
        f"Some affinity is worth it in {sum(side(row['ttft_ratio']) < 0 for row in best)} of {len(best)} cells, best "
        f"are {', '.join(f'{name} in {n}' for name, n in Counter(row['router'] for row in best).most_common())}; "
        f"affinity alone is worse than {BLIND} in {alone.count(1)} and better in {alone.count(-1)}.",
        f"The rule (worth it where the busiest replica is less busy) says right in {len(right)} of {len(clear)} cases "
        f"in which both ratios are clear, and by means alone in {means} of all {len(others)}.",
    ]
    for stream, load in dict.fromkeys((row["stream"], row["load"]) for row in rows):
        mine = [row for row in others if (row["stream"], row["load"]) == (stream, load)]
        best = min(mine, key=lambda row: row["ttft_ratio"]["mean"])
        dial = [row for row in mine if row["router"] in DIAL]
        chosen = min(dial, key=lambda row: row["ttft_ratio"]["mean"])
        alone = next(row for row in mine if row["router"] == ALONE)
        words.append(
            f"{stream}, load {load:g}: best {in_words(best)}; of the dial {in_words(chosen)}; alone {in_words(alone)}, "
            f"imbalance {alone['imbalance']['mean']:.2f}; worse than {BLIND} are "
            f"{', '.join(row['router'] for row in mine if side(row['ttft_ratio']) > 0) or 'none'}."
        )
    return words


def in_words(row: dict[str, Any]) -> str:
    """Return a router with its mean time to first token over that of the blind one."""
    ends = row["ttft_ratio"]
    return f"{row['router']} {ends['mean']:.2f} ({ends['low']:.2f} to {ends['high']:.2f})"


def draw(found: dict[str, Any]) -> plt.Figure:
    """Return the figure: a stream each column; time to first token above, work of the busiest replica below."""
    style = {"font.family": "sans-serif", "font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "0"}
    streams, names = list(dict.fromkeys(row["stream"] for row in found["rows"])), [*DIAL, *NAMED]
    with plt.rc_context(style):
        size = (2.6 * len(streams) + 0.6, 6.4)
        shape: dict[str, Any] = {"layout": "constrained", "squeeze": False, "sharey": "row", "sharex": True}
        figure, panels = plt.subplots(2, len(streams), figsize=size, **shape)
        for (k, key), (column, stream) in ((a, b) for a in enumerate(SHOWN) for b in enumerate(streams)):
            panel = panels[k, column]
            for load, colour in COLOURS.items():
                mine = {r["router"]: r[key] for r in found["rows"] if (r["stream"], r["load"]) == (stream, load)}
                y, low, high = (np.array([mine[name][end] for name in names]) for end in ("mean", "low", "high"))
                x = np.arange(len(names)) + (-0.12 if load == LOADS[0] else 0.12)
                panel.errorbar(x, y, [y - low, high - y], color=colour, marker="o", ms=4, ls="", label=f"load {load:g}")
                panel.plot(x[: len(DIAL)], y[: len(DIAL)], color=colour, lw=0.8)
            panel.axhline(1, color="0.7", lw=0.8, ls=(0, (3, 3)), zorder=0)
            panel.set_yscale("log")
            panel.spines[["top", "right"]].set_visible(False)
            panel.tick_params(which="both", labelsize=8)
        for panel, stream in zip(panels[0], streams, strict=True):
            panel.set_title(stream, loc="left", fontsize=9.5)
        panels[0, 0].yaxis.set_major_formatter("{x:g}")
        panels[1, 0].set_yticks(TICKS, [f"{tick:g}" for tick in TICKS])
        panels[1, 0].yaxis.set_minor_locator(NullLocator())
        labels = [name.replace("consistent-hash:factor=", "hash, ").replace("-like", "") for name in names]
        for panel in panels[1]:
            panel.set_xticks(range(len(names)), labels, rotation=90)
        panels[0, 0].set_ylabel("mean time to first token")
        panels[1, 0].set_ylabel("busy time of the busiest replica")
        panels[0, 0].legend(frameon=False)
        title = f"When is affinity worth its imbalance?  Ratios to {BLIND}, four replicas; 95 % intervals"
        figure.suptitle(title, x=0.01, ha="left")
    return figure


def report(found: dict[str, Any], console: Console) -> None:
    """Print a row for each stream and load, and the findings."""
    names = [name for name in ROUTERS if name != BLIND]
    heads = [name.replace("consistent-hash:factor", "hash") for name in names]
    table = Table("stream", "load", *heads, title=f"mean time to first token over {BLIND}'s; imbalance")
    for stream, load in dict.fromkeys((row["stream"], row["load"]) for row in found["rows"]):
        mine = {r["router"]: r for r in found["rows"] if (r["stream"], r["load"]) == (stream, load)}
        cells = [f"{mine[n]['ttft_ratio']['mean']:.2f}; {mine[n]['imbalance']['mean']:.2f}" for n in names]
        table.add_row(stream, f"{load:g}", *cells)
    console.print(table)
    for sentence in found["finding"]:
        console.print(sentence)


def tasks(options: Any) -> list[Any]:
    """Return the streams and loads that are played."""
    files = {name: recording(options.data) if law is None else None for name, (law, _) in STREAMS.items()}
    streams = [name for name, (law, _) in STREAMS.items() if law is not None or files[name] is not None]
    return [(name, load, options.requests, options.seeds, files[name]) for name in streams for load in LOADS]


def tell(played: list[list[dict[str, Any]]], options: Any) -> dict[str, Any]:
    """Return the result."""
    rows = [row for part in played for row in part]
    setting = {"replicas": REPLICAS, "requests": options.requests, "warmup": WARMUP}
    return {**setting, "streams": {k: list(v) for k, v in STREAMS.items()}, "rows": rows, "finding": findings(rows)}


def main(arguments: list[str] | None = None) -> None:
    """Play, store, draw and print."""
    usual = {"work": "requests", "requests": REQUESTS, "seeds": SEEDS, "width": 200, "recordings": True}
    study(__doc__, OUT, tasks, play, tell, draw, report, arguments=arguments, **usual)


if __name__ == "__main__":
    main()

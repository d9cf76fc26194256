"""One large replica or several small ones for the same money, and how many small ones match one large?

Fleets that cost the same to 3 %, at the list prices of the profiles. OPT-13B on four A100s, as one replica of four that
share each layer, two of two, or four of one: times measured by DistServe's authors, and what the GPUs say to each other
is in them. Llama 3.1 8B on one H100 or five L40S, and 70B on four H100 (one replica, or two of two with 8-bit weights),
two pairs of H200, six MI300X, or five fours of L40S, which speak over PCIe: times estimated from data sheets, to the 3
to 20 % that `roofline_factors.py` says. Rules vllm-v1 with 2,048 tokens and 1,024 seats an iteration everywhere,
lengths of ShareGPT below 2,048 tokens, Poisson arrivals, least-outstanding; nobody shares a prefix.

Rates are shares of what the large replica sustains. Goodput is the largest rate at which nine in ten requests are
within objectives that were set before any run: the first token within 1 s and each later one within 50 ms on average
(strict), or 2 s and 100 ms (loose). How many small ones match the large one: the fewest that serve nine in ten within
the objectives at its goodput, up to 16; beside it the quotient of what they sustain by themselves. Intervals are 95 %
over seeds, of ratios on the same requests by logarithms; the first tenth of the requests is left out.

Writes `one_large_or_several_small.json`, `.svg` and `.png` into `results`; some minutes.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from goodput import WARMUP, Objectives, goodput
from matplotlib.ticker import LogLocator, NullLocator
from rich.console import Console
from rich.table import Table
from survey_factors_llm import interval

from llmqueue_gym.evaluation import across_seeds
from llmqueue_gym.evaluation.serving import measure
from llmqueue_gym.profiles import profile as cost_profile
from llmqueue_gym.systems import Scenario

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from study import study

OUT = Path(__file__).parent / "results" / "one_large_or_several_small"
REQUESTS, SEEDS, LONGEST, ROUTER, MOST = 2000, 5, 2047, "least-outstanding", 16
RULES = "vllm-v1:token_budget=2048,max_seqs=1024"
LOADS = (0.1, 0.3, 0.5, 0.7, 0.9, 1.1)
OBJECTIVES = {"strict": Objectives(1.0, 0.05), "loose": Objectives(2.0, 0.1)}
COLOURS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7")
KEYS = ("mean", "ttft_p99", "tpot", "joules")


@dataclass(frozen=True)
class Fleet:
    """So many replicas of one kind.

    Attributes:
        profile: of each.
        count: how many.
    """

    profile: str
    count: int

    @property
    def name(self) -> str:
        """What it is called in tables."""
        eight = " (8 bits)" if self.profile.endswith("fp8") else ""
        return f"{self.count} of {cost_profile(self.profile).gpu.partition('-')[0]}{eight}"

    @property
    def price(self) -> float:
        """USD an hour of all."""
        return self.count * cost_profile(self.profile).price_per_hour

    def scenario(self, requests: int, rate: float = 1.0) -> Scenario:
        """Return its scenario."""
        told = {"replicas": self.count, "profile": self.profile, "rules": RULES}
        return Scenario("fleet", lengths="sharegpt", max_tokens=LONGEST, rate=rate, n_jobs=requests, **told)


# The first fleet of each is the large one.
MODELS = {
    "OPT-13B": (
        Fleet("distserve-opt-13b-tp4", 1),
        Fleet("distserve-opt-13b-tp2", 2),
        Fleet("distserve-opt-13b-tp1", 4),
    ),
    "Llama 3.1 8B": (Fleet("h100-llama3.1-8b", 1), Fleet("l40s-llama3.1-8b", 5)),
    "Llama 3.1 70B": (
        Fleet("h100x4-llama3.1-70b", 1),
        Fleet("h100x2-llama3.1-70b-fp8", 2),
        Fleet("h200x2-llama3.1-70b", 2),
        Fleet("mi300x-llama3.1-70b", 6),
        Fleet("l40sx4-llama3.1-70b", 5),
    ),
}


def sustained(fleet: Fleet, requests: int) -> float:
    """Return what a fleet sustains, each replica by itself, requests/s."""
    where = fleet.scenario(requests)
    return float(where.system.sustains(where).rate)  # type: ignore[attr-defined]


def play(task: tuple[str, int, int, int]) -> dict[str, Any]:
    """Return times by rate, goodputs, and how many match the large one, of a fleet of a model."""
    model, which, requests, seeds = task
    large, fleet = MODELS[model][0], MODELS[model][which]
    top, own = sustained(large, requests), sustained(fleet, requests)
    rows = []
    for load in LOADS:
        told = [numbers(fleet.scenario(requests, load * top), seed) for seed in range(seeds)]
        rows.append({"load": load, **{key: across_seeds([one[key] for one in told])._asdict() for key in KEYS}})
    found: dict[str, Any] = {}
    for name, asked in OBJECTIVES.items():
        rates = [
            [goodput(each.scenario(requests), ROUTER, seed, asked, 0.7 * guess) for seed in range(seeds)]
            for each, guess in ((large, top), (fleet, own))
        ]
        factor = interval(np.divide(rates[1], rates[0]).tolist()) if np.min(rates) > 0 else (np.nan,) * 3
        found[name] = {
            "goodput": across_seeds(rates[1])._asdict(),
            "over_large": dict(zip(("mean", "low", "high"), factor, strict=True)),
            **matching(fleet, rates[0], asked, requests),
        }
    told = {"model": model, "fleet": fleet.name, "profile": fleet.profile, "count": fleet.count, "price": fleet.price}
    estimated = "all times" in cost_profile(fleet.profile).estimated
    return {**told, "estimated": estimated, "sustains": own, "of_large": top, "rows": rows, "objectives": found}


def numbers(where: Scenario, seed: int) -> dict[str, float]:
    """Return the times of a run, s, and joules per output token."""
    told = measure(where.simulate(ROUTER, seed), warmup=WARMUP)
    times = {"mean": told["e2e"]["mean"], "ttft_p99": told["ttft"]["p99"], "tpot": told["tpot"]["mean"]}
    return {**times, "joules": told["joules_per_output_token"]}


def matching(fleet: Fleet, rates: list[float], asked: Objectives, requests: int) -> dict[str, Any]:
    """Return the fewest of a kind that do what the large one does at its goodputs, and the shares within objectives."""
    shares = []
    for count in range(1, MOST + 1) if min(rates) > 0 else ():
        runs = [
            replace(fleet, count=count).scenario(requests, rate).simulate(ROUTER, seed)
            for seed, rate in enumerate(rates)
        ]
        within = [measure(run, asked.ttft, asked.tpot, warmup=WARMUP)["attainment"] for run in runs]
        shares.append(across_seeds(within)._asdict())
        if shares[-1]["mean"] >= asked.share:
            return {"needed": count, "shares": shares}
    return {"needed": None, "shares": shares}


def findings(cells: list[dict[str, Any]]) -> list[str]:
    """Say of each model who is best at which rate, and how many match the large one at which price."""
    words = []
    for model in dict.fromkeys(cell["model"] for cell in cells):
        mine = [cell for cell in cells if cell["model"] == model]
        least = [
            (load, min(mine, key=lambda cell, k=k: cell["rows"][k]["mean"]["mean"])["fleet"])
            for k, load in enumerate(LOADS)
        ]
        words.append(f"{model}, least mean by load: {', '.join(f'{load:g} {name}' for load, name in least)}.")
        each = mine[0]["price"] / mine[0]["count"]
        for name in OBJECTIVES:
            for cell in mine[1:]:
                told, ratio = cell["objectives"][name], cell["objectives"][name]["over_large"]
                factor = (
                    f"{ratio['mean']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f}) of its goodput"
                    if np.isfinite(ratio["mean"] or np.nan)
                    else "no rate within the objectives"
                )
                price = cell["price"] / cell["count"]
                needed = told["needed"]
                match = (
                    f"{needed} match it, at {needed * price / each:.2f} of its price (what they sustain says "
                    f"{np.ceil(cell['of_large'] / (cell['sustains'] / cell['count'])):.0f})"
                    if needed
                    else f"not even {MOST} match it"
                )
                words.append(f"{model}, {name}, {cell['fleet']} against {mine[0]['fleet']}: {factor}; {match}.")
    return words


def draw(found: dict[str, Any]) -> plt.Figure:
    """Return the figure: models side by side; mean time by load above, goodput over the large one's below."""
    style = {"font.family": "sans-serif", "font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "0"}
    models = list(dict.fromkeys(cell["model"] for cell in found["cells"]))
    with plt.rc_context(style):
        figure, panels = plt.subplots(2, len(models), figsize=(4.2 * len(models), 7.0), layout="constrained")
        for (above, below), model in zip(panels.T, models, strict=True):
            mine = [cell for cell in found["cells"] if cell["model"] == model]
            for place, (cell, colour) in enumerate(zip(mine, COLOURS, strict=False)):
                y, low, high = (np.array([r["mean"][end] for r in cell["rows"]]) for end in ("mean", "low", "high"))
                low = np.maximum(low, y / 10)  # an interval that goes below 0 has no end on a scale of logarithms
                above.errorbar(LOADS, y, [y - low, high - y], color=colour, marker="o", ms=3, lw=1.2,
                               label=f"{cell['fleet']}, {cell['price']:.2f} USD/h")  # fmt: skip
                for name, inside in zip(OBJECTIVES, (colour, "none"), strict=True):
                    ratio = cell["objectives"][name]["over_large"]
                    if ratio["mean"] is None or not np.isfinite(ratio["mean"]):
                        below.annotate(
                            "none strict" if name == "strict" else "none", (place, 0.04), ha="center", fontsize=8
                        )
                        continue
                    bars = [[ratio["mean"] - ratio["low"]], [ratio["high"] - ratio["mean"]]]
                    at = place + (-0.08 if name == "strict" else 0.08)
                    below.errorbar(at, ratio["mean"], bars, color=colour, marker="o", mfc=inside, ms=6, ls="")
            above.set_yscale("log")
            low, high = above.get_ylim()
            above.set_ylim(low, high * (high / low) ** (0.08 * len(mine)))  # room for the legend
            above.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            above.yaxis.set_major_formatter("{x:g}")
            above.yaxis.set_minor_locator(NullLocator())
            above.set_title(model + (" (times estimated)" if mine[0]["estimated"] else ""), loc="left", fontsize=10)
            above.set_xlabel("rate, of what the large one sustains")
            above.legend(frameon=False, fontsize=8, loc="upper left")
            below.axhline(1, color="0.7", lw=0.8, ls=(0, (3, 3)), zorder=0)
            below.set_xticks(
                range(len(mine)),
                [cell["fleet"].replace(" of ", " of\n").replace(" (", "\n(") for cell in mine],
                fontsize=8,
            )
            below.set_xlim(-0.5, len(mine) - 0.5)
            below.set_ylim(0, 1.06 * below.get_ylim()[1])
        for panel in panels.ravel():
            panel.spines[["top", "right"]].set_visible(False)
        panels[0, 0].set_ylabel("mean end-to-end time, s")
        panels[1, 0].set_ylabel("goodput over the large one's\nfilled: strict; hollow: loose objectives")
        title = "One large replica or several small ones for the same money?  ShareGPT lengths; 95 % intervals"
        figure.suptitle(title, x=0.01, ha="left")
    return figure


def report(found: dict[str, Any], console: Console) -> None:
    """Print mean times and joules by load, and the findings."""
    table = Table("model", "fleet", *(f"load {load:g}" for load in LOADS), title="mean time, s; joules a token")
    for cell in found["cells"]:
        rows = [
            f"{r['mean']['mean']:.2f} ±{(r['mean']['high'] - r['mean']['low']) / 2:.2f}; {r['joules']['mean']:.2f}"
            for r in cell["rows"]
        ]
        table.add_row(cell["model"], cell["fleet"], *rows)
    console.print(table)
    for sentence in found["finding"]:
        console.print(sentence)


def tasks(options: Any) -> list[Any]:
    """Return the fleets that are played."""
    sizes = options.requests, options.seeds
    return [(model, which, *sizes) for model, fleets in MODELS.items() for which in range(len(fleets))]


def tell(cells: list[dict[str, Any]], options: Any) -> dict[str, Any]:
    """Return the result."""
    asked = {name: vars(one) for name, one in OBJECTIVES.items()}
    setting = {"rules": RULES, "requests": options.requests, "warmup": WARMUP, "asked": asked, "loads": LOADS}
    return {**setting, "cells": cells, "finding": findings(cells)}


def main(arguments: list[str] | None = None) -> None:
    """Play, store, draw and print."""
    usual = {"work": "requests", "requests": REQUESTS, "seeds": SEEDS, "width": 170}
    study(__doc__, OUT, tasks, play, tell, draw, report, arguments=arguments, **usual)


if __name__ == "__main__":
    main()

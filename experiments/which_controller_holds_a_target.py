"""Which controller holds a cost target?

Conversations (lengths of azure-conv) come to up to 8 replicas of Llama 2 70B on two A100s each, at a rate that goes up
and down as in BurstGPT's mean day. The day is one hour long, so all is 24 times as fast: an hour of it is 150 s, and a
start-up of 10 minutes is 25 s. Three days, the first of them among what is counted, although whoever forecasts learns
the day there. Each controller is a point: replicas that are paid on average, starting and draining ones included, and
the share of requests with a first token within 2 s; `fixed` with any number of replicas is what there is without one.
Seeds are requests and arrivals, the same for everybody. With `spot` machines vanish every two hours each, about.

Writes `which_controller_holds_a_target.json`, `.svg` and `.png` into `results`; some minutes.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import matplotlib
import numpy as np
from rich.console import Console
from rich.table import Table
from study import study

from llmqueue_gym.evaluation import Scenario, across_seeds, paired_difference
from llmqueue_gym.workloads.arrivals import ArrivalProcess

matplotlib.use("Agg")
import matplotlib.pyplot as plt

OUT = Path(__file__).parent / "results" / "which_controller_holds_a_target"
# Mean requests in each hour of the day of BurstGPT (Wang et al., KDD 2025; HPMLL/BurstGPT, CC-BY-4.0), first trace.
HOURLY = (
    940.3, 892.6, 571.6, 513.0, 368.2, 341.5, 193.8, 153.3, 177.7, 415.9, 878.8, 1286.5,
    1744.3, 1501.1, 1795.9, 1401.1, 1475.5, 1355.8, 1181.2, 1567.6, 1352.8, 1175.0, 1129.0, 1025.8,
)  # fmt: skip
HOUR, DAYS, REPLICAS = 150.0, 3, 8  # s
LIMIT = 2.0  # s until the first token
PLAN = f"hour={HOUR:g},season=24"
# What is counted in s is as short as the day.
CONTROLLERS = {
    **{f"fixed, {k}": f"fixed:replicas={k}" for k in range(1, REPLICAS + 1)},
    "utilisation": "utilisation:cool=5,steady=12.5",
    "Erlang": "erlang:window=50",
    "Erlang, cautious": "erlang:window=50,wait=0.1,share=0.01",
    "forecast": f"forecast:period={HOUR / 2:g},season=48",
    "SageServe at once": f"sageserve-now:{PLAN}",
    "SageServe deferred": f"sageserve-deferred:{PLAN},cool=5",
    "SageServe corrected": f"sageserve-corrected:{PLAN},cool=5",
}
SPOT = 2.0 / 24  # mean hours of the day that is one hour long: two hours of a whole one
GROUPS = ("on demand", "spot")


@dataclass(frozen=True)
class Daily(ArrivalProcess):
    """Poisson arrivals at a rate that changes from hour to hour of a day, as `HOURLY` says.

    Attributes:
        hour: s.
    """

    name: ClassVar[str] = "daily"

    hour: float = HOUR

    def _times(self, n: int, rate: float, rng: np.random.Generator) -> np.ndarray:
        """Return the moments at which the expected arrivals so far reach those of a Poisson process of rate 1."""
        shares = np.array(HOURLY) / np.mean(HOURLY)
        wanted = np.cumsum(rng.standard_exponential(n)) / rate
        days = int(wanted[-1] / (self.hour * 24)) + 1
        edges = np.arange(24 * days + 1) * self.hour
        return np.interp(wanted, np.concatenate([[0.0], np.cumsum(np.tile(shares, days)) * self.hour]), edges)


def scenario(controller: str, group: str, requests: int) -> Scenario:
    """Return the fleet under a controller; its mean rate is that of so many requests in `DAYS`."""
    fleet = {"profile": "a100-llama2-70b-tp2", "replicas": REPLICAS, "controller": controller, "tick": 5.0}
    fleet |= {"start_up": 25.0, "spot": SPOT if group == "spot" else 0.0}
    rate = requests / (DAYS * 24 * HOUR)
    return Scenario("fleet", rate=rate, arrivals=Daily(), n_jobs=requests, lengths="azure-conv", **fleet)


def tasks(options: argparse.Namespace) -> list[Any]:
    """Return who plays what."""
    return [
        (group, name, seed, options.requests)
        for group in GROUPS
        for name in CONTROLLERS
        for seed in range(options.seeds)
    ]


def play(task: Any) -> dict[str, Any]:
    """Return what a controller paid and what its requests had, in one run."""
    group, name, seed, requests = task
    run = scenario(CONTROLLERS[name], group, requests).simulate("least-outstanding", seed)
    first = run.outcome["first_token"] - run.jobs["arrival"]
    return {
        "group": group,
        "controller": name,
        "seed": seed,
        "replicas": run.totals["on_time"] / run.totals["clock"],
        "in_time": float((first <= LIMIT).mean()),
        "p99": float(np.percentile(first, 99)),
        "lost": run.totals["lost"],
        "done": float(run.done.mean()),
    }


def tell(played: list[dict[str, Any]], options: argparse.Namespace) -> dict[str, Any]:
    """Return means over seeds with their intervals, and each controller against as many replicas that are always on."""
    points = []
    for group in GROUPS:
        rows = {
            name: [one for one in played if (one["group"], one["controller"]) == (group, name)] for name in CONTROLLERS
        }
        fixed = [rows[f"fixed, {k}"] for k in range(1, REPLICAS + 1)]
        for name, mine in rows.items():
            point: dict[str, Any] = {"group": group, "controller": name, "spec": CONTROLLERS[name]}
            for key in ("replicas", "in_time", "p99", "lost"):
                found = across_seeds([one[key] for one in mine])
                point[key] = {"mean": found.mean, "ci95": [found.low, found.high]}
            # What as many replicas would do that are always on, in between where that is no whole number.
            alike = [np.interp(one["replicas"], *_curve(fixed, k)) for k, one in enumerate(mine)]
            found = paired_difference([one["in_time"] for one in mine], alike)
            point["in_time_above_fixed"] = {"mean": found.mean, "ci95": [found.low, found.high]}
            points.append(point)
    settings = scenario("none", GROUPS[0], options.requests).to_dict()
    return {"scenario": settings, "limit": LIMIT, "days": DAYS, "hour": HOUR, "hourly": HOURLY, "points": points}


def _curve(fixed: list[list[dict[str, Any]]], seed: int) -> tuple[list[float], list[float]]:
    return [rows[seed]["replicas"] for rows in fixed], [rows[seed]["in_time"] for rows in fixed]


def draw(found: dict[str, Any]) -> plt.Figure:
    """Return a panel for machines that stay and one for those that vanish."""
    style = {"font.family": "sans-serif", "font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "0"}
    with plt.rc_context(style):
        figure, panels = plt.subplots(1, 2, figsize=(10.5, 4.6), sharey=True, layout="constrained")
        titles = ("machines stay", "spot machines, which vanish every two hours of the day")
        for panel, group, title in zip(panels, GROUPS, titles, strict=True):
            points = [one for one in found["points"] if one["group"] == group]
            fixed = [one for one in points if one["controller"].startswith("fixed")]
            panel.plot(
                [one["replicas"]["mean"] for one in fixed], [100 * one["in_time"]["mean"] for one in fixed],
                "o-", color="#bbbbbb", label="always on, 1 to 8", zorder=1,
            )  # fmt: skip
            others = [one for one in points if one not in fixed]
            for one, colour in zip(others, plt.get_cmap("tab10").colors, strict=False):
                x, y = one["replicas"], one["in_time"]
                low, high = (100 * abs(np.array(y["ci95"]) - y["mean"])).reshape(2, 1)
                left, right = abs(np.array(x["ci95"]) - x["mean"]).reshape(2, 1)
                panel.errorbar(
                    x["mean"], 100 * y["mean"], [low, high], [left, right], "s", color=colour, label=one["controller"]
                )  # fmt: skip
            panel.set_title(title, loc="left", fontsize=10)
            panel.set_xlabel("replicas that are paid, on average")
            panel.spines[["top", "right"]].set_visible(False)
        panels[0].set_ylabel(f"requests with a first token within {found['limit']:g} s, %")
        panels[0].legend(frameon=False, loc="lower right")
        figure.suptitle("Which controller holds a cost target?  A day of chat, three times", x=0.01, ha="left")
    return figure


def report(found: dict[str, Any], console: Console) -> None:
    """Print the points."""
    for group in GROUPS:
        table = Table("controller", "replicas", "within 2 s", "above always on", "p99, s", "lost", title=group)
        for one in found["points"]:
            if one["group"] == group:
                numbers = [_words(one["replicas"]), _words(one["in_time"]), _words(one["in_time_above_fixed"])]
                table.add_row(one["controller"], *numbers, f"{one['p99']['mean']:.2f}", f"{one['lost']['mean']:.0f}")
        console.print(table)


def _words(number: dict[str, Any]) -> str:
    return f"{number['mean']:.3f} ({number['ci95'][0]:.3f}, {number['ci95'][1]:.3f})"


if __name__ == "__main__":
    study(__doc__, OUT, tasks, play, tell, draw, report, work="requests", width=140, requests=40_000, seeds=5)

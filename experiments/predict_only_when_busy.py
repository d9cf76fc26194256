"""Is it worth to predict only when busy, only some, on servers of their own, or while jobs run?

One server, exponential sizes and predictions. Four questions of the survey's section 2.4:

* b: jobs are predicted if they find so many in system (price 1 s each); against always and never, and against
  SkipPredict, always or when busy. The number is chosen on half of the seeds and its worth is told by the other half.
* c: a share p of the jobs is predicted, the others are served first come first served before or behind them; exact.
* d: predictions take 1 s of servers of their own, and who finds too many in front of them goes without.
* a: jobs run slower for a while, which tells their size: at which slowdown does that still pay? Exact.

Writes `predict_only_when_busy.json`, `.svg` and `.png` into `results`; some minutes.
"""

import argparse
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.optimize import brentq
from study import study

from llmqueue_gym import predictor, size_law
from llmqueue_gym.errors import Unstable
from llmqueue_gym.evaluation import Scenario, across_seeds, paired_difference
from llmqueue_gym.jobs import CHEAP, EXPENSIVE, SERVE
from llmqueue_gym.policies.predicting import PREDICTING, PredictingPolicy
from llmqueue_gym.predictors.cost import predictor_cost
from llmqueue_gym.theory.stages import analyse_stages

matplotlib.use("Agg")
import matplotlib.pyplot as plt

OUT = Path(__file__).parent / "results" / "predict_only_when_busy"
BUSY_LOADS, PRICE, BIT = (0.5, 0.7, 0.8, 0.9), 1.0, 0.2  # s: of a size, and of a bit, bought outside
FROM = (1, 2, 3, 4, 5, 6, 8, 11, 15, 20)  # jobs in system
SKIP_FROM, THRESHOLD = (1, 2, 3, 4, 6), 1.5
SHARES, SHARED_LOAD = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0), 0.8
SERVERS, LIMITS, SERVERS_LOAD = (1, 2, 3), (1, 2, 3, 5, 8), 0.9
PROFILES, PROFILED_LOADS = (0.25, 0.5, 1.0), (0.5, 0.8, 0.9)
SLOWEST = 0.6
CELLS = 200  # of predictions: at such laws right to a tenth of a per cent
COLOURS = ("#56b4e9", "#009e73", "#e69f00", "#d55e00")


def rank(job, stage, params):
    """Order as SkipPredict does; who is not predicted counts as short."""
    if stage.known == 0 or (stage.known == 1 and job.klass == 0):
        return -1e30
    return job.predicted - job.age


def ask(job, stage, params):
    """Buy as SkipPredict does, if enough jobs are in system."""
    if stage.known == 0:
        return CHEAP if stage.in_system >= params[0] else SERVE
    return EXPENSIVE if stage.known == 1 and job.klass > 0 else SERVE


def busy_skip(at_least: int) -> PredictingPolicy:
    """SkipPredict for those alone who find enough others in system; who does not goes with the short ones."""
    return PredictingPolicy("busy-skip", rank, ask, edges=(THRESHOLD,), params=(float(at_least),), shape="falling")


def tasks(options: argparse.Namespace) -> list[Any]:
    """Return what is computed."""
    simulated = []
    for load in BUSY_LOADS:
        names = ["fcfs", *(f"load-adaptive:at_least={n}" for n in FROM), *(f"busy-skip:{n}" for n in SKIP_FROM)]
        simulated += [("b", name, load, f"cheap={BIT},expensive={PRICE}") for name in names]
    for k in SERVERS:
        names = ["sprpt-paid"] * (k > SERVERS_LOAD) + [f"bypass:limit={limit}" for limit in LIMITS]
        simulated += [("d", name, SERVERS_LOAD, f"expensive=1,where=servers,servers={k}") for name in names]
    simulated = [(*task, options.jobs, options.seeds) for task in simulated]
    exact = [("c", p, first) for p in SHARES for first in (True, False)]
    return [*simulated, *exact, *(("a", h, load) for h in PROFILES for load in PROFILED_LOADS)]


def play(task: Any) -> dict[str, Any]:
    """Return what came of one task."""
    kind, *rest = task
    if kind in ("b", "d"):
        name, load, costs, jobs, seeds = rest
        scenario = Scenario("predict", predictor_cost=costs, load=load, n_jobs=jobs)
        player = busy_skip(int(name.partition(":")[2])) if name.startswith("busy-skip") else name
        runs = [scenario.simulate(player, seed).after_warmup() for seed in range(seeds)]
        found = [scenario.system.numbers(run)["cost"] for run in runs]
        asked = float(np.mean([run.totals["expensive"] / run.totals["arrived"] for run in runs]))
        return {"kind": kind, "policy": name, "load": load, "costs": costs, "by_seed": found, "expensive": asked}
    if kind == "c":
        p, first = rest
        found = _exact(f"selective:p={p:g},blind_first={str(first).lower()}", SHARED_LOAD, f"expensive={PRICE}")
        return {"kind": kind, "p": p, "blind_first": first, "mean_response_time": found}
    h, load = rest
    fcfs = 1 / (1 - load)

    def lost(slow: float) -> float:
        try:
            return _exact("profile", load, f"profile={h:g},slow={slow!r}") - fcfs
        except Unstable:
            return 1e3

    free, even = lost(0.0), None
    if free < 0:
        even = brentq(lost, 0.0, SLOWEST, xtol=3e-3) if lost(SLOWEST) > 0 else SLOWEST
    return {"kind": kind, "profile": h, "load": load, "free": free + fcfs, "fcfs": fcfs, "even": even}


def _exact(spec: str, load: float, costs: str) -> float:
    law, model = size_law("exponential"), predictor("exponential")
    return analyse_stages(PREDICTING(spec), law, model, load, predictor_cost(costs), cells=CELLS).mean_response_time


def tell(played: list[dict[str, Any]], options: argparse.Namespace) -> dict[str, Any]:
    """Return curves, and the best of each kind chosen on the first half of the seeds, told by the second."""
    half = options.seeds // 2
    parts = {kind: [one for one in played if one["kind"] == kind] for kind in "abcd"}
    for one in (*parts["b"], *parts["d"]):
        estimate = across_seeds(one["by_seed"])
        one |= {"cost": estimate.mean, "ci95": [estimate.low, estimate.high]}
    chosen = [_chosen([one for one in parts["b"] if one["load"] == load], half) for load in BUSY_LOADS]
    return {
        "size": "exponential",
        "predictor": "exponential",
        "busy": {"price": PRICE, "bit": BIT, "threshold": THRESHOLD, "runs": parts["b"], "chosen": chosen},
        "selective": {"load": SHARED_LOAD, "runs": parts["c"]},
        "servers": {"load": SERVERS_LOAD, "runs": parts["d"]},
        "profile": parts["a"],
        "jobs": options.jobs,
    }


def _chosen(runs: list[dict[str, Any]], half: int) -> dict[str, Any]:
    """Return the best number at one load, and how much it saves over the better of always and never."""
    first = {one["policy"]: np.array(one["by_seed"][:half]) for one in runs}
    second = {one["policy"]: np.array(one["by_seed"][half:]) for one in runs}
    always, never = "load-adaptive:at_least=1", "fcfs"
    fixed = min((always, never), key=lambda name: first[name].mean())
    told: dict[str, Any] = {"load": runs[0]["load"], "fixed": fixed}
    for family, base in (("load-adaptive", fixed), ("busy-skip", "busy-skip:1")):
        best = min((name for name in first if name.startswith(family)), key=lambda name: first[name].mean())
        saved = paired_difference(second[best], second[base])
        told[family] = {
            "best": best, "cost": float(second[best].mean()), "base": base, "base_cost": float(second[base].mean()),
            "difference": saved.mean, "ci95": [saved.low, saved.high],
        }  # fmt: skip
    both = paired_difference(second[told["busy-skip"]["best"]], second[told["load-adaptive"]["best"]])
    return {**told, "busy_skip_minus_load_adaptive": {"difference": both.mean, "ci95": [both.low, both.high]}}


def draw(found: dict[str, Any]) -> plt.Figure:
    """Return the figure: a panel for each question."""
    style = {"font.family": "sans-serif", "font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "0"}
    with plt.rc_context(style):
        figure, panels = plt.subplots(2, 2, figsize=(10.5, 8.2), layout="constrained")
        _draw_busy(panels[0, 0], found["busy"])
        _draw_selective(panels[0, 1], found["selective"])
        _draw_servers(panels[1, 0], found["servers"])
        _draw_profile(panels[1, 1], found["profile"])
        for panel in panels.flat:
            panel.spines[["top", "right"]].set_visible(False)
            panel.legend(frameon=False, fontsize=8)
        figure.suptitle("Predicting some of the jobs, some of the time, or elsewhere", x=0.01, ha="left", fontsize=11)
    return figure


def _draw_busy(panel: plt.Axes, found: dict[str, Any]) -> None:
    for load, colour in zip(BUSY_LOADS, COLOURS, strict=True):
        runs = {one["policy"]: one for one in found["runs"] if one["load"] == load}
        base = min(runs["fcfs"]["cost"], runs["load-adaptive:at_least=1"]["cost"])
        cost = np.array([runs[f"load-adaptive:at_least={n}"]["cost"] for n in FROM]) / base
        panel.plot(FROM, cost, "o-", ms=3.5, color=colour, label=f"load {load:g}")
        panel.plot([FROM[-1] * 1.25], [runs["fcfs"]["cost"] / base], "s", ms=4, color=colour)
    panel.axhline(1, color="0.6", lw=0.8)
    panel.set_xscale("log")
    panel.set_xticks([*FROM, FROM[-1] * 1.25], [*map(str, FROM), "never"])
    panel.minorticks_off()
    panel.set_ylim(0.85, 1.5)
    panel.set_xlabel("predicted if so many are in system")
    panel.set_ylabel("cost, over the better of always and never")
    panel.set_title(f"b. Only when busy (a prediction costs {found['price']:g} s)", loc="left", fontsize=10)


def _draw_selective(panel: plt.Axes, found: dict[str, Any]) -> None:
    for first, colour, label in ((True, COLOURS[0], "before"), (False, COLOURS[3], "behind")):
        runs = [one for one in found["runs"] if one["blind_first"] == first]
        means = [one["mean_response_time"] for one in runs]
        panel.plot(
            [one["p"] for one in runs], means, "o-", ms=3.5, color=colour, label=f"the others {label} the predicted"
        )
    panel.set_xlabel("share of the jobs that is predicted, at random")
    panel.set_ylabel("mean response time, in mean sizes")
    panel.set_title(f"c. Only some (load {found['load']:g}, exact)", loc="left", fontsize=10)


def _draw_servers(panel: plt.Axes, found: dict[str, Any]) -> None:
    for k, colour in zip(SERVERS, COLOURS, strict=False):
        runs = {one["policy"]: one for one in found["runs"] if one["costs"].endswith(f"servers={k}")}
        chosen = [runs[f"bypass:limit={limit}"] for limit in LIMITS]
        means = np.array([one["cost"] for one in chosen])
        bars = np.abs(np.array([one["ci95"] for one in chosen]).T - means)
        panel.errorbar(LIMITS, means, bars, fmt="o-", ms=3.5, capsize=2, color=colour, label=f"{k} of them")
    panel.axhline(1 / (1 - found["load"]), color="0.6", lw=0.9, ls=(0, (4, 3)), label="none (FCFS)")
    panel.set_xlabel("goes without a prediction if so many are ahead there")
    panel.set_ylabel("mean response time, in mean sizes")
    panel.set_title(f"d. On servers of their own, 1 s each (load {found['load']:g})", loc="left", fontsize=10)


def _draw_profile(panel: plt.Axes, found: list[dict[str, Any]]) -> None:
    for h, colour in zip(PROFILES, COLOURS, strict=False):
        runs = [one for one in found if one["profile"] == h]
        even = [0.0 if one["even"] is None else one["even"] for one in runs]
        panel.plot([one["load"] for one in runs], even, "o-", ms=3.5, color=colour, label=f"for {h:g} s of service")
    panel.set_ylim(0, 1)
    panel.set_xlabel("load")
    panel.set_ylabel("share of its speed that the server may lose")
    panel.set_title("a. While jobs run: where it is no better than FCFS (exact)", loc="left", fontsize=10)


def report(found: dict[str, Any], console: Console) -> None:
    """Print what was found."""
    table = Table("load", "best when busy", "cost", "over", "difference, 95 %", "best busy skip", "cost", "over always")
    for one in found["busy"]["chosen"]:
        row = [f"{one['load']:g}"]
        for family in ("load-adaptive", "busy-skip"):
            best = one[family]
            low, high = best["ci95"]
            row += [best["best"], f"{best['cost']:.4f}"]
            row += [f"{best['base']} {best['base_cost']:.4f}"] * (family == "load-adaptive")
            row.append(f"{best['difference']:.4f} ({low:.4f}, {high:.4f})")
        table.add_row(*row)
    console.print(table)
    table = Table("p", "others before", "others behind", title="selective")
    for p in SHARES:
        means = [one["mean_response_time"] for one in found["selective"]["runs"] if one["p"] == p]
        table.add_row(f"{p:g}", *(f"{value:.4f}" for value in means))
    console.print(table)
    table = Table("prediction servers", "policy", "E[T]", "95 %", "predicted")
    for one in found["servers"]["runs"]:
        low, high = one["ci95"]
        k = one["costs"].rpartition("=")[2]
        table.add_row(k, one["policy"], f"{one['cost']:.4f}", f"{low:.4f}, {high:.4f}", f"{one['expensive']:.3f}")
    console.print(table)
    table = Table("profile, s", "load", "for nothing", "FCFS", "slowdown at which it pays no more")
    for one in found["profile"]:
        even = "never pays" if one["even"] is None else f"{one['even']:.3f}"
        table.add_row(f"{one['profile']:g}", f"{one['load']:g}", f"{one['free']:.4f}", f"{one['fcfs']:.4f}", even)
    console.print(table)


if __name__ == "__main__":
    study(__doc__, OUT, tasks, play, tell, draw, report, work="jobs", width=160, jobs=30_000, seeds=20)

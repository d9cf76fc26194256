"""How wrong may predictions be before a scheduler does better without them?

Exact mean response times at load .8 of every policy that uses predictions, against the error sigma of lognormal
predictions Y = S exp(sigma N), for exponential and for heavy-tailed sizes; Gittins, told the error, is the least that
any policy can have. A few simulated points check the curves. Writes `how_much_is_a_prediction_worth.json`, `.svg` and
`.png` into `results`; some minutes.
"""

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.optimize import minimize_scalar

from llmqueue_gym import analyse, policy, predictor, size_law
from llmqueue_gym.boards.workers import end_with_parent
from llmqueue_gym.evaluation import Scenario, across_seeds, control_variate, result, write_json
from llmqueue_gym.theory.closed_forms import FORMULAS
from llmqueue_gym.theory.joint import JointLaw

matplotlib.use("Agg")
import matplotlib.pyplot as plt

OUT = Path(__file__).parent / "results" / "how_much_is_a_prediction_worth"
LOAD = 0.8
SIGMAS = (0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
SIZES = {"exponential": "exponential sizes", "weibull:shape=0.5": "Weibull sizes, shape ½"}
# The thresholds of one-bit policies are the best ones for each sigma.
TOLD = ("gittins", "sprpt-bounce", "sprpt", "limited-preemption", "pspjf", "spjf", "one-bit-lcfs", "one-bit")
REFERENCES = {"fcfs": "none", "las": "none", "gittins-blind": "none", "srpt": "exact"}
SIMULATED = [
    (name, sigma) for name in ("gittins", "sprpt-bounce", "sprpt", "spjf", "one-bit-lcfs") for sigma in (0.5, 1.5)
]
JOBS, SEEDS, EDGE = 2_000_000, 10, 0.1  # jobs behind a simulated point; share cut off at both ends of a run

COLOURS = {
    "gittins": "#000000",
    "sprpt-bounce": "#0072b2",
    "sprpt": "#d55e00",
    "limited-preemption": "#e69f00",
    "pspjf": "#009e73",
    "spjf": "#56b4e9",
    "one-bit-lcfs": "#cc79a7",
    "one-bit": "#8a6fb0",
}
NAMES = {
    "gittins": "Gittins",
    "sprpt-bounce": "SPRPT with bounce",
    "limited-preemption": "limited preemption, c = .8",
    "one-bit-lcfs": "one bit, preemptive",
    "one-bit": "one bit",
    "las": "LAS",
}


def exact(job: tuple[str, str, float]) -> dict[str, Any]:
    """Return the exact mean response time of a policy for a size law and a sigma."""
    size, name, sigma = job
    law, told = size_law(size), predictor(f"lognormal:sigma={sigma}")
    spec = name
    if name.startswith("one-bit"):
        joint = JointLaw(law, told.bind(law))
        best = minimize_scalar(
            lambda u: FORMULAS[name](joint, LOAD, np.exp(u)), bounds=np.log((0.05, 60.0)), method="bounded"
        )
        spec = f"{name}:threshold={float(np.exp(best.x))!r}"
    found = analyse(policy(spec), law, told, LOAD)
    mean, method = found.mean_response_time, found.method
    return {"size": size, "policy": name, "spec": spec, "sigma": sigma, "mean_response_time": mean, "method": method}


def simulated(job: tuple[str, str, str, float]) -> dict[str, Any]:
    """Return the simulated mean response time of a policy with its 95 % interval; FCFS is the control variate."""
    size, name, spec, sigma = job
    n = JOBS // SEEDS
    scenario = Scenario(size=size, predictor=f"lognormal:sigma={sigma}", load=LOAD, n_jobs=n)
    kept = slice(int(EDGE * n), n - int(EDGE * n))
    means = [
        [scenario.simulate(one, seed).response_times[kept].mean() for seed in range(SEEDS)] for one in (spec, "fcfs")
    ]
    fcfs = scenario.known("fcfs")[0]["value"]
    estimate = across_seeds(means[0]) if name == "fcfs" else control_variate(*means, fcfs)
    ci = [estimate.low, estimate.high]
    return {"size": size, "policy": name, "sigma": sigma, "mean_response_time": estimate.mean, "ci95": ci}


def break_even(sigmas: np.ndarray, means: np.ndarray, blind: float) -> float | None:
    """Return the sigma from which a policy is worse than the best blind one, or None where it never is."""
    worse = np.flatnonzero(means > blind)
    if not len(worse):
        return None
    i = int(worse[0])
    return 0.0 if i == 0 else float(np.interp(blind, means[i - 1 : i + 1], sigmas[i - 1 : i + 1]))


def compute() -> dict[str, Any]:
    """Return the curves, the references, the simulated points and the break-even errors."""
    jobs = [(size, name, sigma) for size in SIZES for name in TOLD for sigma in SIGMAS]
    with ProcessPoolExecutor(initializer=end_with_parent) as pool:
        curves = list(track(pool.map(exact, jobs), "exact", len(jobs), console=Console(stderr=True)))
        specs = {(c["size"], c["policy"], c["sigma"]): c["spec"] for c in curves}
        points = [(size, name, specs[size, name, sigma], sigma) for size in SIZES for name, sigma in SIMULATED]
        checks = list(track(pool.map(simulated, points), "simulated", len(points), console=Console(stderr=True)))
    references = {
        size: {
            name: analyse(policy(name), size_law(size), predictor(told), LOAD).mean_response_time
            for name, told in REFERENCES.items()
        }
        for size in SIZES
    }
    even = [
        {
            "size": size,
            "policy": name,
            "sigma": break_even(*curve(curves, size, name), references[size]["gittins-blind"]),
        }
        for size in SIZES
        for name in TOLD
    ]
    values = {"load": LOAD, "exact": curves, "references": references, "simulated": checks, "break_even": even}
    return result({**values, "jobs": JOBS}, seeds=range(SEEDS))


def curve(curves: list[dict[str, Any]], size: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the errors `(k,)` and the exact mean response times `(k,)` of a policy."""
    mine = [(c["sigma"], c["mean_response_time"]) for c in curves if c["size"] == size and c["policy"] == name]
    sigmas, means = np.array(mine).T
    return sigmas, means


def draw(found: dict[str, Any]) -> plt.Figure:
    """Return the figure: a panel for each size law, names at the ends of the lines."""
    style = {
        "font.family": "sans-serif",
        "font.size": 9,
        "svg.fonttype": "none",
        "svg.hashsalt": "0",
        "axes.linewidth": 0.8,
    }
    with plt.rc_context(style):
        figure, panels = plt.subplots(1, 2, figsize=(11.5, 5.2))
        for panel, (size, title) in zip(panels, SIZES.items(), strict=True):
            _draw_panel(panel, found, size, title)
        panels[0].set_ylabel("mean response time, in mean job sizes")
        figure.suptitle(
            "How much is a prediction worth?  Exact E[T] at load 0.8; dots: simulated, 95 % intervals",
            x=0.055,
            ha="left",
            fontsize=11,
        )
        figure.tight_layout(rect=(0, 0, 1, 1.0), w_pad=2.5)
    return figure


def _draw_panel(panel: plt.Axes, found: dict[str, Any], size: str, title: str) -> None:
    ends = []
    for name in TOLD:
        sigmas, means = curve(found["exact"], size, name)
        panel.plot(sigmas, means, color=COLOURS[name], lw=2.6 if name == "gittins" else 1.5, zorder=3, clip_on=False)
        ends.append((float(means[-1]), NAMES.get(name, name.upper()), COLOURS[name]))
    for point in (p for p in found["simulated"] if p["size"] == size):
        mean, (low, high) = point["mean_response_time"], point["ci95"]
        bars = [[mean - low], [high - mean]]
        dots = {"ms": 3.6, "lw": 1, "mfc": "white", "capsize": 2, "zorder": 4}
        panel.errorbar(point["sigma"], mean, bars, fmt="o", color=COLOURS[point["policy"]], **dots)
    references = found["references"][size]
    shared = references["fcfs"] - references["las"] < 0.01  # exponential sizes: every blind policy is alike
    for name in ("fcfs", "las", "srpt"):
        if name == "las" and shared:
            continue
        label = "FCFS, LAS" if name == "fcfs" and shared else NAMES.get(name, name.upper())
        told = " (exact sizes)" if name == "srpt" else " (no predictions)"
        panel.axhline(references[name], color="0.6", lw=0.9, ls=(0, (4, 3)), zorder=1)
        ends.append((references[name], label + told, "0.4"))
    panel.set_yscale("log")
    low, high = min(e[0] for e in ends) * 0.94, max(e[0] for e in ends) * 1.06
    ticks = [t for t in (2, 2.5, 3, 4, 5, 6, 8, 10, 13) if low <= t <= high]
    panel.set_yticks(ticks, [f"{t:g}" for t in ticks])
    panel.minorticks_off()
    panel.set_ylim(low, high)
    panel.set_xlim(0, SIGMAS[-1])
    panel.set_xlabel(r"prediction error $\sigma$:  $Y = S\,\exp(\sigma N)$")
    panel.set_title(title, loc="left", fontsize=10)
    panel.spines[["top", "right"]].set_visible(False)
    _label(panel, ends, np.log(high / low))


def _label(panel: plt.Axes, ends: list[tuple[float, str, str]], span: float) -> None:
    """Write names beside the ends of the lines, moved apart just far enough to be read."""
    ends = sorted(ends)
    gap = 0.042 * span
    wanted = np.log([y for y, _, _ in ends])
    at = wanted.copy()
    for _ in range(500):
        for k in range(len(at) - 1):
            overlap = gap - (at[k + 1] - at[k])
            if overlap > 0:
                at[k] -= overlap / 2
                at[k + 1] += overlap / 2
    for y, place, (_, text, colour) in zip(wanted, at, ends, strict=True):
        arrow = {"arrowstyle": "-", "color": colour, "lw": 0.6, "shrinkA": 0, "shrinkB": 2, "relpos": (0, 0.5)}
        where = {"xy": (SIGMAS[-1], np.exp(y)), "xytext": (SIGMAS[-1] * 1.08, np.exp(place))}
        panel.annotate(text, **where, color=colour, va="center", annotation_clip=False, arrowprops=arrow)


def main() -> None:
    """Compute, store, draw and print the break-even errors."""
    found = compute()
    OUT.parent.mkdir(exist_ok=True)
    write_json(OUT.with_suffix(".json"), found)
    figure = draw(found)
    figure.savefig(OUT.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(OUT.with_suffix(".png"), dpi=160)
    table = Table(
        "policy", *SIZES.values(), title="error from which the best blind policy is better", title_justify="left"
    )
    for name in TOLD:
        mine = {e["size"]: e["sigma"] for e in found["break_even"] if e["policy"] == name}
        table.add_row(NAMES.get(name, name.upper()), *("-" if mine[s] is None else f"{mine[s]:.2f}" for s in SIZES))
    Console().print(table)


if __name__ == "__main__":
    main()

"""How many bits of a predicted size does a queue want, and which jobs need any?

Four things, written as `how_many_bits.json`, `.svg` and `.png` into `results`; some minutes.

* Mean response time of k classes of predicted size, exactly, against k: with the best edges and with equal shares of
  the jobs, preemptive or not, and beside it what all bits give (SPJF, PSPJF).
* Whether a few preemptive classes beat PSPJF, over size laws and errors of lognormal predictions. Where jobs of one
  prediction differ by less than their mean (the squared coefficient of variation of S given Y is below 1) very fine
  classes do harm, as a job that has begun is shorter than its equal. The column `spread` says so by
  lambda / 4 E[(2 E[S | Y]^2 - E[S^2 | Y]) / (1 - rho_Y)^2], the limit of k (PSPJF - E[T]) for k equal classes.
* The 99th percentile against k, simulated, with 95 % intervals.
* One bit, not preemptive: jobs that find at most one in system need none. Runs in which these bits are drawn anew are
  the same, job by job; and so are preemptive ones with the jobs that find nobody.
"""

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from llmqueue_gym import analyse, policy, predictor, size_law
from llmqueue_gym.boards.workers import end_with_parent
from llmqueue_gym.evaluation import Scenario, across_seeds, result, write_json
from llmqueue_gym.theory.joint import JointLaw

matplotlib.use("Agg")
import matplotlib.pyplot as plt

OUT = Path(__file__).parent / "results" / "how_many_bits"
LOAD = 0.8
COUNTS = (1, 2, 3, 4, 6, 8, 16, 32)
KINDS = ("preemptive-classes", "classes")
ALL_BITS = {"preemptive-classes": "pspjf", "classes": "spjf"}
TOLD = ("exact", "lognormal:sigma=0.5")
SIZES = ("uniform", "gamma:shape=2", "exponential", "weibull:shape=0.5")
SIGMAS = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0)
FAMILY_COUNTS = (2, 3, 4, 6, 8, 16)
ENOUGH = 1.001  # times the least E[T] of all k
TAIL_COUNTS = (1, 2, 3, 4, 6, 8, 16)
JOBS, SEEDS, WARMUP = 400_000, 10, 0.1
LOADS = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
ASKED_JOBS = 300_000


def mean(spec: str, size: str, told: str, load: float) -> float:
    """Return the exact mean response time of a policy."""
    return analyse(policy(spec), size_law(size), predictor(told), load, by_size=False).mean_response_time


def curve(task: tuple[str, str, str]) -> dict[str, Any]:
    """Return E[T] of every number of classes for exponential sizes."""
    kind, edges, told = task
    means = [mean(f"{kind}:k={k},edges={edges}", "exponential", told, LOAD) for k in COUNTS]
    return {"policy": kind, "edges": edges, "predictor": told, "k": COUNTS, "mean_response_time": means}


def spread(size: str, told: str, load: float) -> float:
    """Return the limit of k (PSPJF - E[T]) for k classes of equal shares, s."""
    law, noise = size_law(size), predictor(told)
    joint = JointLaw(law, noise.bind(law))
    if joint.exact:
        share, work, squares = joint.p, joint.p * joint.x, joint.p * joint.x**2
    else:
        share, work, squares = (np.array([row.p @ row.x**k for row in joint.rows]) for k in range(3))
    below = np.cumsum(work) - 0.5 * work
    idle = 1 - load / law.mean * below
    return float(load / law.mean / 4 * np.sum((2 * work**2 / share - squares) / idle**2))


def family(task: tuple[str, float]) -> dict[str, Any]:
    """Return the best few preemptive classes against PSPJF for a size law and an error."""
    size, sigma = task
    told = f"lognormal:sigma={sigma}" if sigma else "exact"
    means = {k: mean(f"preemptive-classes:k={k}", size, told, LOAD) for k in FAMILY_COUNTS}
    pspjf = mean("pspjf", size, told, LOAD)
    least = min(*means.values(), pspjf)
    enough = next((k for k, value in means.items() if value <= ENOUGH * least), None)
    beats = next((k for k, value in means.items() if value < pspjf), None)
    return {
        "size": size,
        "sigma": sigma,
        "mean_response_time": means,
        "pspjf": pspjf,
        "sprpt": mean("sprpt", size, told, LOAD),
        "enough": enough,
        "first_below_pspjf": beats,
        "spread": spread(size, told, LOAD),
    }


def tail(task: tuple[str, str, int]) -> dict[str, Any]:
    """Return the simulated 99th percentile, with its 95 % interval across seeds."""
    kind, told, k = task
    spec = ALL_BITS[kind] if k == 0 else f"{kind}:k={k}"
    scenario = Scenario(predictor=told, load=LOAD, n_jobs=JOBS)
    times = [scenario.simulate(spec, seed).after_warmup(WARMUP).response_times for seed in range(SEEDS)]
    p99, found = (across_seeds([f(t) for t in times]) for f in (lambda t: np.percentile(t, 99), np.mean))
    return {
        "policy": kind,
        "predictor": told,
        "k": k,
        "p99": p99.mean,
        "ci95": [p99.low, p99.high],
        "mean_response_time": found.mean,
        "mean_ci95": [found.low, found.high],
    }


def asked(load: float) -> dict[str, Any]:
    """Return the share of jobs that need a bit, and whether other bits for all others lead to the same runs."""
    scenario = Scenario(predictor="exponential", load=load, n_jobs=ASKED_JOBS)
    edge = float(policy("classes:k=2").params_for(**scenario.facts())[0])
    row: dict[str, Any] = {"load": load, "threshold": edge}
    for name, most in (("one-bit", 1), ("one-bit-lcfs", 0)):
        order = policy(f"{name}:threshold={edge!r}")
        drawn = scenario.draw(0)
        run = scenario.system.simulate(drawn, order)
        left = np.sort(run.outcome["completion"])
        few = np.arange(len(left)) - np.searchsorted(left, run.jobs["arrival"], side="right") <= most
        drawn.work["predicted"][few] = np.random.default_rng(1).exponential(2 * edge, few.sum())
        same = np.array_equal(run.response_times, scenario.system.simulate(drawn, order).response_times)
        row[name] = {"needs_a_bit": float(1 - few.mean()), "same_run": bool(same)}
    return row


def compute() -> dict[str, Any]:
    """Return all four parts."""
    curves = [(kind, edges, told) for told in TOLD for kind in KINDS for edges in ("optimal", "quantile")]
    laws = [(size, sigma) for size in SIZES for sigma in SIGMAS]
    tails = [(kind, told, k) for told in TOLD for kind in KINDS for k in (*TAIL_COUNTS, 0)]
    with ProcessPoolExecutor(2, initializer=end_with_parent) as pool:
        parts = {
            name: list(track(pool.map(play, tasks), name, len(tasks), console=Console(stderr=True)))
            for name, play, tasks in (
                ("curves", curve, curves),
                ("family", family, laws),
                ("tails", tail, tails),
                ("asked", asked, LOADS),
            )
        }
    names = ("fcfs", "spjf", "pspjf", "sprpt")
    references = {told: {name: mean(name, "exponential", told, LOAD) for name in names} for told in TOLD}
    return result({"load": LOAD, "jobs": JOBS, "references": references, **parts}, seeds=range(SEEDS))


def draw(found: dict[str, Any]) -> plt.Figure:
    """Return the figure: four panels."""
    style = {"font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "0", "axes.spines.top": False}
    with plt.rc_context({**style, "axes.spines.right": False}):
        figure, panels = plt.subplots(2, 2, figsize=(11.5, 8.2))
        _draw_means(panels[0, 0], found)
        _draw_family(panels[0, 1], found)
        _draw_tails(panels[1, 0], found)
        _draw_asked(panels[1, 1], found)
        figure.suptitle("How many bits?  Classes of predicted size at load 0.8", x=0.055, ha="left", fontsize=11)
        figure.tight_layout(w_pad=2.5, h_pad=2)
    return figure


COLOURS = {"preemptive-classes": "#d55e00", "classes": "#0072b2"}
WORDS = {"preemptive-classes": "preemptive", "classes": "not preemptive"}


def _draw_means(panel: plt.Axes, found: dict[str, Any]) -> None:
    for row in (row for row in found["curves"] if row["predictor"] == "exact"):
        best = row["edges"] == "optimal"
        label = f"{WORDS[row['policy']]}, {'best edges' if best else 'equal shares of jobs'}"
        look = {"color": COLOURS[row["policy"]], "ls": "-" if best else ":", "marker": "o" if best else "s", "ms": 3.5}
        panel.plot(row["k"], row["mean_response_time"], label=label, **look)
    for kind, name in ALL_BITS.items():
        value = found["references"]["exact"][name]
        panel.axhline(value, color=COLOURS[kind], lw=0.8, ls=(0, (5, 3)))
        panel.annotate({"pspjf": "PSJF", "spjf": "SJF"}[name], (1, value), va="bottom", color=COLOURS[kind])
    _counts(panel)
    panel.set(ylabel="mean response time, mean sizes", ylim=(2.4, 4.6))
    panel.set_title("exponential sizes, told exactly: E[T], exact", loc="left", fontsize=10)
    panel.legend(frameon=False)


def _draw_family(panel: plt.Axes, found: dict[str, Any]) -> None:
    for size, colour in zip(SIZES, ("#009e73", "#56b4e9", "#000000", "#cc79a7"), strict=True):
        rows = [row for row in found["family"] if row["size"] == size]
        best = [100 * (min(row["mean_response_time"].values()) / row["pspjf"] - 1) for row in rows]
        panel.plot([row["sigma"] for row in rows], best, "o-", ms=3.5, color=colour, label=size.replace(":", ", "))
    panel.axhline(0, color="0.5", lw=0.8)
    panel.set(xlabel=r"error of predictions $\sigma$, lognormal", ylabel="E[T] over PSPJF, %")
    panel.set_title("best of 2 to 16 preemptive classes against all bits", loc="left", fontsize=10)
    panel.legend(frameon=False)


def _draw_tails(panel: plt.Axes, found: dict[str, Any]) -> None:
    for told, fill in (("exact", "full"), ("lognormal:sigma=0.5", "none")):
        for kind in KINDS:
            rows = [row for row in found["tails"] if row["policy"] == kind and row["predictor"] == told]
            some = [row for row in rows if row["k"]]
            p99 = np.array([row["p99"] for row in some])
            bars = np.abs(np.array([row["ci95"] for row in some]).T - p99)
            word = "exact" if told == "exact" else r"$\sigma$ = ½"
            look = {"color": COLOURS[kind], "fillstyle": fill, "fmt": "o-", "ms": 4, "lw": 1, "capsize": 2}
            panel.errorbar([row["k"] for row in some], p99, bars, label=f"{WORDS[kind]}, {word}", **look)
    _counts(panel)
    panel.set(ylabel="99th percentile, mean sizes", ylim=(21, 42))
    panel.set_title("edges best for the mean: the tail, simulated, 95 % intervals", loc="left", fontsize=10)
    panel.legend(frameon=False)


def _draw_asked(panel: plt.Axes, found: dict[str, Any]) -> None:
    loads = [row["load"] for row in found["asked"]]
    for name, label in (
        ("one-bit", "not preemptive: who finds 2 or more"),
        ("one-bit-lcfs", "preemptive: who finds 1 or more"),
    ):
        panel.plot(loads, [row[name]["needs_a_bit"] for row in found["asked"]], "o-", ms=3.5, label=label)
    panel.set(xlabel="load", ylabel="share of jobs that need a bit", ylim=(0, 1))
    panel.set_title("one bit: the same run job by job, asking only these", loc="left", fontsize=10)
    panel.legend(frameon=False)


def _counts(panel: plt.Axes) -> None:
    panel.set_xscale("log", base=2)
    panel.set_xticks([1, 2, 4, 8, 16, 32], ["1", "2", "4", "8", "16", "32"])
    panel.set_xlabel("classes k")


def report(found: dict[str, Any]) -> None:
    """Print the means and the family."""
    table = Table("policy", "edges", "predictor", *(f"k={k}" for k in COUNTS), "all bits")
    for row in found["curves"]:
        all_bits = found["references"][row["predictor"]][ALL_BITS[row["policy"]]]
        means = (f"{value:.4f}" for value in row["mean_response_time"])
        table.add_row(row["policy"], row["edges"], row["predictor"], *means, f"{all_bits:.4f}")
    Console(width=150).print(table)
    table = Table("size", "sigma", *(f"k={k}" for k in FAMILY_COUNTS), "PSPJF", "SPRPT", "enough", "beats at", "spread")
    for row in found["family"]:
        means = [f"{value:.4f}" for value in (*row["mean_response_time"].values(), row["pspjf"], row["sprpt"])]
        told = (str(row["enough"] or "-"), str(row["first_below_pspjf"] or "-"), f"{row['spread']:.3g}")
        table.add_row(row["size"], f"{row['sigma']:g}", *means, *told)
    Console(width=150).print(table)
    for row in found["asked"]:
        shares = {
            name: f"{row[name]['needs_a_bit']:.3f}, same run: {row[name]['same_run']}" for name in row if "-" in name
        }
        Console(width=150).print(f"load {row['load']:g}: needs a bit {shares}")


def main() -> None:
    """Compute, store, draw and print."""
    found = compute()
    OUT.parent.mkdir(exist_ok=True)
    write_json(OUT.with_suffix(".json"), found)
    figure = draw(found)
    figure.savefig(OUT.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(OUT.with_suffix(".png"), dpi=130)
    report(found)


if __name__ == "__main__":
    main()

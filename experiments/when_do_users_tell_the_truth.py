"""For which probabilities of a punishment do users tell the truth about their jobs?

Users know an estimate of their size, S exp(sigma N), and report one of k classes; who outlives his report is punished
with probability p. Exact, by SOAP: the range of p in which nobody gains by a lie, under BlindTrust and MeasuredTrust,
and what the equilibrium of best responses costs all. Exponential sizes, load .8. Writes
`when_do_users_tell_the_truth.json`, `.svg` and `.png` into `results`; a minute or two.
"""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from llmqueue_gym import analyse, policy, size_law
from llmqueue_gym.evaluation import result, write_json
from llmqueue_gym.predictors.reports import Reports
from llmqueue_gym.theory.incentives import equilibrium, truthful_range

matplotlib.use("Agg")
import matplotlib.pyplot as plt

OUT = Path(__file__).parent / "results" / "when_do_users_tell_the_truth"
SIZE, LOAD = "exponential", 0.8
SIGMAS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.8, 1.2)
CLASSES = (2, 3)
NAMES = {"blind-trust": "BlindTrust", "measured-trust": "MeasuredTrust"}
PUNISHED, EXAMPLE = tuple(np.round(np.linspace(0, 1, 21), 2).tolist()), 0.8  # probabilities, and the sigma shown
COLOURS = {"blind-trust": "#d55e00", "measured-trust": "#0072b2"}


def compute() -> dict[str, Any]:
    """Return the ranges and the costs of equilibria."""
    size, ranges, costs = size_law(SIZE), [], []
    cells = [(k, name, sigma) for k in CLASSES for name in NAMES for sigma in SIGMAS]
    for k, name, sigma in track(cells, "ranges", console=Console(stderr=True)):
        found = truthful_range(policy(name), size, Reports(k=k, noise=f"lognormal:sigma={sigma}"), LOAD)
        ranges.append({"k": k, "policy": name, "sigma": sigma, "range": found})
    for name in NAMES:
        for p in PUNISHED:
            reports = Reports(k=2, noise=f"lognormal:sigma={EXAMPLE}", punished=p)
            said, mean, stable = equilibrium(policy(name), size, reports, LOAD)
            honest = analyse(policy(name), size, reports, LOAD, by_size=False).mean_response_time
            row = {"policy": name, "punished": p, "reports": said.tolist(), "mean_response_time": mean}
            costs.append({**row, "stable": stable, "if_all_told_the_truth": honest})
    return result({"size": SIZE, "load": LOAD, "ranges": ranges, "sigma": EXAMPLE, "equilibria": costs})


def draw(found: dict[str, Any]) -> plt.Figure:
    """Return the figure: ranges of p against sigma for both numbers of classes, and the cost of equilibria."""
    style = {"font.family": "sans-serif", "font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "0"}
    with plt.rc_context(style):
        figure, panels = plt.subplots(1, 3, figsize=(11.5, 3.9))
        for panel, k in zip(panels, CLASSES, strict=False):
            for name, words in NAMES.items():
                rows = [r for r in found["ranges"] if (r["k"], r["policy"]) == (k, name) and r["range"]]
                low, high = np.array([r["range"] for r in rows]).T
                sigmas = [r["sigma"] for r in rows]
                panel.fill_between(sigmas, low, high, color=COLOURS[name], alpha=0.22, lw=0)
                panel.plot(sigmas, low, color=COLOURS[name], lw=1.4, label=words)
                panel.plot(sigmas, high, color=COLOURS[name], lw=1.4)
            panel.set(xscale="log", xlabel=r"error $\sigma$ of a user's estimate")
            panel.set(xlim=(SIGMAS[0], SIGMAS[-1]), ylim=(-0.02, 1.02))
            panel.set_xticks([0.01, 0.1, 1.0], ["0.01", "0.1", "1"])
            panel.minorticks_off()
            panel.set_title(f"{k} classes: where truth is best", loc="left", fontsize=10)
        panels[0].set_ylabel("probability of the punishment")
        panels[0].legend(frameon=False, loc="center left")
        for name in NAMES:
            rows = [r for r in found["equilibria"] if r["policy"] == name]
            p = [r["punished"] for r in rows]
            panels[2].plot(p, [r["mean_response_time"] for r in rows], "o-", ms=3, lw=1.3, color=COLOURS[name])
            panels[2].plot(p, [r["if_all_told_the_truth"] for r in rows], ls=(0, (4, 3)), lw=1.0, color=COLOURS[name])
        panels[2].set_xlabel("probability of the punishment")
        panels[2].set_title(rf"E[T], 2 classes, $\sigma$ = {EXAMPLE:g}; dashed: all honest", loc="left", fontsize=10)
        for panel in panels:
            panel.spines[["top", "right"]].set_visible(False)
        figure.tight_layout()
    return figure


def main() -> None:
    """Compute, store, draw and print."""
    found = compute()
    write_json(OUT.with_suffix(".json"), found)
    figure = draw(found)
    figure.savefig(OUT.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(OUT.with_suffix(".png"), dpi=130)
    table = Table(
        "sigma", *(f"{words}, k={k}" for k in CLASSES for words in NAMES.values()), title="truth is best for p in"
    )
    for sigma in SIGMAS:
        rows = [r["range"] for r in found["ranges"] if r["sigma"] == sigma]
        table.add_row(f"{sigma:g}", *("none" if r is None else f"{r[0]:.3f} to {r[1]:.3f}" for r in rows))
    Console().print(table)


if __name__ == "__main__":
    main()

"""How bad can flow time get on the worst few jobs, against how wrong predictions are?

A prediction is off by a factor of up to sqrt(mu) either way, so that mu is the product of the worst over- and
underestimate. Searches, by hill climbing from random starts over arrivals, sizes and predictions of a few jobs, for the
greatest total flow time over that of SRPT. What is found is a lower bound of the competitive ratio at that number of
jobs. It is known that no algorithm does better than order mu, and that some reach it (Azar, Leonardi, Touitou 2021 and
2022; Gupta, Kumar, Panigrahi, Wang 2026); theirs are not among these policies, because their steps were not at hand.

    python experiments/flow_time_against_distortion.py --jobs 12

Writes `flow_time_against_distortion.json`, `.svg` and `.png` into `results`; some minutes.
"""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from rich.console import Console
from rich.table import Table
from study import study

from llmqueue_gym.jobs import job_table
from llmqueue_gym.policies import policy
from llmqueue_gym.systems import SYSTEMS, Drawn

matplotlib.use("Agg")
import matplotlib.pyplot as plt

OUT = Path(__file__).parent / "results" / "flow_time_against_distortion"
MU = (1.0, 2.0, 4.0, 8.0, 16.0)
POLICIES = ("sprpt", "sprpt-bounce", "pspjf", "las")
SPREAD = 1e3  # greatest size over the least
COLOURS = {"sprpt": "#d55e00", "sprpt-bounce": "#0072b2", "pspjf": "#009e73", "las": "#777777"}
STEPS = 4000  # of a climb


def flow(gaps: np.ndarray, sizes: np.ndarray, predicted: np.ndarray, name: str) -> float:
    """Return the total flow time of a policy on jobs `(n,)`, s."""
    jobs = job_table(np.cumsum(gaps), predicted)
    run = SYSTEMS.builder("mg1")().simulate(Drawn(jobs, {"sizes": sizes}), policy(name))
    return float(run.response_times.sum())


def climb(task: tuple[str, float, int, int]) -> dict[str, Any]:
    """Search for the worst jobs of a policy at a distortion, from one start."""
    name, mu, n, seed = task
    rng = np.random.default_rng([seed, int(10 * mu)])
    logs = np.log(SPREAD)
    state = [np.where(rng.random(n) < 0.3, 0.0, rng.exponential(1.0, n)), rng.random(n) * logs, rng.random(n) - 0.5]

    def value(gaps: np.ndarray, x: np.ndarray, off: np.ndarray) -> float:
        sizes = np.exp(x)
        return flow(gaps, sizes, sizes * mu**off, name) / flow(gaps, sizes, sizes, "srpt")

    best = value(*state)
    for step in range(STEPS):
        new = [part.copy() for part in state]
        for part, i in ((int(rng.integers(3)), int(rng.integers(n))) for _ in range(1 + int(rng.integers(2)))):
            width = 0.5 ** (5 * rng.random())
            if part == 0:
                new[0][i] = rng.choice([0.0, new[0][i] * np.exp(width * rng.normal()), rng.exponential(SPREAD / n)])
            elif part == 1:
                new[1][i] = np.clip(rng.choice([new[1][i] + width * rng.normal(), new[1][rng.integers(n)]]), 0.0, logs)
            else:
                new[2][i] = np.clip(rng.choice([new[2][i] + width * rng.normal(), -0.5, 0.5]), -0.5, 0.5)
        found = value(*new)
        if found >= best or (step < STEPS // 3 and rng.random() < np.exp((found - best) * 200 * (step + 1) / STEPS)):
            state, best = new, found
    gaps, x, off = state
    jobs = {"gaps": gaps.tolist(), "sizes": np.exp(x).tolist(), "predicted": (np.exp(x) * mu**off).tolist()}
    return {"policy": name, "mu": mu, "seed": seed, "ratio": best, "jobs": jobs}


def tell(played: list[dict[str, Any]], options: Any) -> dict[str, Any]:
    """Return the worst of all starts for each policy and distortion."""
    rows = []
    for name in POLICIES:
        for mu in MU:
            rows.append(max((r for r in played if (r["policy"], r["mu"]) == (name, mu)), key=lambda r: r["ratio"]))
    return {"jobs": options.jobs, "spread": SPREAD, "steps": STEPS, "rows": rows}


def draw(found: dict[str, Any]) -> plt.Figure:
    """Return the figure: the greatest ratio found against mu."""
    style = {"font.family": "sans-serif", "font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "0"}
    with plt.rc_context(style):
        figure, panel = plt.subplots(figsize=(6.4, 4.2))
        for name in POLICIES:
            mine = np.array([(r["mu"], r["ratio"]) for r in found["rows"] if r["policy"] == name])
            panel.plot(*mine.T, "o-", ms=4, lw=1.5, color=COLOURS[name], label=name)
        panel.plot(MU, MU, color="0.6", lw=0.9, ls=(0, (4, 3)), label=r"$\mu$")
        panel.set(xscale="log", yscale="log", xlabel=r"distortion $\mu$")
        panel.set_ylabel(f"flow time over SRPT's, worst {found['jobs']} jobs found")
        panel.set_xticks(MU, [f"{mu:g}" for mu in MU])
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_minor_formatter("")
        panel.yaxis.set_major_formatter("{x:g}")
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False)
        figure.tight_layout()
    return figure


def report(found: dict[str, Any], console: Console) -> None:
    """Print the ratios."""
    table = Table("mu", *POLICIES, title=f"worst flow time over SRPT's, {found['jobs']} jobs", title_justify="left")
    for mu in MU:
        table.add_row(f"{mu:g}", *(f"{r['ratio']:.3f}" for r in found["rows"] if r["mu"] == mu))
    console.print(table)


if __name__ == "__main__":
    study(
        __doc__,
        OUT,
        lambda o: [(name, mu, o.jobs, seed) for name in POLICIES for mu in MU for seed in range(o.seeds)],
        climb,
        tell,
        draw,
        report,
        jobs=12,
        seeds=3,
    )

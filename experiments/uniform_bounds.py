"""How far above SRPT can a policy be whose predictions lie in [beta S, alpha S]?

Searches, by differential evolution over joint laws of a few sizes with a few predictions and over the load, for the
greatest exact E[T] over that of SRPT: of SPRPT, SPRPT with bounce, PSPJF and Gittins, and of SPRPT over Gittins, at
several alpha / beta. What is found is a lower bound of the sharp constant; the proven ones are 3.5 alpha / beta for the
bounce and 1.5 alpha / beta for PSPJF, and none for SPRPT. On every worst law it tells also what processor sharing and
FSPE make of it, and slowdown, p99 and Jain's index, from a simulation.

    python experiments/uniform_bounds.py                                  # some minutes on 2 cores
    python experiments/uniform_bounds.py --replay sprpt-bounce 2          # one stored law, in many words

Writes `uniform_bounds.json`, `.svg` and `.png` into `results`.
"""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from joint_types import JointTypes
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.optimize import differential_evolution

from llmqueue_gym.boards.workers import end_with_parent
from llmqueue_gym.evaluation import Scenario, result, write_json
from llmqueue_gym.theory.uniform_bounds import error_ratio, sharp_constant, worst_ratio

matplotlib.use("Agg")
import matplotlib.pyplot as plt

OUT = Path(__file__).parent / "results" / "uniform_bounds"
ERRORS = (1.1, 1.5, 2.0, 4.0)  # alpha / beta
POLICIES = ("sprpt", "sprpt-bounce", "pspjf", "gittins")
PAIRS = (*((name, "srpt") for name in POLICIES), ("sprpt", "gittins"))  # a policy and what it is held against
PROVEN = {"sprpt-bounce": 3.5, "pspjf": 1.5}
SIZES, SHARED, SPREAD = 3, 4, 100.0  # sizes and predictions of a law, and the greatest size over the least
HIGHEST = 0.999  # load
GENERATIONS, POPULATION = 30, 4  # of the search; times the number of unknowns
JOBS = 400_000  # of a simulation
FINE = 600  # cells of ages, for what is told in the end
COLOURS = {"sprpt": "#d55e00", "sprpt-bounce": "#0072b2", "pspjf": "#009e73", "gittins": "#000000"}


def spread(z: np.ndarray, error: float) -> tuple[JointTypes, float]:
    """Return the law and the load that unknowns in [0, 1] stand for.

    They are the load, the steps between sizes, what each size has of the load, where beta lies, predictions that sizes
    may share, and for each size the weights of those that lie between beta S and alpha S; where none does, the nearest
    that may be is its own.
    """
    load, z = HIGHEST * (1 - (1 - z[0]) ** 2), z[1:]
    sizes = np.exp(np.log(SPREAD) * np.concatenate([[0.0], np.cumsum(z[: SIZES - 1] / (SIZES - 1))]))
    z = z[SIZES - 1 :]
    parts = 10 ** (4 * (z[:SIZES] - 1)) / sizes  # of the load, over the size
    z = z[SIZES:]
    beta = error ** -(2 * z[0] - 0.5)  # from alpha = error^0.5 / error^2 to error^1.5
    low, high = beta * sizes, beta * error * sizes
    shared = low[0] * (high[-1] / low[0]) ** z[1 : 1 + SHARED]
    weights = z[1 + SHARED :].reshape(SIZES, SHARED) ** 3
    allowed = (low[:, None] <= shared) & (shared <= high[:, None])
    told, weights = np.tile(shared, (SIZES, 1)), np.where(allowed, weights + 1e-6, 0.0)
    for i in np.flatnonzero(~allowed.any(axis=1)):
        told[i], weights[i] = np.clip(shared, low[i], high[i]), 0.0
        weights[i, np.abs(np.log(shared / sizes[i])).argmin()] = 1.0
    return JointTypes(sizes, parts / parts.sum(), told, weights / weights.sum(axis=1, keepdims=True)), load


def unknowns() -> int:
    """Return how many numbers `spread` takes."""
    return 1 + (SIZES - 1) + SIZES + 1 + SHARED + SIZES * SHARED


def ratio(law: JointTypes, load: float, name: str, over: str, **more: Any) -> float:
    """Return the exact E[T] of a policy over that of another."""
    return law.mean(name, load, **more) / law.mean(over, load, exact=over == "srpt", **more)


def clouds(z: np.ndarray, error: float) -> tuple[np.ndarray, np.ndarray]:
    """Return sizes and loads `(n,)` for `worst_ratio`, whose order needs no more than the error."""
    n = len(z) // 3
    load = 1 - 10 ** (-6 * z[0] - 0.1)
    parts = 10 ** (3 * (z[1 : n + 1] - 1))
    rising = np.exp(6 * np.concatenate([[0.0], np.cumsum(z[n + 1 : 2 * n])]))
    return rising * error ** -z[2 * n : 3 * n], load * parts / parts.sum()


def worst(task: tuple[str, str, float, int]) -> dict[str, Any]:
    """Search for the worst law of a policy at an error."""
    name, over, error, seed = task
    if name == "pspjf":
        found = [
            differential_evolution(
                lambda z: -worst_ratio(*clouds(z, error)), [(0.0, 1.0)] * (3 * n), seed=seed, maxiter=200, tol=1e-10
            )
            for n in (1, 2, 3)
        ]
        best = min(found, key=lambda one: one.fun)
        sizes, loads = clouds(best.x, error)
        law = {"sizes": sizes.tolist(), "loads": loads.tolist(), "order_needs": error_ratio(sizes)}
        return {
            "policy": name,
            "over": over,
            "error": error,
            "ratio": -float(best.fun),
            "load": float(loads.sum()),
            "law": law,
        }
    best = differential_evolution(
        lambda z: -ratio(*spread(z, error), name, over),
        [(0.0, 1.0)] * unknowns(),
        seed=seed,
        maxiter=GENERATIONS,
        popsize=POPULATION,
        polish=False,
    )
    law, load = spread(best.x, error)
    told = {
        "policy": name,
        "over": over,
        "error": error,
        "ratio": ratio(law, load, name, over, cells=FINE),
        "load": load,
    }
    return {**told, "law": law.to_dict(), "measures": measures(law, load, name)}


def crossed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows with the worst of all laws that were found at the same error, for whichever policy."""
    found = []
    for row in rows:
        if row["policy"] != "pspjf":
            for other in (one for one in rows if one["error"] == row["error"] and one["policy"] != "pspjf"):
                law = JointTypes(**{part: np.array(values) for part, values in other["law"].items()})
                value = ratio(law, other["load"], row["policy"], row["over"], cells=FINE)
                if value > row["ratio"]:
                    row = {**row, "ratio": value, "load": other["load"], "law": other["law"]}
                    row["measures"] = measures(law, other["load"], row["policy"])
        found.append(row)
    return found


def measures(law: JointTypes, load: float, name: str) -> dict[str, dict[str, float]]:
    """Return what a simulation tells of the policy, of SRPT, of processor sharing and of FSPE on a law."""
    scenario = Scenario("mg1", size=law.law, predictor=law.predictor, load=load, n_jobs=JOBS)
    told = {}
    for one in (name, "srpt", "ps", "fspe"):
        run = scenario.simulate(one, 0).after_warmup(0.1)
        times, slowdowns = run.response_times, run.slowdowns
        jain = float(slowdowns.sum() ** 2 / (len(slowdowns) * np.sum(slowdowns**2)))
        numbers = {"mean": float(times.mean()), "p99": float(np.percentile(times, 99)), "jain_of_slowdowns": jain}
        told[one] = {**numbers, "mean_slowdown": float(slowdowns.mean())}
    return told


def draw(rows: list[dict[str, Any]]) -> plt.Figure:
    """Return the figure: the greatest ratio found against the error, and the proven bounds."""
    style = {"font.family": "sans-serif", "font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "0"}
    with plt.rc_context(style):
        figure, panel = plt.subplots(figsize=(7.2, 4.8))
        for name in POLICIES:
            mine = [(row["error"], row["ratio"]) for row in rows if (row["policy"], row["over"]) == (name, "srpt")]
            panel.plot(*np.array(mine).T, "o-", ms=4, lw=1.6, color=COLOURS[name], label=f"{name}, found")
        errors = np.geomspace(ERRORS[0], ERRORS[-1], 50)
        for name, constant in PROVEN.items():
            panel.plot(errors, constant * errors, ls=(0, (4, 3)), lw=1.1, color=COLOURS[name], label=f"{name}, proven")
        panel.plot(
            errors,
            sharp_constant()[0] * errors,
            ls=":",
            lw=1.4,
            color=COLOURS["pspjf"],
            label=r"$1.16993\,\alpha/\beta$",
        )
        panel.set(xscale="log", yscale="log", xlabel=r"$\alpha/\beta$: how far apart predictions of one size may lie")
        panel.set_ylabel("greatest E[T] over that of SRPT")
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter("")
        panel.set_xticks(ERRORS, [f"{one:g}" for one in ERRORS])
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False, fontsize=8)
        figure.tight_layout()
    return figure


def replay(name: str, error: float) -> None:
    """Print the stored worst law of a policy over SRPT, and its ratio once more."""
    rows = json.loads(OUT.with_suffix(".json").read_text())["rows"]
    row = next(row for row in rows if (row["policy"], row["over"], row["error"]) == (name, "srpt", error))
    if name == "pspjf":
        again = worst_ratio(np.array(row["law"]["sizes"]), np.array(row["law"]["loads"]))
    else:
        law = JointTypes(**{part: np.array(values) for part, values in row["law"].items()})
        again = ratio(law, row["load"], name, "srpt", cells=FINE)
    print(json.dumps(row, indent=2))
    print(f"played again: {again!r}, stored {row['ratio']!r}")


def main() -> None:
    """Search, store, draw and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replay", nargs=2, metavar=("POLICY", "ERROR"), help="print one stored law and play it again")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    if options.replay:
        replay(options.replay[0], float(options.replay[1]))
        return
    tasks = [(*pair, error, options.seed) for pair in PAIRS for error in ERRORS]
    with ProcessPoolExecutor(options.processes, initializer=end_with_parent) as pool:
        rows = list(track(pool.map(worst, tasks), "searching", len(tasks), console=Console(stderr=True)))
    rows = crossed(rows)
    constant, load = sharp_constant()
    found = {"rows": rows, "sharp_at_1": constant, "load": load}
    write_json(OUT.with_suffix(".json"), result(found, seeds=[options.seed]))
    figure = draw(rows)
    figure.savefig(OUT.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(OUT.with_suffix(".png"), dpi=130)
    columns = [f"{name} / {over}" for name, over in PAIRS]
    table = Table("alpha / beta", *columns, title="greatest ratio of E[T] found", title_justify="left")
    for error in ERRORS:
        table.add_row(f"{error:g}", *(f"{row['ratio']:.4f}" for row in rows if row["error"] == error))
    Console().print(table)


if __name__ == "__main__":
    main()

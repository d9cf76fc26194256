"""Which wrong bits hurt a queue most, and what should a classifier learn so that its bits are best for the queue?

Three things, written as `which_errors_hurt.json`, `.svg` and `.png` into `results`; some minutes.

* Exact E[T] of one bit without preemption at the best threshold, against the share of wrong bits, for models that
  differ in who is called wrong; and, at the threshold that is best without errors, for the best and worst placement.
* What accuracy costs, exactly: a bit that is told from a noisy prediction alone so that it is right most often, and
  one that is best for the queue, as it weighs a wrong bit by |S - T*| (`theory.one_bit_advice`).
* Classifiers trained on recorded pairs of SSJF's predictors (Qiu et al., 2024; James-QiuHaoran/
  LLM-serving-with-proxy-models, Apache-2.0; lengths of LMSYS-Chat-1M replies, numbers only): logistic regression on the
  published class of five, the published bit and the time that the predictor took. One maximises the share of right
  bits, one weighs each example by |S - T*|, one estimates E[S | features] and cuts it at T*. Trained on nine tenths
  of the pairs and judged on the other, ten times. Skipped where the recordings are not beside the project, or in the
  folder that `--traces` names. There are no prompts in the recordings, so nothing better than these features.
"""

import argparse
import csv
import tempfile
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.optimize import brentq, minimize, minimize_scalar
from scipy.special import expit

from llmqueue_gym import predictor, size_law
from llmqueue_gym.columns import read_columns
from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation import Scenario, across_seeds, batch_means, paired_difference, result, write_json
from llmqueue_gym.predictors.confused_bit import WHERE, ConfusedBit
from llmqueue_gym.predictors.pairs import Pairs
from llmqueue_gym.theory.joint import JointLaw
from llmqueue_gym.theory.one_bit_advice import OneBitAdvice

matplotlib.use("Agg")
import matplotlib.pyplot as plt

OUT = Path(__file__).parent / "results" / "which_errors_hurt"
TRACES = Path(__file__).parents[2] / "shared" / "traces"
RECORDED = "data/pred_ssjf_lmsys_vicuna13b.csv.gz"
LOAD = 0.8
SIZES = ("exponential", "weibull:shape=0.5")
ERRORS = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4)
SIMULATED, JOBS = ((0.1, "longs"), (0.2, "edge"), (0.2, "shorts")), 1_000_000
LOADS, SHOWN = (0.5, 0.8, 0.95), 0.95  # of what was learnt
FOLDS, ROUNDS, RIDGE = 10, 6, 1e-4
NOISY = tuple((size, told) for size in SIZES for told in ("exponential", "lognormal:sigma=0.5", "lognormal:sigma=1"))


# Models of errors.


def queue_of(size: str) -> tuple[OneBitAdvice, np.ndarray, np.ndarray]:
    """Return the queue, and sizes and probabilities `(n,)` that sum to an expectation."""
    law = size_law(size)
    joint = JointLaw(law)
    return OneBitAdvice(law.mean, law.moment(2), LOAD), joint.x, joint.p


def at_best_threshold(size: str, where: str, error: float) -> tuple[float, float]:
    """Return the least E[T] over thresholds, and the best of them."""
    queue, x, p = queue_of(size)

    def mean(u: float) -> float:
        try:
            model = ConfusedBit(float(np.exp(u)), error, where).bind(size_law(size))
        except BadInput:  # fewer shorts or longs than wrong bits
            return np.inf
        return float(queue.mean_response_time(*queue.called_short(x, p, model.threshold, model.wrong(x))))

    grid = np.log(np.geomspace(0.3, 30, 25))
    values = [mean(u) for u in grid]
    i = int(np.argmin(values))
    ends = (grid[max(i - 1, 0)], grid[min(i + 1, len(grid) - 1)])
    best = minimize_scalar(mean, bounds=ends, method="bounded", options={"xatol": 1e-5})
    return min((float(best.fun), float(np.exp(best.x))), (values[i], float(np.exp(grid[i]))))


def models(size: str) -> list[dict[str, Any]]:
    """Return E[T] against the share of wrong bits for each model, and for the best and the worst placement."""
    queue, x, p = queue_of(size)
    _, right = at_best_threshold(size, "anywhere", 0.0)
    rows = []
    for error in ERRORS:
        for where in WHERE:
            mean, threshold = at_best_threshold(size, where, error)
            rows.append({"size": size, "where": where, "error": error, "mean": mean, "threshold": threshold})
        for worst in (False, True):
            wrong = queue.errors(x, p, right, error, worst)
            mean = float(queue.mean_response_time(*queue.called_short(x, p, right, wrong)))
            where = "worst placed" if worst else "best placed"
            rows.append({"size": size, "where": where, "error": error, "mean": mean, "threshold": right})
    return rows


def break_even(size: str, where: str, threshold: float) -> float | None:
    """Return the share of wrong bits from which FCFS is better at a threshold, or None where it never is."""
    queue, x, p = queue_of(size)
    fcfs = float(queue.mean_response_time(0.0, 0.0))

    def over(error: float) -> float:
        model = ConfusedBit(threshold, error, where).bind(size_law(size))
        return float(queue.mean_response_time(*queue.called_short(x, p, threshold, model.wrong(x)))) - fcfs

    law = size_law(size)
    most = {"shorts": law.cdf(threshold), "longs": law.sf(threshold), "anywhere": 1.0}.get(where, 0.5)
    most = float(most) * (1 - 1e-9)
    return float(brentq(over, 0.0, most, xtol=1e-6)) if over(most) > 1e-6 else None  # a toss for everybody is FCFS


def simulated(size: str, error: float, where: str, threshold: float) -> dict[str, Any]:
    """Return a simulated mean with its 95 % interval."""
    told = ConfusedBit(threshold, error, where)
    run = Scenario(size=size, predictor=told, load=LOAD, n_jobs=JOBS).simulate(f"one-bit:threshold={threshold!r}", 0)
    found = batch_means(run.response_times)
    return {"size": size, "where": where, "error": error, "mean": found.mean, "ci95": [found.low, found.high]}


# What to learn.


def accuracy_costs(size: str, told: str) -> dict[str, Any]:
    """Return E[T] of the bits that are right most often and of those that are best for the queue, from a prediction."""
    law, noise = size_law(size), predictor(told)
    queue, rows = OneBitAdvice(law.mean, law.moment(2), LOAD), JointLaw(law, noise.bind(law)).rows
    p, work = (np.array([row.p @ row.x**k for row in rows]) for k in (0, 1))
    best = queue.best_bits(p, work / p)
    middle = queue.indifferent_size(float(p @ best), float(work @ best))
    short = np.array([row.p @ (row.x <= middle) for row in rows])
    found: dict[str, Any] = {"size": size, "predictor": told, "indifferent_size": middle}
    for name, bits in (("right most often", short > p - short), ("best for the queue", best)):
        mean = float(queue.mean_response_time(float(p @ bits), float(work @ bits)))
        false_short, false_long = float(((p - short) * bits).sum()), float((short * ~bits).sum())
        wrong = {"wrong": false_short + false_long, "false_short": false_short, "false_long": false_long}
        found[name] = {"mean": mean, **wrong}
    return found


def features(classes: np.ndarray, bits: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Return what a classifier sees of each request `(n, 8)`."""
    late = np.log(seconds / np.median(seconds))
    return np.column_stack([classes == c for c in range(5)] + [bits, late, late**2]).astype(float)


def logistic(x: np.ndarray, long: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the coefficients `(m,)` of the least weighted log loss."""

    def loss(b: np.ndarray) -> tuple[float, np.ndarray]:
        z = x @ b
        slope = x.T @ (weights * (expit(z) - long)) / weights.sum() + 2 * RIDGE * b
        return float(weights @ (np.logaddexp(0, z) - long * z) / weights.sum() + RIDGE * b @ b), slope

    return minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B").x


def learners(x: np.ndarray, size: np.ndarray, queue: OneBitAdvice) -> dict[str, Any]:
    """Return ways to call requests short, each a function of features, trained on features and sizes."""
    even = np.full(len(size), 1 / len(size))
    exact = queue.best_bits(even, size)
    start = queue.indifferent_size(float(even @ exact), float(even @ (exact * size)))
    ones = np.ones(len(size))
    right_often = logistic(x, size > start, ones)
    middle = start
    for _ in range(ROUNDS):  # what a wrong bit costs depends on the bits
        weighed = logistic(x, size > middle, np.abs(size - middle))
        short = x @ weighed < 0
        middle = queue.indifferent_size(float(short.mean()), float((short * size).mean()))
    line = np.linalg.lstsq(x, size, rcond=None)[0]
    estimate = x @ line
    order = queue.best_bits(even, estimate)
    cut = float(estimate[order].max()) if order.any() else -np.inf
    kind = x[:, :5].argmax(axis=1)
    share = np.bincount(kind, minlength=5) / len(size)
    means = np.bincount(kind, size, 5) / np.maximum(np.bincount(kind, minlength=5), 1)
    merged = queue.best_bits(share, means)
    return {
        "right most often": lambda f: f @ right_often < 0,
        "weights |S - T*|": lambda f: f @ weighed < 0,
        "E[S | features] < T*": lambda f: f @ line <= cut,
        "five classes, best cut": lambda f: merged[f[:, :5].argmax(axis=1)],
        "the published bit": lambda f: f[:, 5] == 0,
    }


def learn(path: Path) -> dict[str, Any]:
    """Return how the bits of each learner do on pairs that it has not seen."""
    names = ["output_tokens", "predicted_class5", "predicted_class2", "predictor_latency_s"]
    tokens, *seen = (column.numbers() for column in read_columns(path, names))
    size, x = tokens / tokens.mean(), features(*seen)
    rows: list[dict[str, Any]] = []
    checks = []
    for load in LOADS:
        for fold in range(FOLDS):
            train = np.random.default_rng(0).permutation(len(size)) % FOLDS != fold
            first = OneBitAdvice(float(size[train].mean()), float((size[train] ** 2).mean()), load)
            test = size[~train]
            queue = OneBitAdvice(float(test.mean()), float((test**2).mean()), load)
            even = np.full(len(test), 1 / len(test))
            best = queue.best_bits(even, test)
            bits = {name: call(x[~train]) for name, call in learners(x[train], size[train], first).items()}
            bits |= {"no bit": np.zeros(len(test), bool), "right bits": best}
            for name, short in bits.items():
                mean = float(queue.mean_response_time(float(short.mean()), float((short * test).mean())))
                wrong = {"wrong": short != best, "false_short": short & ~best, "false_long": ~short & best}
                shares = {key: float(value.mean()) for key, value in wrong.items()}
                rows.append({"load": load, "fold": fold, "bits": name, "mean": mean, **shares})
                if load == LOAD and fold == 0 and name == "weights |S - T*|":
                    checks.append({"bits": name, "exact": mean, **played(test, short)})
    return {"rows": rows, "summary": summary(rows), "simulated": checks, "requests": len(size)}


def played(size: np.ndarray, short: np.ndarray) -> dict[str, Any]:
    """Return a simulation of jobs drawn from pairs of size and bit."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bits.csv"
        with path.open("w", newline="") as file:
            lengths = np.column_stack([np.round(size * 1000, 6), np.where(short, 500, 2000)])
            csv.writer(file).writerows([["output_tokens", "predicted_tokens"], *lengths.tolist()])
        told = Pairs(str(path))
        edge = 1000 / float(lengths[:, 0].mean())
        run = Scenario(size=told.size_law(), predictor=told, load=LOAD, n_jobs=JOBS).simulate(
            f"one-bit:threshold={edge!r}", 0
        )
    found = batch_means(run.response_times * size.mean())
    return {"mean": found.mean, "ci95": [found.low, found.high]}


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return means over folds with 95 % intervals, and the difference to the bits that are right most often."""
    told = []
    for load in LOADS:
        of = {name: [r for r in rows if r["load"] == load and r["bits"] == name] for name in {r["bits"] for r in rows}}
        base = np.array([r["mean"] for r in of["right most often"]])
        for name, mine in sorted(of.items()):
            means = np.array([r["mean"] for r in mine])
            found = across_seeds(means)
            row = {"load": load, "bits": name, "mean": found.mean, "ci95": [found.low, found.high]}
            row |= {key: float(np.mean([r[key] for r in mine])) for key in ("wrong", "false_short", "false_long")}
            if name != "right most often":
                gap = paired_difference(means, base)
                row |= {"less_than_right_most_often": -gap.mean, "gap_ci95": [-gap.high, -gap.low]}
            told.append(row)
    return told


def compute(traces: Path) -> dict[str, Any]:
    """Return all parts."""
    rows = [row for size in SIZES for row in models(size)]
    checks, even = [], []
    for size in SIZES:
        right = next(r["threshold"] for r in rows if r["size"] == size and r["where"] == "best placed")
        even += [{"size": size, "where": w, "error": break_even(size, w, right), "threshold": right} for w in WHERE]
        for error, where in SIMULATED:
            mine = next(r for r in rows if (r["size"], r["where"], r["error"]) == (size, where, error))
            checks.append({**simulated(size, error, where, mine["threshold"]), "exact": mine["mean"]})
    fcfs = {size: float(queue_of(size)[0].mean_response_time(0.0, 0.0)) for size in SIZES}
    found = {"load": LOAD, "models": rows, "fcfs": fcfs, "break_even": even, "simulated": checks}
    found["accuracy"] = [accuracy_costs(*one) for one in NOISY]
    path = traces / RECORDED
    if path.exists():
        source = "James-QiuHaoran/LLM-serving-with-proxy-models, commit 4b866866a32626677a1841a3b92875b93b1f03ab"
        found["learnt"] = {**learn(path), "source": source, "licence": "Apache-2.0", "file": path.name}
    return result(found, seeds=[0])


COLOURS = dict(zip(WHERE, ("#000000", "#56b4e9", "#d55e00", "#009e73", "#e69f00"), strict=True))


def draw(found: dict[str, Any]) -> plt.Figure:
    """Return the figure: errors for two laws, and what was learnt."""
    style = {"font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "0", "axes.spines.top": False}
    with plt.rc_context({**style, "axes.spines.right": False}):
        figure, panels = plt.subplots(1, 3, figsize=(14.5, 4.8))
        for panel, size in zip(panels[:2], SIZES, strict=True):
            _draw_models(panel, found, size)
        panels[0].set_ylabel("mean response time, mean sizes")
        if "learnt" in found:
            _draw_learnt(panels[2], found["learnt"]["summary"])
        else:
            panels[2].set_axis_off()
        figure.suptitle(
            "Which errors hurt?  One bit without preemption at load 0.8, exact; dots: simulated, 95 % intervals",
            x=0.05,
            ha="left",
            fontsize=11,
        )
        figure.tight_layout(w_pad=2)
    return figure


def _draw_models(panel: plt.Axes, found: dict[str, Any], size: str) -> None:
    rows = [row for row in found["models"] if row["size"] == size]
    for where in (*WHERE, "best placed", "worst placed"):
        mine = [row for row in rows if row["where"] == where and np.isfinite(float(row["mean"]))]
        look = {"color": COLOURS.get(where, "0.6"), "ls": "-" if where in COLOURS else ":", "lw": 1.5}
        panel.plot([row["error"] for row in mine], [row["mean"] for row in mine], label=where, **look)
    for point in (p for p in found["simulated"] if p["size"] == size):
        bars = [[point["mean"] - point["ci95"][0]], [point["ci95"][1] - point["mean"]]]
        panel.errorbar(point["error"], point["mean"], bars, fmt="o", ms=4, mfc="white", color=COLOURS[point["where"]])
    fcfs = found["fcfs"][size]
    panel.axhline(fcfs, color="0.6", lw=0.9, ls=(0, (4, 3)))
    panel.annotate("FCFS, no bits", (0.4, fcfs), ha="right", va="bottom", color="0.4")
    panel.set(xlabel="share of wrong bits", ylim=(None, 1.15 * fcfs))
    panel.set_title(f"{size.replace(':', ', ')} sizes", loc="left", fontsize=10)
    panel.legend(frameon=False, title="wrong")


def _draw_learnt(panel: plt.Axes, rows: list[dict[str, Any]]) -> None:
    mine = sorted((row for row in rows if row["load"] == SHOWN), key=lambda row: -row["mean"])
    for k, row in enumerate(mine):
        bar = [[row["mean"] - row["ci95"][0]], [row["ci95"][1] - row["mean"]]]
        panel.errorbar(row["mean"], k, xerr=bar, fmt="o", ms=4, color="#0072b2", capsize=2)
        panel.annotate(f"{100 * row['wrong']:.1f} % wrong", (row["mean"], k), xytext=(0, 5), **NEAR)
    panel.set_yticks(range(len(mine)), [row["bits"] for row in mine])
    panel.set(xlabel="mean response time on pairs not seen, mean sizes", ylim=(-0.5, len(mine) - 0.3))
    panel.margins(x=0.15)
    panel.set_title(f"learnt from SSJF's recorded pairs, load {SHOWN:g}", loc="left", fontsize=10)


NEAR: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "fontsize": 7.5, "color": "0.35"}


def report(found: dict[str, Any]) -> None:
    """Print the models, where bits are worth nothing, and what was learnt."""
    console = Console(width=130)
    for size in SIZES:
        table = Table("wrong", *(f"{error:g}" for error in ERRORS), "FCFS from", title=f"E[T], {size}")
        even = {row["where"]: row["error"] for row in found["break_even"] if row["size"] == size}
        for where in (*WHERE, "best placed", "worst placed"):
            rows = [row for row in found["models"] if row["size"] == size and row["where"] == where]
            means = ["-" if row["mean"] == "Infinity" else f"{float(row['mean']):.4f}" for row in rows]
            table.add_row(where, *means, f"{even[where]:.3f}" if even.get(where) else "-")
        console.print(table)
    for row in found["simulated"]:
        console.print({key: row[key] for key in ("size", "where", "error", "exact", "mean", "ci95")})
    table = Table("size", "predictor", "T*", "right most often", "wrong", "best for the queue", "wrong")
    for row in found["accuracy"]:
        told = [
            f"{row[name][key]:.4f}" for name in ("right most often", "best for the queue") for key in ("mean", "wrong")
        ]
        table.add_row(row["size"], row["predictor"], f"{row['indifferent_size']:.3f}", *told)
    console.print(table)
    if "learnt" in found:
        table = Table("load", "bits", "E[T]", "95 %", "wrong", "false short", "false long", "gain", "95 %")
        for row in found["learnt"]["summary"]:
            shares = [f"{row[key]:.4f}" for key in ("wrong", "false_short", "false_long")]
            gain = (
                [f"{row['less_than_right_most_often']:.4f}", _ends(row["gap_ci95"])] if "gap_ci95" in row else ["", ""]
            )
            table.add_row(f"{row['load']:g}", row["bits"], f"{row['mean']:.4f}", _ends(row["ci95"]), *shares, *gain)
        console.print(table)
        console.print(found["learnt"]["simulated"])


def _ends(pair: list[float]) -> str:
    return f"{pair[0]:.4f}, {pair[1]:.4f}"


def main() -> None:
    """Compute, store, draw and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--traces", type=Path, default=TRACES, help="folder of recorded traces")
    found = compute(parser.parse_args().traces)
    OUT.parent.mkdir(exist_ok=True)
    write_json(OUT.with_suffix(".json"), found)
    figure = draw(found)
    figure.savefig(OUT.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(OUT.with_suffix(".png"), dpi=130)
    report(found)


if __name__ == "__main__":
    main()

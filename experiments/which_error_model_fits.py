"""Which model describes the errors of real length predictors, and what does a wrong model do to E[T]?

Three files of measured pairs of true and predicted length: five classes told by SSJF's classifier for answers of
LMSYS-Chat-1M (Qiu et al. 2024, Apache-2.0); Block's lengths for ShareGPT (2025, MIT; its predictor has seen most of
these answers, so it is nearly an oracle with outliers); and service times told by a classifier of emotions
(Apache-2.0). They lie beside the project and are skipped where they are missing.

Each family is fitted by maximum likelihood, as it stands and distorted by a factor and a power, and scored on pairs
held out (`llmqueue_gym.predictors.fit`). Then jobs of the file's sizes come at load .8, Poisson, and are predicted by
the pairs themselves and by each fitted model: how wrong is the mean response time that the model foretells, on the same
jobs? Gittins is that of the model on both sides. Intervals are Student's t over seeds.
Writes `which_error_model_fits.json`, `.svg` and `.png` into `results`; some minutes.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from rich.console import Console
from rich.table import Table

from llmqueue_gym import policy, predictor
from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation import across_seeds
from llmqueue_gym.predictors.coarse import Coarse
from llmqueue_gym.predictors.fit import FAMILIES, cells, compare
from llmqueue_gym.predictors.pairs import Pairs
from llmqueue_gym.systems import Scenario

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from study import study

OUT = Path(__file__).parent / "results" / "which_error_model_fits"
TRACES = Path(__file__).parents[2] / "shared" / "traces" / "data"
FILES = {
    "SSJF": ("pred_ssjf_lmsys_vicuna13b.csv.gz", "output_tokens", "predicted_class5"),
    "Block": ("pred_block_sharegpt.csv.gz", "output_tokens", "predicted_tokens"),
    "emotion service": ("pred_emotion_service.csv.gz", "service_s", "predicted_service_s"),
}
LOAD, JOBS, SEEDS = 0.8, 60_000, 5
POLICIES = ("sprpt", "pspjf", "gittins")
REAL = "pairs"


@dataclass(frozen=True)
class Classes(Coarse):
    """The class of a noisy prediction, given out by the mean size of the jobs that are really given it.

    Attributes:
        edges: between the classes.
        values: what they are given out as.
        noise: the model of the noisy prediction, or its spec.
    """

    edges: tuple[float, ...] = ()
    values: tuple[float, ...] = ()
    noise: Any = "lognormal"

    def cells(self) -> tuple[np.ndarray, np.ndarray]:
        """Return edges and values."""
        return np.array(self.edges), np.array(self.values)


def given(name: str) -> tuple[str, str, str]:
    """Return the arguments that name the pairs of a file."""
    file, true, told = FILES[name]
    return str(TRACES / file), true, told


def tasks(options: Any) -> list[Any]:
    """Return the fits of all files, to be played, and the pairs themselves."""
    there = [name for name in FILES if Path(given(name)[0]).exists()]
    if not there:
        raise BadInput(f"{TRACES} has none of the files of pairs; there is nothing to fit")
    jobs: list[Any] = []
    for name in there:
        pairs = cells(*given(name))
        edges = tuple(pairs.edges.tolist())
        jobs.append((name, None, edges, len(pairs.sizes), options.jobs, options.seeds))
        jobs += [(name, asdict(f), edges, len(pairs.sizes), options.jobs, options.seeds) for f in compare(pairs)]
    return jobs


def play(job: tuple[str, dict[str, Any] | None, tuple[float, ...], int, int, int]) -> dict[str, Any]:
    """Return mean response times, a row for each seed, under a fitted model or, where there is none, the pairs."""
    name, fit, edges, pairs, n, seeds = job
    real = Pairs(*given(name))
    law = real.size_law()
    real = real.bind(law)
    model: Any = real
    if fit is not None:
        values = tuple(real.atoms().tolist())
        noise = predictor(fit["spec"])
        model = Classes(edges, values, noise) if edges else noise
    where = Scenario(size=law, predictor=model, load=LOAD, n_jobs=n)
    actual = Scenario(size=law, predictor=real, load=LOAD, n_jobs=n)
    gittins = policy("gittins")
    means: dict[str, list[float]] = {rule: [] for rule in (*POLICIES, "gittins on pairs")}
    for seed in range(seeds):
        drawn = where.draw(seed)
        for rule in POLICIES:
            means[rule].append(_mean(where, drawn, policy(rule), model.bind(law)))
        means["gittins on pairs"].append(_mean(actual, actual.draw(seed), gittins, model.bind(law)))
    return {"file": name, "fit": fit, "pairs": pairs, "means": means}


def _mean(where: Scenario, drawn: Any, rule: Any, told: Any) -> float:
    run = where.system.simulate(drawn, rule, size=where.law, predictor=told)
    return float(run.after_warmup().response_times.mean())


def tell(played: list[dict[str, Any]], options: Any) -> dict[str, Any]:
    """Return the fits with the errors that they lead to, in percent of what the pairs lead to on the same jobs."""
    files = []
    for name in dict.fromkeys(one["file"] for one in played):
        mine = [one for one in played if one["file"] == name]
        real = next(one["means"] for one in mine if one["fit"] is None)
        rows = []
        for one in mine:
            if one["fit"] is None:
                continue
            happened = {**real, "gittins": one["means"]["gittins on pairs"]}
            errors = {rule: _error(one["means"][rule], happened[rule]) for rule in POLICIES}
            excess = _error(one["means"]["gittins on pairs"], real["sprpt"])
            rows.append({**one["fit"], "error": errors, "gittins_on_pairs_against_sprpt": excess})
        known = {rule: _across(real[rule]) for rule in POLICIES[:2]}
        files.append({"file": name, "source": FILES[name][0], "pairs": mine[0]["pairs"], "real": known, "fits": rows})
    return {"load": LOAD, "jobs": options.jobs, "files": files, "finding": findings(files)}


def _across(values: Any) -> dict[str, Any]:
    estimate = across_seeds([float(v) for v in values])
    return {"mean": estimate.mean, "ci95": [estimate.low, estimate.high]}


def _error(values: list[float], real: list[float]) -> dict[str, Any]:
    return _across(100 * (np.array(values) / np.array(real) - 1))


def findings(files: list[dict[str, Any]]) -> list[str]:
    """Say which family is most likely, and which foretells E[T] best."""
    words = []
    for file in files:
        fits = file["fits"]
        worst = {f["family"]: max(abs(f["error"][rule]["mean"]) for rule in POLICIES) for f in fits}
        nearest = min(worst, key=worst.__getitem__)
        usual = {f["family"]: f for f in fits}
        gaps = ", ".join(f"{f['family']} {f['behind']:.3f}" for f in fits[1:4])
        errors = ", ".join(f"{rule} {fits[0]['error'][rule]['mean']:+.1f} %" for rule in POLICIES)
        words.append(
            f"{file['file']}, {file['pairs']} pairs: most likely is {fits[0]['spec']}; behind it, in nats a pair, are "
            f"{gaps}. It foretells E[T] with errors {errors}; the least largest error has {nearest}, "
            f"{worst[nearest]:.1f} %; lognormal {worst['lognormal']:.1f} %, exponential {worst['exponential']:.1f} %. "
            f"Gittins fitted to the most likely one and played on the pairs is "
            f"{usual[fits[0]['family']]['gittins_on_pairs_against_sprpt']['mean']:+.1f} % against sprpt; fitted to "
            f"exponential {usual['exponential']['gittins_on_pairs_against_sprpt']['mean']:+.1f} %."
        )
    return words


COLOURS = {"sprpt": "#d55e00", "pspjf": "#009e73", "gittins": "#000000"}


def draw(found: dict[str, Any]) -> plt.Figure:
    """Return the figure: likelihood above, error in E[T] below, a file in each column."""
    style = {"font.family": "sans-serif", "font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "0"}
    with plt.rc_context(style):
        figure, panels = plt.subplots(2, len(found["files"]), figsize=(11, 6.6), sharey=True, squeeze=False)
        for column, file in zip(panels.T, found["files"], strict=True):
            _draw_file(column, file)
        for row in panels:
            row[0].set_yticks(range(len(FAMILIES)), list(FAMILIES)[::-1])
        dots = [plt.Line2D([], [], color="#0072b2", ls="", marker="o", mfc=fill) for fill in ("#0072b2", "white")]
        dots += [plt.Line2D([], [], color=colour, ls="", marker="s") for colour in COLOURS.values()]
        names = ["with a factor and a power fitted", "as in the literature (open)", *POLICIES]
        figure.legend(dots, names, ncols=5, loc="upper left", bbox_to_anchor=(0.05, 0.955), frameon=False)
        title = "Which error model fits?  Held-out likelihood (above), and the error in E[T] that it leads to (below)"
        figure.suptitle(title, x=0.06, ha="left", fontsize=10.5)
        figure.tight_layout(rect=(0, 0, 1, 0.92), w_pad=1.5)
    return figure


def _draw_file(column: Any, file: dict[str, Any]) -> None:
    likely, wrong = column
    for k, family in enumerate(reversed(FAMILIES)):
        for suffix, shift in ((", distorted", 0.12), ("", -0.12)):
            fit = next(f for f in file["fits"] if f["family"] == family + suffix)
            low, high = fit["behind_ci95"]
            bars = [[fit["behind"] - low], [high - fit["behind"]]]
            fill = "#0072b2" if suffix else "white"
            likely.errorbar(fit["behind"], k + shift, xerr=bars, fmt="o", ms=5, color="#0072b2", mfc=fill, capsize=2)
            for j, (rule, colour) in enumerate(COLOURS.items()):
                error = fit["error"][rule]
                low, high = error["ci95"]
                bars = [[error["mean"] - low], [high - error["mean"]]]
                fill = colour if suffix else "white"
                at = k + shift + 0.07 * (j - 1)
                wrong.errorbar(error["mean"], at, xerr=bars, fmt="s", ms=4, color=colour, mfc=fill, capsize=1.5)
    likely.set_title(f"{file['file']}, {file['pairs']:,} pairs", loc="left", fontsize=9.5)
    likely.set_xlabel("nats a pair behind the best")
    wrong.set_xlabel("error in E[T], %")
    wrong.axvline(0, color="0.7", lw=0.8, zorder=0)
    for panel in column:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(axis="x", color="0.92")


def report(found: dict[str, Any], console: Console) -> None:
    """Print the fits and the findings."""
    for file in found["files"]:
        columns = ("model", "held-out, nats", "behind", *(f"{rule}, %" for rule in POLICIES), "Gittins on pairs, %")
        table = Table(*columns, title=f"{file['file']}: {file['pairs']} pairs", title_justify="left")
        for fit in file["fits"]:
            errors = [f"{fit['error'][rule]['mean']:+.1f}" for rule in POLICIES]
            errors.append(f"{fit['gittins_on_pairs_against_sprpt']['mean']:+.1f}")
            low, high = fit["behind_ci95"]
            behind = f"{fit['behind']:.4f} ({low:.4f} to {high:.4f})"
            table.add_row(fit["family"], f"{fit['log_likelihood']:.4f}", behind, *errors)
        console.print(table)
    for sentence in found["finding"]:
        console.print(sentence)


def main(arguments: list[str] | None = None) -> None:
    """Fit, play, store, draw and print."""
    study(__doc__, OUT, tasks, play, tell, draw, report, width=130, arguments=arguments, jobs=JOBS, seeds=SEEDS)


if __name__ == "__main__":
    main()

"""Is a predicted law worth more than its mean, and what if the law is overconfident?

The predictor names one of 2k laws: k places by two spreads, so that for half of the jobs it is sure (log errors .25)
and for the others it is not, and it knows for which. Exact mean response times at load .8 of ranks that look at the
mean of the named law less the age (SPRPT), at the mean, a quantile or the CVaR of what is left given the age, and at
all of the law (Gittins); and of Gittins that is told the place alone, not how sure the predictor is. To the left the
spread of the unsure half grows; to the right it is 1, and the spreads that the predictor claims are a multiple of what
they are.
Writes `is_a_predicted_law_worth_more_than_its_mean.json`, `.svg` and `.png` into `results`; some minutes.
"""

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import matplotlib
from rich.console import Console
from rich.progress import track

from llmqueue_gym import analyse, policy, predictor, size_law
from llmqueue_gym.boards.workers import end_with_parent
from llmqueue_gym.evaluation import result, write_json

matplotlib.use("Agg")
import matplotlib.pyplot as plt

OUT = Path(__file__).parent / "results" / "is_a_predicted_law_worth_more_than_its_mean"
LOAD, PLACES, SURE, SHARE, UNSURE = 0.8, 12, 0.25, 0.5, 1.0
WIDE = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0)
CLAIMED = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
SIZES = {"exponential": "exponential sizes", "weibull:shape=0.5": "Weibull sizes, shape ½"}
POLICIES = {
    "sprpt": "mean less age (SPRPT)",
    "serpt": "mean of what is left",
    "quantile:q=0.5": "its median",
    "quantile:q=0.9": "its 90 % quantile",
    "cvar:q=0.9": "its mean beyond that (CVaR)",
    "gittins": "all of it (Gittins)",
    "place alone": "Gittins, told the place alone",
}
COLOURS = dict(
    zip(POLICIES, ("#d55e00", "#56b4e9", "#009e73", "#e69f00", "#cc79a7", "#000000", "#777777"), strict=True)
)


def exact(job: tuple[str, str, float, float]) -> dict[str, Any]:
    """Return the exact mean response time of a policy for sizes, a spread of the unsure, and a claim."""
    size, name, wide, claimed = job
    told = f"laws:k={PLACES},sigma={SURE},wide={wide},share={SHARE},claimed={claimed}"
    if name == "place alone":
        told = f"buckets:k={PLACES},noise=two-lognormals:sigma={SURE};wide={wide};share={SHARE}"
    rule = policy("gittins" if name == "place alone" else name)
    mean = analyse(rule, size_law(size), predictor(told), LOAD, by_size=False).mean_response_time
    return {"size": size, "policy": name, "wide": wide, "claimed": claimed, "mean_response_time": mean}


def compute() -> dict[str, Any]:
    """Return the curves and what they say."""
    cells = [(wide, 1.0) for wide in WIDE] + [(UNSURE, claimed) for claimed in CLAIMED if claimed != 1.0]
    jobs = [(size, name, *cell) for size in SIZES for cell in cells for name in POLICIES]
    with ProcessPoolExecutor(2, initializer=end_with_parent) as pool:
        curves = list(track(pool.map(exact, jobs), "exact", len(jobs), console=Console(stderr=True)))
    found = {"load": LOAD, "places": PLACES, "sure": SURE, "share": SHARE, "exact": curves}
    return result({**found, "finding": findings(curves)})


def value(curves: list[dict[str, Any]], **cell: Any) -> float:
    """Return the mean response time of a cell."""
    return next(c["mean_response_time"] for c in curves if all(c[key] == wanted for key, wanted in cell.items()))


def findings(curves: list[dict[str, Any]]) -> list[str]:
    """Say how much less the mean response time is than by the mean less the age."""
    words = []
    for size, title in SIZES.items():
        for wide, claimed, what in (
            *((wide, 1.0, f"calibrated, spread {wide:g}") for wide in (0.5, 1.0, 2.0)),
            *((UNSURE, claimed, f"claimed {claimed:g} times the spread") for claimed in (0.1, 0.25, 4.0)),
        ):
            cell = {"size": size, "wide": wide, "claimed": claimed}
            base = value(curves, policy="sprpt", **cell)
            less = {n: 100 * (1 - value(curves, policy=n, **cell) / base) for n in POLICIES if n != "sprpt"}
            told = ", ".join(f"{name} {gain:+.1f} %" for name, gain in less.items())
            words.append(f"{title}, {what}: mean less age {base:.4f}; less than that by {told}.")
    return words


def draw(found: dict[str, Any]) -> plt.Figure:
    """Return the figure: sizes below one another; the spread to the left, the claim to the right."""
    style = {"font.family": "sans-serif", "font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "0"}
    with plt.rc_context(style):
        figure, panels = plt.subplots(2, 2, figsize=(10, 7), sharey="row")
        for row, (size, title) in zip(panels, SIZES.items(), strict=True):
            for panel, axis, values in zip(row, ("wide", "claimed"), (WIDE, CLAIMED), strict=True):
                fixed = {"claimed": 1.0} if axis == "wide" else {"wide": UNSURE}
                for name, colour in COLOURS.items():
                    y = [value(found["exact"], size=size, policy=name, **{axis: v}, **fixed) for v in values]
                    lines = {"lw": 2.4 if name == "gittins" else 1.4, "ls": "--" if name == "place alone" else "-"}
                    panel.plot(values, y, color=colour, marker="o", ms=3, label=POLICIES[name], **lines)
                panel.set_title(
                    f"{title}, {'calibrated' if axis == 'wide' else 'miscalibrated'}", loc="left", fontsize=9.5
                )
                panel.spines[["top", "right"]].set_visible(False)
            row[0].set_ylabel("exact E[T], in mean job sizes")
            row[1].set_xscale("log")
            row[1].set_xticks(CLAIMED, [f"{c:g}" for c in CLAIMED])
            row[1].minorticks_off()
        panels[1, 0].set_xlabel("log error of the unsure half")
        panels[1, 1].set_xlabel("spread that is claimed, over what it is")
        handles, names = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, names, ncols=4, loc="upper left", bbox_to_anchor=(0.05, 0.96), frameon=False)
        title = "Is a predicted law worth more than its mean?  What the rank looks at, load 0.8"
        figure.suptitle(title, x=0.06, ha="left", fontsize=10.5)
        figure.tight_layout(rect=(0, 0, 1, 0.91), w_pad=2.0)
    return figure


def main() -> None:
    """Compute, store, draw and print."""
    found = compute()
    write_json(OUT.with_suffix(".json"), found)
    figure = draw(found)
    figure.savefig(OUT.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(OUT.with_suffix(".png"), dpi=130)
    for sentence in found["finding"]:
        Console().print(sentence)


if __name__ == "__main__":
    main()

"""When should a scheduler stop trusting its predictor, and what does it cost to be early or late?

One server at load .8, Weibull sizes of shape 1/2. Predictions are good but for some outliers, and become useless: log
errors have standard deviation .3 for nine jobs in ten and 1.5 for the tenth, and 3 for all in the end, by a jump in the
middle of a run or by a slow drift. SPRPT is followed until an alarm, and least attained service, which looks at no
prediction, from then on. The alarm is CUSUM, in two versions: made for a change of the error, to twice what it was; or
made for the error from which on, by the exact analysis of both policies, predictions are not worth following. Against
its threshold are drawn the excess over the same policy that is told when to leave, for jobs before that time, after it,
and all.

Beside them play policies that blend, recalibrate, or never leave, under these changes, under a bias, and with
exponential sizes. Intervals are Student's t over seeds of paired differences. Writes `when_to_stop_trusting.json`,
`.svg` and `.png` into `results`; some minutes.
"""

from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.optimize import brentq

from llmqueue_gym import analyse, policy, predictor, size_law
from llmqueue_gym.evaluation import across_seeds
from llmqueue_gym.evaluation.statistics import paired_difference
from llmqueue_gym.policies.monitored import MonitoredPolicy, monitored_policy
from llmqueue_gym.systems import Scenario

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from study import study

OUT = Path(__file__).parent / "results" / "when_to_stop_trusting"
SIZE, LOAD, JOBS, SEEDS = "weibull:shape=0.5", 0.8, 40_000, 16
SHARE, FIRST, LAST = 0.1, (0.3, 1.5), (3.0, 3.0)  # outliers; spreads of most errors and of theirs, then and now
THRESHOLDS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5)  # nats
TIMES = 2.0  # growth of the error that CUSUM is made for
CHANGES = {"jump": "at=0.5", "drift": "at=0.1,over=0.8"}
MONITORS = {"change": "alarm made for a change of the error", "worth": "alarm made for predictions not worth following"}
OTHERS = ("sprpt", "las", "fcfs", "gittins", "blend", "recalibrate", "trust-until-alarm:alarm=100", "srpt")
CASES = {  # what else changes: sizes, and what predictions come to be
    "jump, Weibull": (SIZE, "jump", None),
    "drift, Weibull": (SIZE, "drift", None),
    "bias by 5, Weibull": (SIZE, "jump", "distorted:factor=5;model=two-lognormals:sigma=0.3"),
    "jump, exponential": ("exponential", "jump", None),
}


def model(w: float) -> str:
    """Return the predictor on the way from the first to the last, w from 0 to 1."""
    sigma, wide = ((1 - w) * a + w * b for a, b in zip(FIRST, LAST, strict=True))
    return f"two-lognormals:sigma={sigma!r},wide={wide!r},share={SHARE}"


def spread(w: float) -> float:
    """Return the root mean square of the log errors there."""
    sigma, wide = ((1 - w) * a + w * b for a, b in zip(FIRST, LAST, strict=True))
    return float(np.sqrt((1 - SHARE) * sigma**2 + SHARE * wide**2))


@cache
def exact(name: str, w: float) -> float:
    """Return the exact mean response time of a policy there."""
    return analyse(policy(name), size_law(SIZE), predictor(model(w)), LOAD, by_size=False).mean_response_time


@cache
def break_even() -> float:
    """Return from where on least attained service is better than SPRPT."""
    las = exact("las", 0.0)
    return float(brentq(lambda w: exact("sprpt", w) - las, 0.1, 1.0, xtol=1e-3))


def reference() -> float:
    """Return the root mean square error, over `good`, above which W rises: that of E[X] = 0."""
    return float(np.sqrt(2 * np.log(TIMES) / (1 - TIMES**-2)))


def predictions(change: str, last: str | None = None) -> str:
    """Return the spec of a predictor that changes."""
    after = last or model(1.0).replace(",", ";")
    return f"drifting:before={model(0.0).replace(',', ';')},after={after},{CHANGES[change]}"


def shortest_until(job, memory, params):
    """SPRPT until so many jobs have left, then least attained service."""
    return job.predicted - job.age if memory.seen < params[0] else job.age


def alarms(run: Any, good: float) -> np.ndarray:
    """Return how many jobs had left at the alarm of each threshold `(k,)`, inf where it never came; as SPRPT plays."""
    order = np.argsort(run.outcome["completion"])
    errors = np.log(run.jobs["predicted"] / run.sizes)[order]
    steps = errors**2 * (1 - TIMES**-2) / (2 * good**2) - np.log(TIMES)
    sums = np.cumsum(steps)
    highest = np.maximum.accumulate(sums - np.minimum(0.0, np.minimum.accumulate(sums)))
    at = np.searchsorted(highest, THRESHOLDS).astype(float)
    return np.where(at < len(errors), at + 1, np.inf)


def play(job: tuple[str, int, int, float]) -> dict[str, Any]:
    """Return means before and after the time to leave, and of all, of every policy in a case."""
    case, seed, n, even = job
    size, change, last = CASES[case]
    where = Scenario("monitored", size=size, predictor=predictions(change, last), load=LOAD, n_jobs=n)
    leave = int(n * (0.5 if change == "jump" else 0.1 + 0.8 * even))
    drawn, means = where.draw(seed), {}
    goods = {"change": spread(0.0), "worth": spread(even) / reference()}
    players: dict[str, Any] = {name: name for name in OTHERS}
    players["told"] = MonitoredPolicy("told", shortest_until, params=(leave,))
    if case in ("jump, Weibull", "drift, Weibull"):
        for kind, good in goods.items():
            for h in THRESHOLDS:
                players[f"{kind} {h:g}"] = f"trust-until-alarm:alarm={h!r},good={good!r},times={TIMES!r}"
    early, fell = {}, None
    for name, spec in players.items():
        made = monitored_policy(spec)
        one = where.draw(seed, made) if made.predictor else drawn
        run = where.system.simulate(one, made, **where.facts(made))
        times = run.response_times
        means[name] = [float(times[:leave].mean()), float(times[leave:].mean()), float(times.mean())]
        fell = run if name == "sprpt" else fell
    if len(players) > len(OTHERS) + 1:
        early = {kind: (alarms(fell, good) / n).tolist() for kind, good in goods.items()}
    return {"case": case, "seed": seed, "means": means, "alarms": early}


def tasks(options: Any) -> list[Any]:
    """Return what is to be played."""
    even = break_even()
    return [(case, seed, options.jobs, even) for case in CASES for seed in range(options.seeds)]


def tell(played: list[dict[str, Any]], options: Any) -> dict[str, Any]:
    """Return means, and excesses over who is told, with intervals."""
    even, cases = break_even(), []
    for case in CASES:
        mine = [one for one in played if one["case"] == case]
        told = np.array([one["means"]["told"] for one in mine])
        players = []
        for name in mine[0]["means"]:
            means = np.array([one["means"][name] for one in mine])
            row: dict[str, Any] = {"policy": name}
            for part, x, y in zip(("before", "after", "all"), means.T, told.T, strict=True):
                mean, gap = across_seeds(x.tolist()), paired_difference(x.tolist(), y.tolist())
                row |= {part: mean.mean, f"{part}_ci95": [mean.low, mean.high]}
                row |= {f"{part}_excess": gap.mean, f"{part}_excess_ci95": [gap.low, gap.high]}
            players.append(row)
        when = [
            {
                "monitor": kind,
                "alarm": h,
                "median": float(np.median([one["alarms"][kind][k] for one in mine])),
                "early": float(np.mean([one["alarms"][kind][k] < _leave(case, even) for one in mine])),
                "never": float(np.mean([np.isinf(one["alarms"][kind][k]) for one in mine])),
            }
            for kind in mine[0]["alarms"]
            for k, h in enumerate(THRESHOLDS)
        ]
        cases.append({"case": case, "leave": _leave(case, even), "policies": players, "alarms": when})
    values = {name: {"first": exact(name, 0.0), "last": exact(name, 1.0)} for name in ("sprpt", "las", "gittins")}
    known = {"exact": values, "break_even_error": spread(even), "first_error": spread(0.0), "last_error": spread(1.0)}
    found = {"size": SIZE, "load": LOAD, "jobs": options.jobs, "thresholds": THRESHOLDS, **known, "cases": cases}
    return {**found, "finding": findings(found)}


def _leave(case: str, even: float) -> float:
    return 0.5 if CASES[case][1] == "jump" else 0.1 + 0.8 * even


def findings(found: dict[str, Any]) -> list[str]:
    """Say what the best threshold is, and what the ends cost."""
    words = [
        f"Predictions are worth following up to a root mean square log error of {found['break_even_error']:.2f}; "
        f"they begin with {found['first_error']:.2f} and end with {found['last_error']:.2f}."
    ]
    for case in found["cases"][:2]:
        rows = {row["policy"]: row for row in case["policies"]}
        told = rows["told"]["all"]
        for kind, title in MONITORS.items():
            share = {h: rows[f"{kind} {h:g}"]["all_excess"] / told for h in THRESHOLDS}
            best = min(share, key=share.__getitem__)
            good = [h for h in THRESHOLDS if share[h] < 0.02]
            span = f"{good[0]:g} to {good[-1]:g}" if good else "none"
            words.append(
                f"{case['case']}, {title}: best threshold {best:g} nats, {100 * share[best]:+.1f} % over who is told; "
                f"within 2 % are {span}; at {THRESHOLDS[0]:g} nat {100 * share[THRESHOLDS[0]]:+.0f} %, at "
                f"{THRESHOLDS[-1]:g} {100 * share[THRESHOLDS[-1]]:+.0f} %."
            )
        never, once = (100 * rows[name]["all_excess"] / told for name in ("sprpt", "las"))
        words.append(f"{case['case']}: never to leave costs {never:+.0f} %, to leave at once {once:+.0f} %.")
    for case in found["cases"][2:]:
        rows = {row["policy"]: row for row in case["policies"]}
        late = ", ".join(f"{name} {rows[name]['after']:.2f}" for name in OTHERS[:-1])
        words.append(f"{case['case']}, after the change: {late}.")
    return words


COLOURS = {"before": "#0072b2", "after": "#d55e00", "all": "#000000"}
NAMES = {"before": "jobs before the time to leave", "after": "jobs after it", "all": "all jobs"}


def draw(found: dict[str, Any]) -> plt.Figure:
    """Return the figure: changes below one another, alarms side by side."""
    style = {"font.family": "sans-serif", "font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "0"}
    with plt.rc_context(style):
        figure, panels = plt.subplots(2, 2, figsize=(10, 6.8), sharex=True, sharey="row")
        for row, case in zip(panels, found["cases"], strict=False):
            for panel, (kind, title) in zip(row, MONITORS.items(), strict=True):
                _draw_panel(panel, case, kind)
                panel.set_title(f"{case['case'].partition(',')[0]}: {title}", loc="left", fontsize=9.5)
            row[0].set_ylabel("excess of E[T] over who is told when, %")
        for panel in panels[-1]:
            panel.set_xlabel("threshold of the alarm, nats")
        handles = [plt.Line2D([], [], color=COLOURS[p], marker="o", ms=3.5) for p in NAMES]
        handles += [plt.Line2D([], [], color="0.4", lw=1, ls=ls) for ls in ((0, (4, 3)), (0, (1, 2)))]
        names = [*NAMES.values(), "never to leave, all jobs", "to leave at once, all jobs"]
        figure.legend(handles, names, ncols=5, loc="upper left", bbox_to_anchor=(0.04, 0.955), frameon=False)
        title = "When to stop trusting: left too early (left end of the axis) or trusted too long (right end)"
        figure.suptitle(f"{title}; load 0.8, Weibull sizes", x=0.05, ha="left", fontsize=10.5)
        figure.tight_layout(rect=(0, 0, 1, 0.93), w_pad=2.0)
    return figure


def _draw_panel(panel: plt.Axes, case: dict[str, Any], kind: str) -> None:
    rows = {row["policy"]: row for row in case["policies"]}
    for k, part in enumerate(NAMES):
        told = rows["told"][part]
        mine = [rows[f"{kind} {h:g}"] for h in THRESHOLDS]
        y = 100 * np.array([row[f"{part}_excess"] for row in mine]) / told
        low, high = 100 * np.array([row[f"{part}_excess_ci95"] for row in mine]).T / told
        x = np.array(THRESHOLDS) * 1.06 ** (k - 1)
        dots = {"marker": "o", "ms": 3.5, "lw": 2 if part == "all" else 1.2, "elinewidth": 0.9, "capsize": 2}
        panel.errorbar(x, y, [y - low, high - y], color=COLOURS[part], **dots)
    for name, line in (("sprpt", (0, (4, 3))), ("las", (0, (1, 2)))):
        panel.axhline(100 * rows[name]["all_excess"] / rows["told"]["all"], color="0.4", lw=1, ls=line, zorder=1)
    panel.axhline(0, color="0.8", lw=0.8, zorder=0)
    panel.set_xscale("log")
    panel.spines[["top", "right"]].set_visible(False)


def report(found: dict[str, Any], console: Console) -> None:
    """Print mean response times after the change, and the findings."""
    for case in found["cases"]:
        table = Table("policy", "before", "after", "all", title=f"{case['case']}: E[T]", title_justify="left")
        for row in case["policies"]:
            if row["policy"] in (*OTHERS, "told"):
                table.add_row(row["policy"], *(f"{row[part]:.3f}" for part in NAMES))
        console.print(table)
    for sentence in found["finding"]:
        console.print(sentence)


def main(arguments: list[str] | None = None) -> None:
    """Play, store, draw and print."""
    study(__doc__, OUT, tasks, play, tell, draw, report, width=120, arguments=arguments, jobs=JOBS, seeds=SEEDS)


if __name__ == "__main__":
    main()

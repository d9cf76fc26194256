"""Does it help to share the server among jobs that outlive their predictions?

The setting of Dell'Amico, Carra, Pastorelli, Michiardi (MASCOTS 2014) and of PSBS (IEEE Trans. Computers 2016): 10,000
jobs, Poisson arrivals, stretched so that the load of each run is exactly 0.9, Weibull sizes of shape 1/4 (exponential
ones beside them), and predictions with log-normal errors of sigma 1/8 to 2. The number of a policy is its mean response
time, or its mean slowdown, over that of SRPT, which is told the true sizes, on the same jobs; intervals are Student's t
over seeds, 95 %. Runs begin empty, and all jobs count. Weights are equal, so that `psbs` is `fspe-ps`.

Of Weibull sizes of shape 1/4 so many are tiny that where these may have to wait the mean slowdown is infinite; that of
a run is the wait of its smallest jobs over their size. So the share of jobs with a slowdown above 100 is told, too.

A job is late whose virtual end has passed before it is done. Beside each sigma stands the load of the virtual queue,
0.9 exp(sigma^2 / 2): from 1 on, it grows without end, and the share of late jobs vanishes.

Writes `does_sharing_help_when_predictions_are_wrong.json`, `.svg` and `.png` into `results`; some minutes of two cores.
"""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from rich.console import Console
from rich.table import Table

from llmqueue_gym.evaluation import across_seeds
from llmqueue_gym.systems import Drawn, Scenario

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from study import study

OUT = Path(__file__).parent / "results" / "does_sharing_help_when_predictions_are_wrong"
LAWS = {"weibull:shape=0.25": "Weibull sizes, shape 1/4", "exponential": "exponential sizes"}
SIGMAS, LOAD, JOBS, SEEDS, FIRST_SEED = (0.125, 0.25, 0.5, 1.0, 2.0), 0.9, 10_000, 100, 100
RANKS = ("pspjf", "seh-like", "sprpt-bounce")  # orders that are never shared, and forgive predictions too short
METRICS = {"response": "mean response time", "slowdown": "mean slowdown"}
SLOW, HIGHEST = 100, 12.0  # slowdown from which on a job is called slow; ratio that is drawn
POLICIES = {
    "sprpt": ("#d55e00", "-"),
    "srpte-ps": ("#e69f00", "-"),
    "fspe": ("#56b4e9", "-"),
    "psbs": ("#0072b2", "-"),
    "fspe-dc": ("#8a6fb0", "-"),
    "pspjf": ("#009e73", "-"),
    "seh-like": ("#7f4f24", "-"),
    "sprpt-bounce": ("#cc79a7", "-"),
    "gittins": ("black", "-"),
    "las": ("0.45", "--"),
    "ps": ("0.45", ":"),
}


def at_load(drawn: Drawn) -> Drawn:
    """Return the same jobs with arrivals stretched so that their load is exactly that of the study."""
    work = drawn.work.copy()
    work["arrival"] *= drawn.sizes.sum() / LOAD / work["arrival"][-1]
    return Drawn(work, drawn.truth)


def play(cell: tuple[str, float, int, int]) -> list[dict[str, Any]]:
    """Return a row for each policy, with one law of sizes and one sigma."""
    law, sigma, jobs, seeds = cell
    scenario = Scenario(size=law, load=LOAD, n_jobs=jobs, predictor=f"lognormal:sigma={sigma}")
    values: dict[str, dict[str, list[float]]] = {name: {key: [] for key in (*METRICS, "slow")} for name in POLICIES}
    lateness = []
    for seed in range(FIRST_SEED, FIRST_SEED + seeds):
        drawn, best = (at_load(scenario.draw(seed, name)) for name in (None, "srpt"))
        floor = {**_numbers(scenario, best, "srpt"), "slow": 1.0}
        for name in POLICIES:
            for key, value in _numbers(scenario, drawn, name).items():
                values[name][key].append(value / floor[key])
        lateness.append(late_share(scenario, drawn))
    where = {"size": law, "sigma": sigma, "virtual_load": LOAD * float(np.exp(sigma**2 / 2))}
    late = across_seeds(lateness)
    return [
        {
            **where,
            "policy": name,
            **{key: across_seeds(some)._asdict() for key, some in values[name].items()},
            **({"late": late._asdict()} if name == "psbs" else {}),
        }
        for name in POLICIES
    ]


def _numbers(scenario: Scenario, drawn: Drawn, name: str) -> dict[str, float]:
    policy = scenario.policy(name)
    run = scenario.system.simulate(drawn, policy, **scenario.facts(policy))
    slow = run.slowdowns
    return {"response": run.response_times.mean(), "slowdown": slow.mean(), "slow": float(np.mean(slow > SLOW))}


def late_share(scenario: Scenario, drawn: Drawn) -> float:
    """Return the share of the jobs that are late under psbs: done after processor sharing of the predictions ends."""
    imagined = Drawn(drawn.work, {"sizes": np.ascontiguousarray(drawn.work["predicted"])})
    ends, virtual = (
        scenario.system.simulate(jobs, scenario.policy(name)).outcome["completion"]
        for name, jobs in (("psbs", drawn), ("ps", imagined))
    )
    return float(np.mean(ends > virtual * (1 + 1e-9)))


def claims(rows: list[dict[str, Any]]) -> list[str]:
    """Say what the literature claims and what has come out, in numbers."""
    heavy, told = "weibull:shape=0.25", []
    for metric, words in METRICS.items():
        near = max((_found(rows, heavy, s, "psbs", metric) for s in SIGMAS if s <= 0.5), key=lambda e: e["mean"])
        told.append(
            f"Claim: for sigma up to 0.5 PSBS is close to optimal. Weibull sizes, {words}: at most {_ratio(near)} "
            "times that of SRPT."
        )
        pairs = ", ".join(
            f"sigma {s:g}: {_ratio(_found(rows, heavy, s, 'sprpt', metric))} and "
            f"{_ratio(_found(rows, heavy, s, 'psbs', metric))}"
            for s in SIGMAS
        )
        told.append(f"Claim: much better than SRPTE for heavy tails. Weibull sizes, {words}, sprpt and psbs: {pairs}.")
        for law, kind in LAWS.items():
            spread = [
                _found(rows, law, s, "pspjf", metric)["mean"] / _found(rows, law, s, "psbs", metric)["mean"]
                for s in SIGMAS
            ]
            told.append(
                f"Claim: SPT is competitive. {kind}, {words}: pspjf is between {min(spread):.3f} and {max(spread):.3f} "
                "times psbs."
            )
            told.append(
                f"Without sharing: {kind}, {words}, best of {', '.join(RANKS)}: {_unshared(rows, law, metric)}."
            )
    slow = ", ".join(
        f"sigma {s:g}: {_found(rows, heavy, s, 'sprpt', 'slow')['mean']:.2%} and "
        f"{_found(rows, heavy, s, 'psbs', 'slow')['mean']:.2%}"
        for s in SIGMAS
    )
    told.append(f"Weibull sizes, share of jobs with slowdown above {SLOW}, sprpt and psbs: {slow}.")
    for law, kind in LAWS.items():
        late = ", ".join(
            f"sigma {r['sigma']:g} (virtual load {r['virtual_load']:.3g}): {r['late']['mean']:.2%}"
            for r in rows
            if r["size"] == law and r["policy"] == "psbs"
        )
        told.append(f"{kind}: share of late jobs under psbs, {late}.")
    return told


def _unshared(rows: list[dict[str, Any]], law: str, metric: str) -> str:
    """Return in words the least mean of the plain orders over that of psbs, at each sigma."""
    words = []
    for sigma in SIGMAS:
        name = min(RANKS, key=lambda one: _found(rows, law, sigma, one, metric)["mean"])
        pair = (_found(rows, law, sigma, one, metric)["mean"] for one in (name, "psbs"))
        words.append(f"sigma {sigma:g} {name}, {np.divide(*pair):.3f} times psbs")
    return ", ".join(words)


def best(rows: list[dict[str, Any]]) -> list[str]:
    """Say who has the least ratio in each cell, of those that are told predictions alone, not the laws."""
    told = []
    for law, kind in LAWS.items():
        for metric, words in METRICS.items():
            firsts = []
            for sigma in SIGMAS:
                mine = [r for r in rows if (r["size"], r["sigma"]) == (law, sigma) and r["policy"] != "gittins"]
                first = min(mine, key=lambda r: r[metric]["mean"])
                firsts.append(f"sigma {sigma:g} {first['policy']} {_ratio(first[metric])}")
            told.append(f"Least, {kind}, {words}: {', '.join(firsts)}.")
    return told


def _found(rows: list[dict[str, Any]], law: str, sigma: float, name: str, metric: str) -> dict[str, float]:
    row = next(r for r in rows if (r["size"], r["sigma"], r["policy"]) == (law, sigma, name))
    found: dict[str, float] = row[metric]
    return found


def _ratio(estimate: dict[str, float]) -> str:
    return f"{estimate['mean']:.3g} ± {estimate['high'] - estimate['mean']:.2g}"


def draw(found: dict[str, Any]) -> plt.Figure:
    """Return the figure: a panel for each law and metric."""
    style = {"font.family": "sans-serif", "font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "0"}
    with plt.rc_context(style):
        figure, panels = plt.subplots(2, 2, figsize=(10.5, 7.6), sharex=True)
        for row, (law, kind) in zip(panels, LAWS.items(), strict=True):
            for panel, (metric, words) in zip(row, METRICS.items(), strict=True):
                beyond: list[str] = []
                for name, (colour, line) in POLICIES.items():
                    mine = [r[metric] for r in found["rows"] if (r["size"], r["policy"]) == (law, name)]
                    y, low, high = (np.array([r[key] for r in mine]) for key in ("mean", "low", "high"))
                    if y.min() > HIGHEST:
                        beyond.append(name)
                        continue
                    error = [y - np.maximum(low, 1e-3), high - y]
                    panel.errorbar(
                        SIGMAS, y, error, color=colour, ls=line, lw=1.3, elinewidth=0.8, capsize=1.5, label=name
                    )
                panel.set_xscale("log", base=2)
                panel.set_yscale("log")
                panel.set_ylim(0.95, HIGHEST)  # beyond it the mean is that of a few tiny jobs
                panel.set_yticks([1, 1.5, 2, 3, 5, 10], ["1", "1.5", "2", "3", "5", "10"])
                panel.minorticks_off()
                panel.set_xticks(SIGMAS, [f"{s:g}" for s in SIGMAS])
                panel.axvline(np.sqrt(-2 * np.log(LOAD)), color="0.7", lw=0.8, ls=(0, (4, 3)), zorder=0)
                panel.set_title(f"{kind}: {words} over that of SRPT", loc="left", fontsize=9.5)
                if beyond:
                    panel.text(0.02, 0.95, f"far above: {', '.join(beyond)}", transform=panel.transAxes, fontsize=8.5)
                panel.spines[["top", "right"]].set_visible(False)
        for panel in panels[1]:
            panel.set_xlabel("sigma of the error; right of the dashes the virtual queue is overloaded")
        figure.legend(*panels[0, 0].get_legend_handles_labels(), ncols=6, frameon=False, loc="lower center")
        title = f"load {LOAD:g}, {found['jobs']:,} jobs a run; 95 % intervals over {found['runs']} seeds"
        figure.suptitle(title, x=0.02, ha="left", fontsize=10.5)
        figure.tight_layout(rect=(0, 0.07, 1, 1))
    return figure


def report(found: dict[str, Any], console: Console) -> None:
    """Print the ratios and the findings."""
    for law, kind in LAWS.items():
        for metric, words in METRICS.items():
            table = Table("policy", *(f"{sigma:g}" for sigma in SIGMAS), title=f"{kind}: {words} over SRPT, by sigma")
            for name in POLICIES:
                table.add_row(name, *(_ratio(_found(found["rows"], law, s, name, metric)) for s in SIGMAS))
            console.print(table)
        table = Table("policy", *(f"{s:g}" for s in SIGMAS), title=f"{kind}: share of jobs with slowdown above {SLOW}")
        for name in POLICIES:
            told = (_found(found["rows"], law, s, name, "slow") for s in SIGMAS)
            table.add_row(name, *(f"{e['mean']:.2%} ± {e['high'] - e['mean']:.1%}" for e in told))
        console.print(table)
    for sentence in found["finding"]:
        console.print(sentence)


def tasks(options: Any) -> list[Any]:
    """Return the cells."""
    return [(law, sigma, options.jobs, options.seeds) for law in LAWS for sigma in SIGMAS]


def tell(cells: list[list[dict[str, Any]]], options: Any) -> dict[str, Any]:
    """Return the result."""
    rows = [row for rows in cells for row in rows]
    setting = {"load": LOAD, "jobs": options.jobs, "runs": options.seeds}
    return {**setting, "rows": rows, "finding": claims(rows) + best(rows)}


def main(arguments: list[str] | None = None) -> None:
    """Play, store, draw and print."""
    usual = {"first_seed": FIRST_SEED, "jobs": JOBS, "seeds": SEEDS}
    study(__doc__, OUT, tasks, play, tell, draw, report, width=140, arguments=arguments, **usual)


if __name__ == "__main__":
    main()

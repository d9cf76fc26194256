"""`llmqueue compare --preset`: a set of policies at one load, and from which load on it matters who is served first."""

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from llmqueue_gym.cli.asked import Asked
from llmqueue_gym.cli.output import check_picture, print_json, print_table, progress_bar
from llmqueue_gym.errors import BadInput

FEW = 4  # requests of a run for each seat, below which hardly anybody waits for one
LOAD = 0.9  # of the table, where no load and no rate is told


def compare_preset(asked: Asked, name: str, seed: int, metric: str | None, plot: str | None, as_json: bool) -> None:
    """Compare the policies of a preset, sweep them over loads, and print both."""
    from llmqueue_gym.evaluation.compare import compare
    from llmqueue_gym.evaluation.plot_sweep import plot_sweep
    from llmqueue_gym.evaluation.presets import preset
    from llmqueue_gym.evaluation.results import result
    from llmqueue_gym.evaluation.sweep import sweep, until_late
    from llmqueue_gym.storage import whole

    chosen = preset(name)
    if asked.kind.name != chosen.system:
        raise BadInput(f"--preset {name} has policies of system {chosen.system!r}, not of {asked.kind.name!r}")
    if plot:
        check_picture(plot)
    paced = asked.trace or {"load", "rate", "concurrency"} & set(asked.told)
    given = asked if paced else replace(asked, defaults={**asked.defaults, "load": LOAD})
    scenario, report = given.scenario(), importlib.import_module(asked.kind.report)
    if scenario.system.closed:
        raise BadInput(f"--preset {name} is swept over loads, which clients who wait for answers do not have")
    told = report.told(given, scenario, seed, as_json)
    able, left = chosen.playable(scenario, seed)
    with progress_bar("playing the policies", as_json) as step:
        found = compare(until_late(scenario, seed), list(able), seed, metric, asked.warmup, step, **asked.objectives)
    if told["capacity"] is None:
        raise BadInput(f"--preset {name} is swept over loads, and requests that come at one time have none")
    with progress_bar("playing them at other loads", as_json) as step:
        over = sweep(scenario, list(able), chosen.loads, chosen.matters, seed, asked.warmup, step)
    for row in found["policies"]:
        row |= {
            "words": able[row["policy"]],
            "lost": _lost(row["metrics"]),
            "from_load": over["from_load"][row["policy"]],
        }
    over["seats"] = scenario.system.bound_rules.max_seqs * len(scenario.system.members)
    found = {**told, **found, "preset": name, "sweep": over, "left_out_policies": [list(pair) for pair in left]}
    found["notes"] = report.notes(told, scenario, given) + found["notes"]
    found["conclusion"] = conclusion(found)
    if plot:
        with whole(plot) as picture:
            plot_sweep(found, str(picture))
    if as_json:
        own = {"preset": name, "metric": found["metric"], "plot": plot, "seed": seed}
        print_json(result({**found, "options": {**own, **given.echo(scenario)}}, seeds=[seed]))
        return
    _print(found)
    if plot:
        click.echo(f"drawn: {plot}")
    click.echo(found["conclusion"])


def conclusion(found: dict[str, Any]) -> str:
    """Say from which load on the order matters, and which is best there."""
    over, base = found["sweep"], found["base"]
    margin, most = f"{100 * over['matters']:.3g} %", over["loads"][-1]
    rule = f"(a 95 % interval that lies more than {margin} below the mean of {base}, there and at all higher loads)"
    if over["first"] is None and over["requests"] < FEW * over["seats"]:
        return (
            f"SHORT: in runs of {over['requests']:,} requests hardly anybody waits for one of {over['seats']:,} seats, "
            "so from which load on the order matters is not told; take a longer trace, or more requests."
        )
    if over["first"] is None:
        return f"Up to load {most:g} it matters for none of these orders who is served first {rule}."
    at = over["loads"].index(over["first"])
    best = min(
        (name for name, load in over["from_load"].items() if load == over["first"]),
        key=lambda name: over["ratios"][name][at]["mean"],
    )
    row = over["ratios"][best][at]
    return (
        f"From load {over['first']:g} on it matters who is served first: there {best} has {row['mean']:.3g} "
        f"({row['low']:.3g} to {row['high']:.3g}) of the mean of {base} {rule}."
    )


def _lost(metrics: dict[str, Any]) -> float:
    """Return the share of the busy time that went into computing again, and into moves to the host."""
    return (metrics["busy_share"] - metrics["useful_share"]) / metrics["busy_share"]


def _print(found: dict[str, Any]) -> None:
    from llmqueue_gym.evaluation.metrics import amount, seconds
    from llmqueue_gym.evaluation.sweep import LATE

    base, metric = found["base"], found["metric"]
    rows = []
    for row in found["policies"]:
        since = "" if row["from_load"] is None else f"from {row['from_load']:g}"
        cells = [row["policy"]]
        if "mean" in row:
            ratio = row[f"mean_over_{base}"]
            cells += [
                amount(metric, row["mean"]["mean"]),
                f"{ratio['mean']:.3g}\n{ratio['low']:.3g}-{ratio['high']:.3g}",
            ]
            cells += [amount(metric, row["p99"]["mean"]), seconds(row["metrics"]["longest_wait"]), f"{row['lost']:.2%}"]
        else:
            cells += ["", "", "", "", ""]
        rows.append([*cells, since])
    load = f"load {found['load']:.3g}" if found["load"] else "as recorded"
    work = f"{found['requests']:,} requests of {Path(found['workload']).name}, {load}"
    title = f"{work}, {found['profile']}, {found['rules']}"
    print_table(title, ("order", "mean", f"over {base}", "p99", "longest wait", "lost", "matters"), rows)
    click.echo(
        "lost: share of the busy time that goes into computing again what was given up; matters: least load from which "
        "on an order does"
    )
    over = found["sweep"]
    names = [row["policy"] for row in found["policies"]]
    cells = [[name, *(_ratio(row) for row in over["ratios"][name])] for name in names if name != base]
    print_table(
        f"mean over that of {base}, by load; {over['runs']} runs of {over['requests']:,} requests",
        ("order", *(f"{load:g}" for load in over["loads"])),
        cells,
    )
    print_table("what people call them", ("order", ""), [(row["policy"], row["words"]) for row in found["policies"]])
    for policy, why in found["left_out_policies"]:
        click.echo(f"left out: {policy}, as {why}")
    if over["loads"][-1] >= 1:
        click.echo(f"note: late: requests are left when the time of {base} has passed {LATE:g} times")
        click.echo("note: from load 1 on a queue grows as long as requests come, as in a burst of this many requests")
    for note in found["notes"] + [f"{row['policy']} {row['note']}" for row in found["policies"] if row["note"]]:
        click.echo(f"note: {note}")


def _ratio(row: dict[str, float] | None) -> str:
    return "late" if row is None else f"{row['mean']:.3g}"

"""`llmqueue compare`: policies on the same work, ranked, with an interval beside every number."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from llmqueue_gym.cli.asked import Asked
from llmqueue_gym.cli.groups import show_groups_of_policies
from llmqueue_gym.cli.options import JSON, SEED, BySystem
from llmqueue_gym.cli.output import check_picture, print_json, print_table, progress_bar
from llmqueue_gym.errors import BadInput

_TOLD = ("size", "arrivals", "workload", "load", "rate", "predictor", "n_jobs")  # elsewhere, of a scenario
_NOT_TOLD = (None, False, "inf")


def _compare(
    asked: Asked,
    policies: str | None,
    preset: str | None,
    seed: int,
    metric: str | None,
    plot: str | None,
    as_json: bool,
) -> None:
    if preset is not None:
        from llmqueue_gym.cli.preset import compare_preset

        if policies is not None:
            raise BadInput(f"--preset {preset} names the policies, and --policies {policies} does; give one of them")
        return compare_preset(asked, preset, seed, metric, plot, as_json)
    from llmqueue_gym.evaluation.compare import compare as run
    from llmqueue_gym.evaluation.results import result
    from llmqueue_gym.storage import whole

    entries, scenario, report = (
        read_policies(asked, policies),
        asked.scenario(),
        importlib.import_module(asked.kind.report),
    )
    if plot:
        check_picture(plot)
        if scenario.system.lossy:
            raise BadInput(f"--plot {plot}: where jobs are lost there is no p99 to draw; leave it out")
    told = report.told(asked, scenario, seed, as_json)
    with progress_bar("playing the policies", as_json) as step:
        found = run(scenario, entries, seed, metric, asked.warmup, step, **asked.objectives)
    found = {**told, **found, "notes": report.notes(told, scenario, asked) + found["notes"] + _remarks(found)}
    if plot:
        from llmqueue_gym.evaluation.plot import plot_comparison

        with whole(plot) as picture:
            plot_comparison({**found, "title": _work(found)}, str(picture))
    if as_json:
        own = {"policies": list(entries), "metric": found["metric"], "plot": plot, "seed": seed}
        print_json(result({**found, "options": {**own, **asked.echo(scenario)}}, seeds=[seed]))
        return
    _print(found, any(asked.objectives.values()), scenario.system.unread)
    if plot:
        click.echo(f"drawn: {plot}")
    click.echo(found["conclusion"])


compare = BySystem(
    "compare",
    _compare,
    "Rank policies on the same work; differences are taken job by job. Without SYSTEM it is a replica, or else the "
    "first that takes all options.",
    (
        click.Option(["--policies"], metavar="LIST", help="Names, separated by commas, or `all`."),
        click.Option(["--preset"], metavar="NAME", help="A set of policies, over loads; `proposals`."),
        click.Option(["--metric"], metavar="NAME", help="What is compared of a job.  [default: end to end]"),
        click.Option(["--plot"], metavar="FILE.png", help="Draw mean against p99; .png, .svg or .pdf."),
        SEED,
        JSON,
    ),
    first="replica",
    brief=("preset", "metric", "plot", "as_json"),
)


def read_policies(asked: Asked, text: str | None) -> dict[str, Any]:
    """Return the policies that a list names, by name; `trail:c=0.5,bins=4` is one policy, as `bins=4` is no name.

    Raises:
        BadInput: an unknown name, a name twice, or none.
    """
    table, usual = asked.kind.policies, ",".join(asked.kind.compared or list(asked.kind.policies)[:3])
    if text is None and not asked.kind.compared:
        raise BadInput(f"--policies is missing; for example {usual}")
    specs: list[str] = []
    for part in (",".join(table) if text == "all" else text or usual).split(","):
        if "=" in part and ":" not in part and specs:
            specs[-1] += f",{part}"
        elif part.strip():
            specs.append(part.strip())
        else:
            raise BadInput(f"--policies {text!r} has an empty name; for example {usual}")
    twice = next((spec for spec in specs if specs.count(spec) > 1), None)
    if twice:
        raise BadInput(f"--policies: {twice!r} is named twice")
    return {spec: asked.policy(spec) for spec in specs}


def _remarks(found: dict[str, Any]) -> list[str]:
    """Return what the numbers of all policies together tell."""
    from llmqueue_gym.evaluation.metrics import seconds

    told, base = [], found["base"]
    row = next(row for row in found["policies"] if row["policy"] == base)
    if row["waiting"] < 0.05:
        told.append(f"under {base} jobs wait {row['waiting']:.1%} of their time, so their order can hardly matter")
    if "floor" in row:
        told.append(
            f"no policy at all can have a mean below {seconds(row['floor'])} here, and {base} has "
            f"{row['over_floor']:.3g} times that; how near to it one can come is not known"
        )
    if costs := [f"{row['policy']} {row['cost']:.4g}" for row in found["policies"] if "cost" in row]:
        told.append(f"this is time alone; what a board scores has prices beside it, in s: {', '.join(costs)}")
    return told


def _work(found: dict[str, Any]) -> str:
    """Return in a word what arrived."""
    return Path(found.get("trace") or found.get("workload") or f"size {found['size']}").name


def _print(found: dict[str, Any], goodput: bool, unread: Sequence[str]) -> None:
    from llmqueue_gym.evaluation.metrics import WORDS

    what, base = WORDS[found["metric"]], found["base"]
    load = f"load {found['load']:.3g}" if found["load"] else f"{found['rate']:.3g} /s" if found.get("rate") else ""
    clients = found["scenario"].get("concurrency")
    pace = load or (f"{clients} clients who wait for their answers" if clients else "all at once")
    title = f"{what} of {found['requests']:,} jobs of {_work(found)}, {pace}"
    columns = ["rank", "policy", "mean", f"over {base}", "p99", f"over {base}", *(["goodput"] if goodput else [])]
    print_table(title, columns, [_row(row, found, goodput) for row in found["policies"]])
    show_groups_of_policies(found["policies"])
    given = {name: value for name, value in found["scenario"].items() if name not in _TOLD and value not in _NOT_TOLD}
    told = [f"{name}={value}" for name, value in given.items() if name not in ("system", *unread)]
    click.echo("; ".join([given["system"], *([", ".join(told)] if told else []), f"predictor={found['predictor']}"]))
    if len(found["policies"]) > 1:
        click.echo("Below each ratio: its 95 % interval, on the same jobs; the rank is that of the mean.")
    for note in found["notes"] + [f"{row['policy']} {row['note']}" for row in found["policies"] if row["note"]]:
        click.echo(f"note: {note}")


def _row(row: dict[str, Any], found: dict[str, Any], goodput: bool) -> list[Any]:
    from llmqueue_gym.evaluation.metrics import amount

    base, last = found["base"], [f"{row['metrics']['goodput']:.3g} /s"] if goodput else []
    if "mean" not in row:
        return ["", row["policy"], "", "", "", "", *last]
    rank, mean, p99 = row["mean_rank"], *(amount(found["metric"], row[kind]["mean"]) for kind in ("mean", "p99"))
    ranks = str(rank["low"]) if rank["low"] == rank["high"] else f"{rank['low']} to {rank['high']}"
    return [ranks, row["policy"], mean, _ratio(row[f"mean_over_{base}"]), p99, _ratio(row[f"p99_over_{base}"]), *last]


def _ratio(estimate: dict[str, float]) -> str:
    mean, low, high = (f"{estimate[key]:.3g}" for key in ("mean", "low", "high"))
    return mean if low == high or low == "nan" else f"{mean}\n{low}-{high}"

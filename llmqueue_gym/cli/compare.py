"""`llmqueue compare`: serving policies on the same requests, ranked, with an interval beside every number."""

import importlib.util
from pathlib import Path
from typing import Any

import click

from llmqueue_gym.cli.options import Whole, as_json, read_serving_policy, replica, serving_load
from llmqueue_gym.cli.output import print_json, print_table
from llmqueue_gym.errors import BadInput

POLICIES = "fcfs,sjf,sjf-total,trail,ltr,srpt"
METRICS = ("e2e", "ttft", "tpot", "wait", "longest_gap", "normalised_latency")  # those of evaluation.serving.metrics


@click.command()
@click.option("--policies", default=POLICIES, show_default=True, help="Names, separated by commas, or `all`.")
@click.option("--trace", metavar="FILE", help="Requests to serve, in any format of `llmqueue workloads`.")
@click.option("--predictor", help="Of output lengths, as in trail:mae=20.  [default: lognormal:sigma=0.5]")
@click.option("--arrivals", help="Arrival process, as in mmpp:ratio=4.  [default: the trace; else poisson]")
@serving_load
@replica
@click.option("--seed", type=Whole(0), default=0, show_default=True, help="Seed of all randomness.")
@click.option("--metric", type=click.Choice(METRICS), default="e2e", show_default=True, help="Latency to rank by.")
@click.option("--plot", metavar="FILE.png", help="Draw mean against p99; .png, .svg or .pdf.")
@as_json
def compare(policies: str, seed: int, metric: str, plot: str | None, as_json: bool, **options: Any) -> None:
    """Rank serving policies on the same requests.

    Differences are taken request by request, so far smaller ones show than the intervals of single policies suggest.
    """
    from llmqueue_gym.cli.serving import WARMUP, notes, offered_load, progress_bar, read_scenario, scenario_words
    from llmqueue_gym.evaluation.results import result
    from llmqueue_gym.evaluation.serving.compare import compare as run

    entries = read_policies(policies)
    if plot:
        _check_picture(plot)
    scenario = read_scenario(options)
    with progress_bar("compiling, then finding what fcfs sustains", as_json) as step:
        scenario, offered = offered_load(scenario, seed, step)
    warmup = 0.0 if options["trace"] else WARMUP
    with progress_bar("playing the policies", as_json) as step:
        found = run(scenario, entries, seed, metric, options["ttft_slo"], options["tpot_slo"], warmup, progress=step)
    words = scenario_words(scenario, options)
    found = {**words, **offered, **found, "notes": notes({**words, **offered}, scenario) + _remarks(found)}
    if plot:
        from llmqueue_gym.evaluation.serving.plot import plot_comparison

        where = Path(options["trace"]).name if options["trace"] else words["workload"]
        plot_comparison({**found, "title": where}, plot)
    if as_json:
        print_json(result(found, seeds=[seed]))
        return
    _print(found, options)
    if plot:
        click.echo(f"drawn: {plot}")
    click.echo(found["conclusion"])


def read_policies(text: str) -> dict[str, Any]:
    """Return the policies that a list names, by name; `trail:c=0.5,bins=4` is one policy, as `bins=4` is no name.

    Raises:
        BadInput: an unknown name, a name twice, or none.
    """
    from llmqueue_gym.policies.serving import SERVING_POLICIES

    specs: list[str] = []
    for part in (",".join(SERVING_POLICIES) if text == "all" else text).split(","):
        if "=" in part and ":" not in part and specs:
            specs[-1] += f",{part}"
        elif part.strip():
            specs.append(part.strip())
    if not specs:
        raise BadInput(f"--policies {text!r} names no policy; for example {POLICIES}")
    twice = next((spec for spec in specs if specs.count(spec) > 1), None)
    if twice:
        raise BadInput(f"--policies: {twice!r} is named twice")
    return {spec: read_serving_policy(spec) for spec in specs}


def _check_picture(path: str) -> None:
    """Refuse a picture that could not be written, before the minutes of work and not after them."""
    kinds = (".png", ".svg", ".pdf")
    if Path(path).suffix not in kinds:
        raise BadInput(f"--plot {path}: end the name in one of {', '.join(kinds)}")
    if not Path(path).resolve().parent.is_dir():
        raise BadInput(f"--plot {path}: {Path(path).parent}: no such folder")
    if not importlib.util.find_spec("matplotlib"):
        raise BadInput(f"--plot {path} needs matplotlib; pip install matplotlib")


def _remarks(found: dict[str, Any]) -> list[str]:
    """Return what the numbers of all policies together tell."""
    from llmqueue_gym.evaluation.serving.compare import seconds

    told = []
    base = next(row["metrics"] for row in found["policies"] if row["policy"] == "fcfs")
    share = base["wait"]["mean"] / base["e2e"]["mean"]
    if share < 0.05:
        told.append(f"under fcfs requests wait {share:.1%} of their time, so the order of the queue can hardly matter")
    row = next(row for row in found["policies"] if row["policy"] == "fcfs")
    if "floor" in row:
        told.append(
            f"no policy at all can have a mean below {seconds(row['floor'])} here, and fcfs has "
            f"{row['over_floor']:.3g} times that; how near to it one can come is not known"
        )
    return told


def _print(found: dict[str, Any], options: dict[str, Any]) -> None:
    from llmqueue_gym.evaluation.serving.compare import WORDS

    what = WORDS[found["metric"]]
    load = f"load {found['load']:.3g}" if found["load"] else "all at once"
    name = Path(found["workload"]).name
    title = f"{what} of {found['requests']:,} requests of {name}, {load}"
    asked = bool(options["ttft_slo"] or options["tpot_slo"])
    columns = ["rank", "policy", "mean", "over fcfs", "p99", "over fcfs", *(["goodput"] if asked else [])]
    print_table(title, columns, [_row(row, asked) for row in found["policies"]])
    click.echo(f"replica: {found['profile']}, {found['rules']}; predictor: {found['predictor']}")
    if len(found["policies"]) > 1:
        click.echo("Below each ratio: its 95 % interval, on the same requests; the rank is that of the mean.")
    for note in found["notes"] + [f"{row['policy']} {row['note']}" for row in found["policies"] if row["note"]]:
        click.echo(f"note: {note}")


def _row(row: dict[str, Any], asked: bool) -> list[Any]:
    from llmqueue_gym.evaluation.serving.compare import seconds

    numbers = row["metrics"]
    goodput = [f"{numbers['goodput']:.3g} /s"] if asked else []
    if "mean" not in row:
        return ["", row["policy"], "", "", "", "", *goodput]
    rank = row["mean_rank"]
    ranks = str(rank["low"]) if rank["low"] == rank["high"] else f"{rank['low']} to {rank['high']}"
    means = [seconds(row["mean"]["mean"]), _ratio(row["mean_over_fcfs"])]
    return [ranks, row["policy"], *means, seconds(row["p99"]["mean"]), _ratio(row["p99_over_fcfs"]), *goodput]


def _ratio(estimate: dict[str, float]) -> str:
    mean, low, high = (f"{estimate[key]:.3g}" for key in ("mean", "low", "high"))
    return mean if low == high or low == "nan" else f"{mean}\n{low}-{high}"

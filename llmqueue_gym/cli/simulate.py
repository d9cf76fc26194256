"""`llmqueue simulate`: one run of a policy in a scenario, an interval beside its mean, and what theory knows of it."""

import importlib
from typing import Any

import click

from llmqueue_gym.cli.asked import Asked
from llmqueue_gym.cli.options import JSON, POLICY, SEED, BySystem
from llmqueue_gym.cli.output import print_json, print_result

SHOWN = ("p50", "p99", "p99.9", "mean_slowdown", "mean_wait", "preemptions_per_job")


def _simulate(asked: Asked, policy: str, seed: int, as_json: bool) -> None:
    from llmqueue_gym.evaluation.rows import check_rows, write_rows
    from llmqueue_gym.evaluation.timeline import check_timeline, write_timeline

    player = asked.policy(policy)
    out, drawn = asked.told.get("rows_out"), asked.told.get("timeline")
    if out:
        check_rows(out)
    scenario = asked.scenario(player)
    if drawn:
        check_timeline(drawn, int(scenario.n_jobs))
    report = importlib.import_module(asked.kind.report)  # the functions from `told` on
    told = {"policy": policy, **report.told(asked, scenario, seed, as_json, player)}
    run = scenario.simulate(player, seed)
    if out:
        write_rows(out, run)
    if drawn:
        write_timeline(drawn, run)
    found = {**told, **report.found(asked, scenario, player, seed, run)}
    found = asked.renamed_words(found) | {"notes": report.notes(found, scenario, asked)}
    if as_json:
        print_json({**found, "options": {"seed": seed, **asked.echo(scenario, policy)}})
        return
    report.show(found)
    for path in (out, drawn):
        if path:
            click.echo(f"written: {path}")


simulate = BySystem(
    "simulate",
    _simulate,
    "Simulate a policy. Times are in s; the first tenth of the jobs is left out, if not recorded. Without SYSTEM it "
    "is the first that takes all options.",
    (POLICY, SEED, JSON),
    rows=True,
    brief=("seed", "as_json"),  # the help of all systems is to fit a screen
)


def told(asked: Asked, scenario: Any, seed: int, quiet: bool, policy: Any = None) -> dict[str, Any]:
    """Return the scenario in words.

    Args:
        asked: what the command line says.
        scenario: where.
        seed: of the jobs.
        quiet: whether stderr stays empty, too.
        policy: for its own predictor, if it brings one along.
    """
    return asked.words(scenario, policy)


def notes(found: dict[str, Any], scenario: Any, asked: Asked) -> list[str]:
    """Return what a reader of the numbers has to know."""
    return found.get("notes", [])


def found(asked: Asked, scenario: Any, policy: Any, seed: int, run: Any) -> dict[str, Any]:
    """Return what came of a run of a policy, and what is known beside it."""
    from llmqueue_gym.evaluation.metrics import measure
    from llmqueue_gym.evaluation.statistics import cautious_batch_means
    from llmqueue_gym.evaluation.steady_state import shortness, steady_state_mean, steady_state_quantile

    kept = run.after_warmup(asked.warmup)
    numbers, served = measure(kept), kept.done
    intervals = {"served": _ends(cautious_batch_means(served, warmup=0))}
    times = kept.response_times[served]
    estimate = steady_state_mean(times, kept, scenario) if len(times) else None
    intervals["mean_response_time"] = _ends(estimate)
    far = steady_state_quantile(times, 0.99, kept, scenario) if len(times) else None
    told = {
        "jobs": len(run),
        "seed": seed,
        "mean_response_time": numbers["mean_response_time"],
        "ci95": intervals["mean_response_time"],
        **{name: numbers[name] for name in SHOWN[:2]},
        "p99_ci95": _ends(far),
        **{name: numbers[name] for name in SHOWN[2:]},
        "notes": [f"{policy.name} {words}" for words in scenario.system.remarks(run, policy)]
        + (shortness(times, estimate, kept, scenario) if estimate else []),
    }
    if scenario.system.lossy:
        intervals |= _losses(told, numbers, intervals["served"], scenario.source.rate)
    if "busy" in run.totals:
        span = float(run.outcome["completion"].max() - run.jobs["arrival"].min())
        told["busy_share"] = run.totals["busy"] / (span * scenario.system.capacity)
    told |= scenario.system.more(kept)
    told["jobs_per_second"] = len(run) / run.elapsed
    if not scenario.system.beside:
        return told
    from llmqueue_gym.systems.known import beside

    return {**told, "theory": beside(scenario.known(policy), intervals)}


def show(found: dict[str, Any]) -> None:
    """Print what was simulated."""
    told = {key: value for key, value in found.items() if value is not None and value is not False and value != []}
    notes = told.pop("notes", [])
    unknown = [key for key, ends in told.items() if key.endswith("ci95") and ends[0] != ends[0]]
    if unknown:
        told = {key: value for key, value in told.items() if key not in unknown}
        notes = [f"{told['jobs']:,} jobs are too few for an interval", *notes]
    print_result("simulated", told)
    for note in notes:
        click.echo(f"note: {note}")
    if found.get("theory") == []:
        click.echo("No formula gives a value or a bound for this case.")


def _ends(estimate: Any) -> list[float]:
    """Return the ends of an interval, NaN where there is none."""
    return [float("nan")] * 2 if estimate is None else [estimate.low, estimate.high]


def _losses(
    told: dict[str, Any], numbers: dict[str, float], served: list[float], rate: float
) -> dict[str, list[float]]:
    """Add how many jobs are served and lost; return the interval of the throughput."""
    low, high = served
    told |= {"served": numbers["served"], "served_ci95": served}
    told |= {"abandoned": 1 - numbers["served"], "abandoned_ci95": [1 - high, 1 - low]}
    # Jobs served per s; the rate of arrivals is known, so that the share alone is noisy.
    told |= {"throughput": numbers["served"] * rate, "throughput_ci95": [low * rate, high * rate]}
    told["work_served"] = numbers["work_served"]
    return {"throughput": told["throughput_ci95"]}

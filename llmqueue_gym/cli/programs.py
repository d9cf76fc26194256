"""What `llmqueue simulate` tells of programs of calls: how long they take, what became of calls, and of answers."""

from typing import Any

import click

from llmqueue_gym.cli import serving
from llmqueue_gym.cli.asked import Asked
from llmqueue_gym.cli.output import print_table
from llmqueue_gym.cli.serving import notes

__all__ = ["found", "notes", "show", "told"]


def told(asked: Asked, scenario: Any, seed: int, quiet: bool, policy: Any = None) -> dict[str, Any]:
    """Return what is served, in words, and how."""
    words, system = serving.told(asked, scenario, seed, quiet, policy), scenario.system
    ways = {name: str(getattr(system, name)) for name in ("router", "retention", "stopping", "foresight")}
    return {**words, **ways, "replicas": len(system.members)}


def found(asked: Asked, scenario: Any, policy: Any, seed: int, run: Any) -> dict[str, Any]:
    """Return what came of a run, of its programs and of their calls."""
    from llmqueue_gym.evaluation.fleet import groups
    from llmqueue_gym.evaluation.programs import measure_programs

    return {
        **serving.found(asked, scenario, policy, seed, run),
        **measure_programs(run, asked.warmup),
        "groups": groups(run.calls),
    }


def show(found: dict[str, Any]) -> None:
    """Print what was served, and what became of it."""
    from llmqueue_gym.evaluation.metrics import seconds

    rows = [
        ("order of calls", found["policy"]),
        ("programs", f"{found['workload']}; {found['done']:,} of {found['requests']:,} done in {found['span']:,.4g} s"),
        ("calls", f"{found['calls']:,}, {found['calls_per_program']:.3g} a program; {found['cancelled']:,} cancelled"),
        ("replicas", f"{found['replicas']} x {found['profile']}, rules {found['rules']}, router {found['router']}"),
        ("contexts between calls", found["retention"]),
        ("stopping", found["stopping"]),
        ("arrivals", f"{found['rate']:.4g} programs/s" if found["rate"] else "all at once"),
    ]
    print_table("served", ("", ""), rows)
    columns = ("mean", "p50", "p95", "p99")
    times = [
        ("from arrival to the end of the last call", "program_time"),
        ("of it neither waiting nor served: tools and people", "away_time"),
        ("a call, from when it is ready", "call_time"),
        ("a call, until its first token", "call_ttft"),
    ]
    shown = [[words, *(seconds(found[name][key]) for key in columns)] for words, name in times]
    print_table("times", ("", *columns), shown)
    low, high = found["e2e_ci95"]
    if low is not None and low == low:
        click.echo(f"95 % interval of the mean time of a program: {seconds(low)} to {seconds(high)}")
    more = [("tokens computed again", f"{found['recomputed_tokens']:,.0f}")]
    if found["accuracy"] is not None:
        more.append(("programs with the right answer", f"{found['accuracy']:.1%}"))
        more.append(("answers given", f"{found['answers']:,} of {found['planned_answers']:,}"))
    print_table("work", ("", ""), more)
    for note in found["notes"]:
        click.echo(f"note: {note}")

"""What `llmqueue simulate` tells of programs of calls: how long they take, what became of calls, and of answers."""

from pathlib import Path
from typing import Any

import click

from llmqueue_gym.cli import fleet, serving
from llmqueue_gym.cli.asked import Asked
from llmqueue_gym.cli.output import print_table

__all__ = ["found", "notes", "show", "told"]


def told(asked: Asked, scenario: Any, seed: int, quiet: bool, policy: Any = None) -> dict[str, Any]:
    """Return what is served, in words, how, and what was made of a trace."""
    from llmqueue_gym.workloads.traces.program_trace import NO_CLOCK

    words, system = serving.told(asked, scenario, seed, quiet, policy), scenario.system
    played = system.under(policy)
    ways = {"router": str(system.router), "order": played.discipline.name, "retention": played.keeper.name}
    words |= {**fleet.replicas(system), **ways, "stopping": played.rule.name, "foresight": str(system.foresight)}
    trace = getattr(scenario.source, "trace", None)
    said = [] if trace is None else trace.report()
    return {**words, "recorded": [line for line in said if line != NO_CLOCK]}  # a rate was told


def found(asked: Asked, scenario: Any, policy: Any, seed: int, run: Any) -> dict[str, Any]:
    """Return what came of a run, of its programs and of their calls."""
    from llmqueue_gym.evaluation.fleet import groups

    return {**serving.found(asked, scenario, policy, seed, run), "groups": groups(run.calls)}


def notes(found: dict[str, Any], scenario: Any, asked: Asked) -> list[str]:
    """Return what a reader of the numbers has to know."""
    recorded = found["recorded"]
    return ([f"the trace: {'; '.join(recorded)}"] if recorded else []) + serving.notes(found, scenario, asked)


def show(found: dict[str, Any]) -> None:
    """Print what was served, and what became of it."""
    from llmqueue_gym.evaluation.metrics import seconds

    law, most = Path(found["workload"]).name, found["capacity"]
    calls = f"{found['calls']:,}, {found['calls_per_program']:.3g} a program"
    arrivals = f"{found['rate']:.4g} programs/s" if found["rate"] else "all at once"
    if most is not None:
        arrivals += f", {found['load']:.3g} of the {most['rate']:.4g} /s that fcfs sustains with calls by themselves"
    rows = [
        ("order of calls", found["order"]),
        ("law" if not found["recorded"] else "trace", law),
        ("programs", f"{found['done']:,} of {found['programs']:,} done in {found['span']:,.4g} s"),
        ("calls", calls + (f"; {found['cancelled']:,} cancelled" if found["cancelled"] else "")),
        ("replicas", f"{found['replicas']} x {found['profile']}, rules {found['rules']}, router {found['router']}"),
        ("context in a gap", found["retention"]),
        *([("stopping", found["stopping"])] if found["stopping"] != "never" else []),
        ("arrivals", arrivals),
    ]
    print_table("served", ("", ""), rows)
    times = {
        "program_time": "program, from its arrival to the end of its last call",
        "away_time": "of it with no call waiting or served: tools, people",
        "call_time": "call, from when it is ready to its end",
        "call_ttft": "call, from when it is ready to its first token",
    }
    shown = [[words, *(seconds(found[name][key]) for key in serving.COLUMNS)] for name, words in times.items()]
    left_out = f", first {found['warmup']:.0%} left out" if found["warmup"] else ""
    print_table(f"times of {found['latencies_of']}{left_out}", ("", *serving.COLUMNS), shown)
    low, high = found["e2e_ci95"]
    if low is not None and low == low:
        click.echo(f"95 % interval of the mean time of a program: {seconds(low)} to {seconds(high)}")
    print_table("work", ("", ""), _work(found))
    for note in found["notes"]:
        click.echo(f"note: {note}")


def _work(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Return rows of what was computed and how well it answered."""
    read, prompts = found["prefill_tokens"], found["prompt_tokens"]
    rows = [("prompt tokens computed", f"{read:,}, {read / max(prompts, 1):.1%} of those of the prompts")]
    if found["e2e_slo"]:
        rows.append(("within the objective", f"{found['attainment']:.1%}, {found['goodput']:.3g} programs/s"))
    if found["accuracy"] is not None:
        rows.append(("programs with the right answer", f"{found['accuracy']:.1%}"))
        rows.append(("answers given", f"{found['answers']:,} of {found['planned_answers']:,}"))
    for name in ("recomputed_tokens", "swapped_bytes", "busy_share", "kv_share", "most_kv_share"):
        words, how = serving.SHOWN[name]
        if found[name] and found[name] == found[name]:
            rows.append((words, how.format(found[name])))
    return rows

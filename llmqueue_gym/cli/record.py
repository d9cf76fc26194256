"""`llmqueue record`: the log of an engine, or of a proxy before one, as a trace, and its iterations as a profile."""

import os
from typing import Any

import click

from llmqueue_gym.cli.options import Whole, as_json
from llmqueue_gym.cli.output import print_json


@click.command()
@click.argument("logs", nargs=-1, required=True, metavar="LOG...")
@click.option("--out", required=True, metavar="FILE", help="Write the trace, .csv, .csv.gz or .parquet, for --trace.")
@click.option("--profile", metavar="FILE.json", help="Fit a cost profile to vLLM's iterations in the log, too.")
@click.option("--kv-tokens", type=Whole(min=1), help="For that; if absent, by a line 'GPU KV cache size' of the log.")
@as_json
def record(logs: tuple[str, ...], out: str, profile: str | None, kv_tokens: int | None, as_json: bool) -> None:
    """Turn LOGs of requests into a trace.

    A LOG is one of a proxy that `llmqueue export --to priority-proxy` made, of vLLM at the level DEBUG with
    --enable-log-requests and --enable-log-outputs, or of vLLM's spans of OpenTelemetry as JSON lines. What was not
    served to its end is left out and counted. `llmqueue profile fit` has more to say of iterations.
    """
    from llmqueue_gym.evaluation.rows import check_rows, write_columns
    from llmqueue_gym.profiles.files import write_profile
    from llmqueue_gym.storage import check_place
    from llmqueue_gym.workloads.traces.request_logs import read_request_log

    for path, option in ((out, "--out"), (profile, "--profile")):
        if path:
            check_place(path, f"{option} {path}")
            _spare(path, option, logs)
    check_rows(out)
    if profile:
        _spare(profile, "--profile", (out,))
    found = read_request_log(logs)
    fitted = _fitted(logs, kv_tokens) if profile else None
    write_columns(out, found.columns())
    if profile and fitted:
        write_profile(profile, *fitted)
    told = {
        "kind": found.kind,
        "lines": found.lines,
        "requests": len(found.served),
        "left_out": {why: {"count": n, "first_line": found.first[why]} for why, n in found.left_out.items()},
        "notes": dict(found.notes),
        "iterations": found.iterations,
        "trace": out,
        "profile": profile,
        "error": fitted[0].error if fitted else None,
    }
    if as_json:
        print_json(told)
        return
    click.echo(f"written: {out}, {len(found.served):,} requests of {found.lines:,} lines ({found.kind})")
    for why, n in found.left_out.most_common():
        click.echo(f"left out: {n:,} {why}, the first in line {found.first[why]:,}")
    for note, n in found.notes.items():
        click.echo(f"note: {n:,} {note}")
    if fitted:
        click.echo(f"written: {profile}, {found.iterations:,} iterations, {fitted[0].error}; use it as file:{profile}")
    elif found.iterations:
        click.echo(f"{found.iterations:,} iterations are in it, too: --profile FILE.json, or llmqueue profile fit")
    click.echo(f"use it as llmqueue simulate --profile NAME --trace {out}")


def _spare(path: str, option: str, others: tuple[str, ...]) -> None:
    """Refuse to write a file over one of the others, which may go by another name."""
    from llmqueue_gym.errors import BadInput

    for other in others:
        there = os.path.exists(path) and os.path.exists(other)
        if os.path.samefile(path, other) if there else os.path.abspath(path) == os.path.abspath(other):
            raise BadInput(f"{option} {path} would be written over {other}; name another file")


def _fitted(logs: tuple[str, ...], kv_tokens: int | None) -> tuple[Any, dict[str, Any]]:
    """Return the profile of the one log that has iterations, and what it was found to be worth."""
    import dataclasses

    from llmqueue_gym.errors import BadInput
    from llmqueue_gym.profiles.fit import fit
    from llmqueue_gym.profiles.iterations import read_iterations
    from llmqueue_gym.profiles.vllm_log import kv_capacity_told, vllm_columns

    timed = [log for log in logs if vllm_columns(log) is not None]
    if len(timed) != 1:
        which = "none of the logs has" if not timed else f"{' and '.join(timed)} both have"
        raise BadInput(f"--profile: {which} iterations, as vLLM logs them by --enable-logging-iteration-details")
    (log,) = timed
    if kv_tokens is None:
        try:
            kv_tokens = kv_capacity_told(log)
        except BadInput as error:
            raise BadInput(f"{error}; tell it with --kv-tokens") from None
    made, report = fit(read_iterations(log, kv_tokens), kv_tokens)
    return made, dataclasses.asdict(report)

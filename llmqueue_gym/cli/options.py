"""Options that several commands share, and how their values are read."""

import contextlib
import io
import runpy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from llmqueue_gym.errors import BadInput, Unstable, nearest

Command = Callable[..., Any]


class Whole(click.IntRange):
    """A whole number in a range, under a name that makes sense in click's messages."""

    name = "whole number"


_POSITIVE = click.FloatRange(0, min_open=True)

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")


def queue(command: Command) -> Command:
    """Add the options that say which policy meets which queue."""
    options = [
        click.option(
            "--policy", required=True, help="A name from `llmqueue policies`, or FILE.py:FUNCTION, a rank(job, params)."
        ),
        click.option("--size", default="exponential", show_default=True, help="Size law, as in weibull:shape=0.5."),
        click.option(
            "--predictor", default="exponential", show_default=True, help="Predictor, as in lognormal:sigma=0.5."
        ),
        click.option(
            "--load", default=0.8, show_default=True, callback=_stable, help="Arrival rate times mean size, below 1."
        ),
    ]
    return _with(options, command)


def replica(command: Command) -> Command:
    """Add the options that say which requests meet which LLM replica; `--trace`, `--load` and `--seed` are apart."""
    options = [
        click.option("--profile", help="Cost profile, a name from `llmqueue profile list`, or file:PATH."),
        click.option("--rules", help="Rule set of the engine, as in vllm-v1:max_seqs=256; see `llmqueue rules`."),
        click.option("--lengths", metavar="SPEC", help="Without a trace: law of prompt and output lengths."),
        click.option("--format", "trace_format", default="auto", show_default=True, help="Format of the trace."),
        click.option("--rate", type=_POSITIVE, help="Requests per s; a trace is stretched to it."),
        click.option("--rate-scale", type=_POSITIVE, help="Factor on the rate of the trace."),
        click.option("--requests", type=Whole(1, 10**7), help="Requests to serve.  [default: the trace; else 10000]"),
        click.option("--max-tokens", type=Whole(2), help="Leave out requests of more tokens, prompt and output."),
        click.option("--ttft-slo", type=_POSITIVE, help="Objective: s until the first token, for goodput."),
        click.option("--tpot-slo", type=_POSITIVE, help="Objective: s for each later token, for goodput."),
    ]
    return _with(options, command)


def _with(options: Sequence[Any], command: Command) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


def _stable(ctx: click.Context, option: click.Parameter, load: float | None) -> float | None:
    if load is None:
        return None
    if load >= 1:
        raise Unstable(f"load {load:g} is unstable: the queue grows without end from load 1 on; try 0.95")
    if not load > 0:
        raise BadInput(f"load {load:g} must be positive and below 1; try 0.8")
    return load


serving_load = click.option(
    "--load", type=float, callback=_stable, help="Rate as a share of what fcfs sustains, below 1; without a trace 0.8."
)


def read_policy(spec: str) -> Any:
    """Return the policy that `spec` names, a registered one or a function in a file.

    Raises:
        BadInput: there is no such policy, file or function, or the file does not run.
    """
    from llmqueue_gym.policies import policy

    return policy(_function(spec) or spec)


def read_serving_policy(spec: str) -> Any:
    """Return the serving policy that `spec` names, a registered one or a function in a file.

    Raises:
        BadInput: as for `read_policy`.
    """
    from llmqueue_gym.policies.serving import serving_policy

    function = _function(spec)
    if function is not None and getattr(function, "__code__", None) and function.__code__.co_argcount != 3:
        raise BadInput(f"{spec} takes {function.__code__.co_argcount} arguments; write rank(request, system, params)")
    return serving_policy(function or spec)


def _function(spec: str) -> Any:
    """Return the function in a file that `spec` names, or None where it names no file."""
    file, colon, name = spec.rpartition(":")
    if not colon or not file.endswith(".py"):
        if spec.endswith(".py"):
            raise BadInput(f"policy {spec!r} names no function; write {spec}:rank")
        return None
    if not Path(file).is_file():
        raise BadInput(f"{file}: no such file")
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # stdout is for the result alone
            module = runpy.run_path(file)
    except (Exception, SystemExit) as error:  # whatever the user's file raises
        raise BadInput(f"{file} does not run: {type(error).__name__}: {error}") from None
    functions = [key for key, value in module.items() if callable(value)]
    if name not in functions:
        raise BadInput(f"{file} has no function {name!r}; {nearest(name, functions) if functions else 'it has none'}")
    return module[name]

"""Options that several commands share, and how their values are read."""

import contextlib
import io
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from llmqueue_gym.errors import BadInput, Unstable, nearest


class Whole(click.IntRange):
    """A whole number in a range, under a name that makes sense in click's messages."""

    name = "whole number"


as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")


def queue(command: Callable[..., Any]) -> Callable[..., Any]:
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
    for option in reversed(options):
        command = option(command)
    return command


def _stable(ctx: click.Context, option: click.Parameter, load: float) -> float:
    if load >= 1:
        raise Unstable(f"load {load:g} is unstable: the queue grows without end from load 1 on; try 0.95")
    if not load > 0:
        raise BadInput(f"load {load:g} must be positive and below 1; try 0.8")
    return load


def read_policy(spec: str) -> Any:
    """Return the policy that `spec` names, a registered one or a function in a file.

    Raises:
        BadInput: there is no such policy, file or function, or the file does not run.
    """
    from llmqueue_gym.policies import policy

    file, colon, name = spec.rpartition(":")
    if not colon or not file.endswith(".py"):
        if spec.endswith(".py"):
            raise BadInput(f"policy {spec!r} names no function; write {spec}:rank")
        return policy(spec)
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
    return policy(module[name])

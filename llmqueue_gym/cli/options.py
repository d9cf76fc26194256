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


# Options that belong to one model alone, in the order in which help shows them.
CLUSTER = ("servers", "speeds", "patience", "dispatch", "needs")
TRACE = ("trace", "trace_format", "seconds_per_token")
REPLICA = ("profile", "rules", "lengths", "rate", "rate_scale", "requests", "max_tokens", "ttft_slo", "tpot_slo")
_HEADINGS = {
    **dict.fromkeys(CLUSTER, "Several servers"),
    **dict.fromkeys(TRACE, "A recorded trace instead of --size and --arrivals"),
    **dict.fromkeys(REPLICA, "An LLM replica, where --profile, --rules or --lengths is given"),
}


class Whole(click.IntRange):
    """A whole number in a range, under a name that makes sense in click's messages."""

    name = "whole number"


class Grouped(click.Command):
    """A command of many options, which its help shows under a heading for each model."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options that all models share, then those of each."""
        groups: dict[str, list[tuple[str, str]]] = {"Options": [], **{words: [] for words in _HEADINGS.values()}}
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx)
            if record is not None:
                groups[_HEADINGS.get(str(option.name), "Options")].append(record)
        for heading, records in groups.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)


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
            "--load", default=0.8, show_default=True, help="Arrival rate times mean size, over all servers; below 1."
        ),
    ]
    return _with(options, command)


def several_servers(command: Command) -> Command:
    """Add the options that make of one server several."""
    options = [
        click.option(
            "--servers", type=Whole(1, 100_000), help="How many.  [default: 1; with --dispatch 10, with --needs 8]"
        ),
        click.option("--speeds", metavar="LIST", help="Speed of each server, as in 2,1,1."),
        click.option(
            "--patience",
            metavar="LAW",
            help="Jobs give up waiting after a time of this law, as in exponential:mean=3; the load may exceed 1.",
        ),
        click.option(
            "--dispatch",
            metavar="SPEC",
            help="A queue for each server, and how an arrival chooses one, as in power-of-d:d=2; "
            "--policy is the order in each queue.",
        ),
        click.option(
            "--needs",
            metavar="LIST",
            help="Servers that a job occupies at once, as in 1,2,4,8, or with shares 1:0.9,4:0.1; "
            "--policy is a packing policy.",
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


def stable(load: float) -> float:
    """Return a load below 1.

    Raises:
        Unstable: it is 1 or more.
        BadInput: it is not positive.
    """
    if load >= 1:
        raise Unstable(f"load {load:g} is unstable: the queue grows without end from load 1 on; try 0.95")
    if not load > 0:
        raise BadInput(f"load {load:g} must be positive and below 1; try 0.8")
    return load


serving_load = click.option(
    "--load",
    type=float,
    callback=lambda ctx, option, load: None if load is None else stable(load),
    help="Rate as a share of what fcfs sustains, below 1; without a trace 0.8.",
)


def read_policy(spec: str) -> Any:
    """Return the policy that `spec` names, a registered one or a function in a file.

    Raises:
        BadInput: there is no such policy, file or function, the file does not run, or the policy is of another kind.
    """
    from llmqueue_gym.policies import policy

    function = function_in_file(spec)
    if function is None:
        _refuse_policy_of_another_kind(spec)
    return policy(function or spec)


def _refuse_policy_of_another_kind(spec: str) -> None:
    """Refuse a policy that is no order of a queue, and name the option that it goes with."""
    from llmqueue_gym.policies import IMPATIENT_POLICIES, POLICIES
    from llmqueue_gym.policies.dispatch import DISPATCH_POLICIES
    from llmqueue_gym.policies.packing import PACKING
    from llmqueue_gym.policies.serving import SERVING_POLICIES

    name = spec.partition(":")[0]
    if name in POLICIES or name in IMPATIENT_POLICIES:
        return
    if name in SERVING_POLICIES:
        raise BadInput(
            f"policy {name!r} serves LLM requests: add --profile a100-llama3-8b, or another of llmqueue profile list"
        )
    if name in DISPATCH_POLICIES:
        raise BadInput(f"policy {name!r} sends jobs to queues: write --dispatch {spec} --policy fcfs")
    if name in PACKING:
        raise BadInput(f"policy {name!r} is for jobs that need several servers: add --needs 1,2,4,8")


def read_serving_policy(spec: str) -> Any:
    """Return the serving policy that `spec` names, a registered one or a function in a file.

    Raises:
        BadInput: as for `read_policy`.
    """
    from llmqueue_gym.policies.serving import serving_policy

    function = function_in_file(spec)
    if function is not None and getattr(function, "__code__", None) and function.__code__.co_argcount != 3:
        raise BadInput(f"{spec} takes {function.__code__.co_argcount} arguments; write rank(request, system, params)")
    return serving_policy(function or spec)


def function_in_file(spec: str) -> Any:
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

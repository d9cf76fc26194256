"""`llmqueue profile`: the cost profiles there are, what is in one, and how to fit one's own."""

import contextlib
import dataclasses
from typing import Any

import click

from llmqueue_gym.cli.options import POSITIVE, Whole, as_json
from llmqueue_gym.cli.output import check_picture, print_json, print_result, print_table

# Batches that `show` times: prompt tokens, decodes, and context of each of those.
EXAMPLES = {
    "prompt of 512 tokens": (512, 0, 0),
    "prompt of 4096 tokens": (4096, 0, 0),
    "1 decode at 1024 tokens": (0, 1, 1024),
    "32 decodes at 1024 tokens": (0, 32, 1024),
    "both, prompt of 480 and 32 decodes": (480, 32, 1024),
}


@click.group()
def profile() -> None:
    """Cost profiles: list them, show one, fit one to measured iterations."""


@profile.command("list")
@as_json
def list_profiles(as_json: bool) -> None:
    """List the cost profiles."""
    import inspect

    from llmqueue_gym.profiles import PROFILES
    from llmqueue_gym.profiles.estimated import REPLICAS

    entries = []
    for name in PROFILES:
        if name == "file":  # one that `llmqueue profile fit` wrote; it needs a path
            continue
        made = PROFILES.make(name)
        what = (inspect.getdoc(PROFILES.builder(name)) or "").split("\n", 1)[0]
        entries.append({**_without_numbers(made), "description": what})
    if as_json:
        print_json({"profiles": entries})
        return
    for title, estimated in (("measured", False), ("estimated, from data sheets", True)):
        told = [e for e in entries if (e["name"] in REPLICAS) == estimated]
        rows = [(e["name"], e["model"], e["gpu"], e["kv_tokens"]) for e in told]
        print_table(title, ("name", "model", "GPUs", "KV tokens"), rows)
    click.echo("Sources, errors and what is estimated: llmqueue profile show NAME. Your own: file:PATH.")
    click.echo(
        "What is your own of a replica: NAME:kv_log=vllm.log,price=2.5,grid=50,pue=1.2, and kv=fp8 or clock=350w."
    )


@profile.command()
@click.argument("name")
@as_json
def show(name: str, as_json: bool) -> None:
    """Show a profile, a name from `llmqueue profile list` such as unit:kv_tokens=100, or file:PATH."""
    from llmqueue_gym.profiles import profile as read_profile

    made = read_profile(name)
    times = _example_times(made)
    if as_json:
        print_json({**made.to_dict(), "milliseconds": times})
        return
    told = {key: value for key, value in _without_numbers(made).items() if value == value and value != ""}
    power = told.pop("power")
    if power["idle"] == power["idle"]:
        told["watts"] = "{idle:g} idle, {prefill:g} prefill, {decode:g} decode ({source})".format(**power)
    print_table(made.name, ("", ""), [(key.replace("_", " "), value) for key, value in told.items()])
    print_table("times of an iteration", ("batch", "ms"), times.items())


@profile.command()
@click.argument("log")
@click.option("--profile", "name", metavar="NAME", help="Tell it beside the capacity of this profile.")
@as_json
def capacity(log: str, name: str | None, as_json: bool) -> None:
    """Tell how many tokens fit by a LOG of vLLM, or by its line 'GPU KV cache size: N tokens'.

    Each engine of a server writes one; the least counts.
    """
    from llmqueue_gym.profiles import profile as read_profile
    from llmqueue_gym.profiles.vllm_log import kv_capacity_told

    tokens = kv_capacity_told(log)
    made = None if name is None else read_profile(name)
    if as_json:
        beside = {} if made is None else {"profile": made.name, "profile_kv_tokens": made.kv_tokens}
        print_json({"kv_tokens": tokens, **beside})
        return
    click.echo(f"{tokens:,} tokens: NAME:kv_tokens={tokens} in a profile, --kv-tokens {tokens} in a fit")
    if made is not None:
        click.echo(f"{made.name} has {made.kv_tokens:,}, {made.kv_tokens / tokens:.3g} times as many")


@profile.command()
@click.argument("file")
@click.option("--name", default="fitted", show_default=True, help="Name of the profile.")
@click.option("--model", default="not stated", help="Model that was served.")
@click.option("--gpu", default="not stated", help="GPUs it ran on, as in 2x A100-80GB.")
@click.option(
    "--kv-tokens",
    type=Whole(min=1),
    help="Tokens whose keys and values fit in memory; if absent, by a line 'GPU KV cache size' of the log.",
)
@click.option(
    "--kv-bytes-per-token",
    type=POSITIVE,
    default=float("nan"),
    help="2 * layers * KV heads * head size * bytes of a number, over all GPUs; needed where caches are swapped.",
)
@click.option("--out", metavar="FILE.json", help="Write the profile; other commands read it as file:FILE.json.")
@click.option("--plot", metavar="FILE.png", help="Draw predicted against measured times, and errors by batch size.")
@as_json
def fit(
    file: str,
    out: str | None,
    plot: str | None,
    as_json: bool,
    kv_tokens: int | None,
    kv_bytes_per_token: float,
    **words: str,
) -> None:
    """Fit a roofline to the measured iterations in a CSV FILE, or in a log of vLLM.

    Columns: prefill_tokens, decodes, context, and seconds or ms; tokens, pairs, prefills and cached where known. What
    vLLM logs under --enable-logging-iteration-details is read as it is, or as columns context_requests, context_tokens,
    generation_requests, generation_tokens, elapsed_ms and kv_usage.
    """
    from llmqueue_gym.profiles.files import write_profile
    from llmqueue_gym.profiles.fit import fit as fit_profile
    from llmqueue_gym.profiles.iterations import read_iterations
    from llmqueue_gym.storage import check_place, whole

    if plot:
        check_picture(plot)
    if out:
        check_place(out, f"--out {out}")
    if kv_tokens is None:
        kv_tokens = _capacity_of(file)
    table = read_iterations(file, kv_tokens)
    made, report = fit_profile(table, kv_tokens, kv_bytes_per_token=kv_bytes_per_token, **words)
    found: dict[str, Any] = dataclasses.asdict(report)
    with whole(plot) if plot else contextlib.nullcontext() as picture:  # which comes to be if the profile does
        if picture:
            from llmqueue_gym.profiles.plot import plot_fit

            plot_fit(made, table, picture)
        if out:
            write_profile(out, made, found)
    if as_json:
        print_json({**found, "profile": made.to_dict()})
        return
    halves = [{"half": half, **found[half]} for half in ("fitted", "held_out")]
    kinds = [{"held out": kind, "mape": error} for kind, error in found["by_kind"].items()]
    click.echo(f"{made.name}: max(floor, base + token * tokens) + pair * pairs + context * context")
    print_result("coefficients, s", found["coefficients"])
    print_result("", {"errors, %": halves, "errors by kind, %": kinds})
    for warning in report.warnings:
        click.echo(f"note: {warning}")
    if out:
        click.echo(f"written: {out}; use it as file:{out}")


def _capacity_of(file: str) -> int:
    """Return the capacity that a log tells; BadInput with the option that tells it, too, where it does not."""
    from llmqueue_gym.errors import BadInput
    from llmqueue_gym.profiles.vllm_log import kv_capacity_told

    try:
        return kv_capacity_told(file)
    except BadInput as error:
        raise BadInput(f"{error}; tell it with --kv-tokens") from None


def _without_numbers(made: Any) -> dict[str, Any]:
    return {key: value for key, value in made.to_dict().items() if key != "numbers"}


def _example_times(made: Any) -> dict[str, float]:
    """Return what `EXAMPLES` take, ms."""
    import numpy as np

    from llmqueue_gym._jit import records
    from llmqueue_gym.engines.batching.cost import FORMS, iteration_time
    from llmqueue_gym.engines.batching.tables import BATCH

    batch = np.zeros(1, BATCH)
    times = {}
    for what, (prompt, decodes, context) in EXAMPLES.items():
        read = decodes * context
        batch[0] = (prompt + decodes, prompt > 0, prompt, decodes, read, prompt**2 / 2, prompt**2, 0, prompt)
        times[what] = 1e3 * float(iteration_time(FORMS.index(made.form), made.numbers, records(batch)[0]))
    return times

"""What `llmqueue simulate` does with a cost profile: a policy serves a stream of requests on an LLM replica."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from llmqueue_gym.cli.options import read_serving_policy
from llmqueue_gym.cli.output import print_json, print_table
from llmqueue_gym.errors import BadInput

PROFILE, RULES, LENGTHS, LOAD, REQUESTS = "a100-llama3-8b", "vllm-v1", "azure-conv", 0.8, 10_000
WARMUP = 0.1  # share of sampled requests that met a replica which had just been empty; of a trace none is left out

# What a person is shown of the whole run: metric, words, and how it is written.
SHOWN = {
    "requests_per_second": ("requests served", "{:.3g} /s"),
    "output_tokens_per_second": ("output tokens", "{:,.0f} /s"),
    "tokens_per_second": ("tokens, prompts included", "{:,.0f} /s"),
    "goodput": ("within the objectives", "{:.3g} requests/s"),
    "attainment": ("within the objectives, share", "{:.1%}"),
    "mean_in_system": ("requests in system, mean", "{:.3g}"),
    "mean_batch": ("requests in an iteration, mean", "{:.3g}"),
    "kv_share": ("KV cache read by decodes, mean", "{:.1%}"),
    "most_kv_share": ("KV cache in use, most", "{:.1%}"),
    "preemptions_per_request": ("preemptions per request", "{:.3g}"),
    "recomputed_tokens": ("tokens computed again", "{:,.0f}"),
    "swapped_bytes": ("moved to the host and back", "{:,.3g} bytes"),
    "longest_wait": ("longest wait", "{:.3g} s"),
    "busy_share": ("busy, share of the time", "{:.1%}"),
    "useful_share": ("busy, work that preemptions cost left out", "{:.1%}"),
    "class_ratio": ("worst over best class, time per token", "{:.3g}"),
    "joules_per_output_token": ("energy per output token, estimated", "{:.3g} J"),
    "dollars_per_million_output_tokens": ("cost of a million output tokens, estimated", "{:.3g} USD"),
}
_OBJECTIVES = ("goodput", "attainment")
_IF_ANY = ("preemptions_per_request", "recomputed_tokens", "swapped_bytes")


def read_scenario(options: dict[str, Any]) -> Any:
    """Return the `ServingScenario` of the options of a command.

    Args:
        options: values of `options.replica`, and `trace`, `load`, `arrivals` and `predictor`; None where not given.

    Raises:
        BadInput: options that exclude one another, or a wrong value.
    """
    from llmqueue_gym.evaluation.serving.scenario import PREDICTOR, ServingScenario

    given = [f"--{name.replace('_', '-')}" for name in ("load", "rate", "rate_scale") if options[name] is not None]
    if len(given) > 1:
        raise BadInput(f"{' and '.join(given)} both set the rate; give one of them")
    if options["trace"] and options["lengths"]:
        raise BadInput(
            f"--lengths {options['lengths']} has no place beside --trace {options['trace']}; give one of them"
        )
    if options["rate_scale"] is not None and not options["trace"]:
        raise BadInput(f"--rate-scale {options['rate_scale']:g} has no trace to scale; give --rate or --load")
    workload, rate_scale = _workload(options)
    return ServingScenario(
        workload=workload,
        predictor=options["predictor"] or PREDICTOR,
        profile=options["profile"] or PROFILE,
        rules=options["rules"] or RULES,
        n=options["requests"] or (len(workload) if options["trace"] else REQUESTS),
        rate_scale=rate_scale,
        load=options["load"] if given or options["trace"] else LOAD,
    )


def _workload(options: dict[str, Any]) -> tuple[Any, float]:
    """Return what requests are drawn from, and the factor on its rate."""
    from llmqueue_gym.workloads.requests import RequestWorkload, TraceRequests
    from llmqueue_gym.workloads.traces import load_trace

    rate, scale, longest = options["rate"], options["rate_scale"] or 1.0, options["max_tokens"]
    if not options["trace"]:
        lengths = options["lengths"] or LENGTHS
        return RequestWorkload(lengths, rate or 1.0, options["arrivals"] or "poisson", longest), scale
    trace = load_trace(options["trace"], options["trace_format"])
    recorded = TraceRequests.from_trace(trace, max_tokens=longest)
    span = float(recorded.times[-1] - recorded.times[0])
    if not span > 0 and (rate or options["load"] or options["arrivals"]):
        raise BadInput(f"{options['trace']}: all requests arrive at one time, so there is no rate to change")
    own_rate = (len(recorded) - 1) / span if span > 0 else float("inf")
    if options["arrivals"]:
        how = {"rate": own_rate, "arrivals": options["arrivals"], "max_tokens": longest}
        recorded = TraceRequests.from_trace(trace, **how)
    return recorded, rate / own_rate if rate else scale


def run_serving(policy: str, options: dict[str, Any], seed: int, as_json: bool) -> None:
    """Serve the requests of the options by a policy, and print what came of it."""
    from llmqueue_gym.evaluation.serving.metrics import measure, per_request
    from llmqueue_gym.evaluation.statistics import cautious_batch_means

    discipline, scenario = read_serving_policy(policy), read_scenario(options)
    warmup = 0.0 if options["trace"] else WARMUP
    with progress_bar("compiling, then finding what fcfs sustains", as_json) as step:
        scenario, offered = offered_load(scenario, seed, step)
    served = scenario.serve(discipline, seed)
    numbers = measure(served, options["ttft_slo"], options["tpot_slo"], warmup)
    values = per_request(served)["e2e"][int(warmup * len(served.outputs)) :]
    estimate = cautious_batch_means(values[served.done[-len(values) :]], warmup=0) if numbers["done"] else None
    found = {
        "policy": policy,
        **scenario_words(scenario, options, discipline),
        "seed": seed,
        "warmup": warmup,
        **offered,
        "e2e_ci95": [estimate.low, estimate.high] if estimate else [None, None],
        **numbers,
        "seconds_in_kernel": served.elapsed,
        "iterations": served.totals["iterations"],
    }
    found["notes"] = notes(found, scenario)
    if as_json:
        print_json(found)
    else:
        _print(found, options)


def offered_load(scenario: Any, seed: int, step: Callable[[int, int], None] | None) -> tuple[Any, dict[str, Any]]:
    """Return the scenario with its capacity, and the rate of a run, what fcfs sustains, and if that is exceeded."""
    from llmqueue_gym.evaluation.serving.scenario import capacity, recorded_rate

    given = dataclasses.replace(scenario, load=None).draw(None, seed)
    _check(scenario.replica[1], given)
    unknown = {"rate": None, "capacity": None, "load": None, "overloaded": False}
    if scenario.load is None and not given.requests["arrival"].any():  # all at time 0
        return scenario, unknown
    try:
        found = capacity(scenario, progress=step)
    except BadInput:
        if scenario.load is not None:
            raise
        return scenario, {**unknown, "rate": recorded_rate(given)}  # the run itself will tell that it got stuck
    scenario = dataclasses.replace(scenario, known_capacity=found)
    rate = recorded_rate(scenario.draw(None, seed))
    load = scenario.load or rate / found.rate
    return scenario, {"rate": rate, "capacity": found._asdict(), "load": load, "overloaded": load > 1}


def _check(rules: Any, given: Any) -> None:
    """Refuse requests that could never be served, and name the option that leaves them out."""
    try:
        rules.check(given.requests, given.outputs)
    except BadInput as error:
        raise BadInput(str(error).replace("max_tokens=", "--max-tokens ")) from None


def scenario_words(scenario: Any, options: dict[str, Any], policy: Any = None) -> dict[str, Any]:
    """Return what was simulated, in words, and what was left out of a trace."""
    profile, rules = scenario.replica
    predictor = str(scenario.bound_predictor(policy))
    if policy is not None and not policy.uses_predictions:
        predictor = "not read by the policy"
    told = {
        "workload": options["trace"] or str(scenario.source.lengths),
        "predictor": predictor,
        "profile": profile.name,
        "model": profile.model,
        "gpu": profile.gpu,
        "rules": scenario.rules if isinstance(scenario.rules, str) else rules.name,
    }
    if options["trace"]:
        told["left_out"] = {name: getattr(scenario.source, name) for name in ("without_output", "too_long")}
    return told


def notes(found: dict[str, Any], scenario: Any) -> list[str]:
    """Return what a reader of the numbers has to know."""
    told, profile = [], scenario.replica[0]
    left = {key: value for key, value in found.get("left_out", {}).items() if value}
    if left:
        told.append(
            "left out of the trace: " + ", ".join(f"{n:,} {what.replace('_', ' ')}" for what, n in left.items())
        )
    if found["overloaded"]:
        rate, most = found["rate"], found["capacity"]["rate"]
        told.append(
            f"OVERLOADED: {rate:.3g} requests/s arrive, fcfs sustains {most:.3g}; "
            "the queue grows as long as requests come, so times tell how long the run was, nothing else"
        )
    if found.get("truncated"):
        told.append(
            f"INCOMPLETE ({found['reason']}): {found['done']:,} of {found['requests']:,} requests were done; "
            "latencies are of those alone"
        )
    if profile.estimated:
        told.append(f"estimated in {profile.name}: {profile.estimated}")
    return told


def _print(found: dict[str, Any], options: dict[str, Any]) -> None:
    from llmqueue_gym.evaluation.serving.compare import WORDS, seconds

    head = [("policy", found["policy"]), ("workload", Path(found["workload"]).name), ("predictor", found["predictor"])]
    head.append(("replica", f"{found['profile']} ({found['model']} on {found['gpu']}), rules {found['rules']}"))
    head.append(("requests", f"{found['done']:,} of {found['requests']:,} done in {found['span']:,.4g} s"))
    if found["capacity"] is not None:
        most = found["capacity"]["rate"]
        head.append(
            ("arrivals", f"{found['rate']:.4g} /s, {found['load']:.3g} of the {most:.4g} /s that fcfs sustains")
        )
    print_table("served", ("", ""), head)
    rows = []
    for name, words in WORDS.items():
        row = [seconds(found[name][key]) for key in ("mean", "p50", "p90", "p99")]
        rows.append([words, *row])
        if name == "e2e" and found["e2e_ci95"][0] == found["e2e_ci95"][0]:
            low, high = found["e2e_ci95"]
            rows.append(["  95 % interval of the mean", f"{seconds(low)} to {seconds(high)}"])
    title = f"latencies of {found['latencies_of']}" + (f", first {WARMUP:.0%} left out" if found["warmup"] else "")
    print_table(title, ("", "mean", "p50", "p90", "p99"), [[*row, *[""] * (5 - len(row))] for row in rows])
    skipped = set() if options["ttft_slo"] or options["tpot_slo"] else set(_OBJECTIVES)
    skipped |= {name for name in _IF_ANY if not found[name]}
    if not found["preemptions"]:
        skipped.add("useful_share")
    if found["class_ratio"] == 1:
        skipped.add("class_ratio")
    shown = [(words, how.format(found[name])) for name, (words, how) in SHOWN.items() if name not in skipped]
    print_table("replica", ("", ""), [row for row in shown if "nan" not in row[1]])
    for note in found["notes"]:
        click.echo(f"note: {note}")


@contextlib.contextmanager
def progress_bar(words: str, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Show a bar on stderr, gone when done; yields what moves it, called with (done, total)."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield None
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(words, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)

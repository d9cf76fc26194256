"""What `llmqueue simulate` tells of a replica: latencies of its requests, how busy it is, its rate beside capacity."""

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from llmqueue_gym.cli.asked import Asked
from llmqueue_gym.cli.groups import show_groups
from llmqueue_gym.cli.output import print_table, progress_bar
from llmqueue_gym.errors import BadInput

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
    "hit_share": ("prompt tokens found in the cache", "{:.1%}"),
    "preemptions_per_request": ("preemptions per request", "{:.3g}"),
    "recomputed_tokens": ("tokens computed again", "{:,.0f}"),
    "swapped_bytes": ("moved to the host and back", "{:,.3g} bytes"),
    "longest_wait": ("longest wait", "{:.3g} s"),
    "busy_share": ("busy, share of the time", "{:.1%}"),
    "useful_share": ("busy, work that preemptions cost left out", "{:.1%}"),
    "class_ratio": ("worst over best class, time per token", "{:.3g}"),
    "joules_per_output_token": ("energy per output token, estimated", "{:.3g} J"),
    "idle_joules_per_output_token": ("of it between iterations", "{:.3g} J"),
    "dollars_per_million_output_tokens": ("cost of a million output tokens, estimated", "{:.3g} USD"),
    "grams_per_thousand_output_tokens": ("CO2e of a thousand output tokens, estimated", "{:.3g} g"),
    "embodied_grams_per_thousand_output_tokens": ("of it for making the GPUs", "{:.3g} g"),
}
COLUMNS = ("mean", "p50", "p95", "p99")  # of each latency
USUAL = {"ttft_slo": 30.0, "tpot_slo": 2.0, "e2e_slo": 3600.0}  # s; beyond, ms are likely to be meant
MAYBE = ("controller", "profile", "rules")  # of unread fields: none is one, and rows of a file may leave theirs out
ABSURD_RATE, ABSURD_LOAD = 300.0, 100.0  # times as many or few requests/s as one, and as a replica sustains
_OBJECTIVES = ("goodput", "attainment")
_IF_ANY = ("hit_share", "preemptions_per_request", "recomputed_tokens", "swapped_bytes")


def told(asked: Asked, scenario: Any, seed: int, quiet: bool, policy: Any = None) -> dict[str, Any]:
    """Return what is served, in words, what was left out of a trace, and the rate beside what fcfs sustains."""
    system, rules = scenario.system, scenario.system.rules
    profile, predictor = system.cost_profile, str(system.predictor(scenario, policy))
    if policy is not None and not policy.uses_predictions:
        predictor = "not read by the policy"
    words = {
        "workload": asked.trace or system.words_of(scenario),
        "predictor": predictor,
        "profile": profile.name,
        "model": profile.model,
        "gpu": profile.gpu,
        "profile_error": profile.error,
        "rules": rules if isinstance(rules, str) else rules.name,
    }
    if asked.trace:
        words["left_out"] = {name: getattr(scenario.source, name, 0) for name in ("without_output", "too_long")}
    from llmqueue_gym.workloads.contexts import shared_share

    contexts = scenario.draw(seed).truth.get("contexts")
    words["repeated_share"] = None if contexts is None else shared_share(contexts)
    return {**words, "seed": seed, "warmup": asked.warmup, **_offered(scenario, seed, quiet)}


def found(asked: Asked, scenario: Any, policy: Any, seed: int, run: Any) -> dict[str, Any]:
    """Return what came of a run of a policy."""
    from llmqueue_gym.evaluation.steady_state import shortness, steady_state_mean

    numbers = importlib.import_module(asked.kind.metrics).measure(run, **asked.objectives, warmup=asked.warmup)
    times = run.response_times[run.done & (np.arange(len(run)) >= int(asked.warmup * len(run)))]
    estimate = steady_state_mean(times, run, scenario) if len(times) else None
    remarks = [f"{policy.name} {words}" for words in scenario.system.remarks(run, policy)]
    return {
        "notes": remarks + (shortness(times, estimate, run, scenario) if estimate else []),
        **asked.objectives,
        "e2e_ci95": [estimate.low, estimate.high] if estimate else [None, None],
        **numbers,
        "seconds_in_kernel": run.elapsed,
        "iterations": run.totals["iterations"],
    }


def _offered(scenario: Any, seed: int, quiet: bool) -> dict[str, Any]:
    """Return the rate of a run, what fcfs sustains, and if that is exceeded; None where all requests come at once."""
    unknown = {"rate": None, "capacity": None, "load": None, "overloaded": False}
    if scenario.system.closed:
        return unknown
    given = replace(scenario, load=None, rate=scenario.rate or (1.0 if scenario.workload is None else None)).draw(seed)
    scenario.system.refuse_too_long(given)
    arrivals = given.work["arrival"]
    if scenario.load is None and not arrivals[np.isfinite(arrivals)].any():  # all at time 0
        return unknown
    try:
        with progress_bar("compiling, then finding what fcfs sustains", quiet) as step:
            found = scenario.system.sustains(scenario, step)
    except BadInput:
        if scenario.load is not None:
            raise
        return {**unknown, "rate": _rate(scenario, given)}  # the run itself will tell that it got stuck
    rate = _rate(scenario, given if scenario.load is None else scenario.draw(seed))
    load = scenario.load or rate / found.rate
    return {"rate": rate, "capacity": found._asdict(), "load": load, "overloaded": load > 1}


def _rate(scenario: Any, drawn: Any) -> float:
    """Return at which rate requests came, or, as one alone has none, at which they were to."""
    if scenario.rate is not None and scenario.n_jobs == 1:
        return float(scenario.rate)
    return float(scenario.system.rate_of(drawn))


def notes(found: dict[str, Any], scenario: Any, asked: Asked) -> list[str]:
    """Return what a reader of the numbers has to know."""
    told, what = list(found.get("notes", ())), asked.kind.options["n_jobs"]
    for name, most in USUAL.items():
        given = asked.objectives.get(name)
        if given is not None and given > most:
            told.append(f"{name} is {given:g} s, an objective that hardly binds; in ms it would be {given / 1000:g}")
    for name in scenario.system.unread:
        if name in asked.told and name not in MAYBE:
            told.append(f"--{asked.options[name]} {asked.told[name]} has no effect, as the other options are")
    rate, load = found["rate"] or 0.0, found["load"] or 1.0
    recorded = asked.trace and asked.told.keys().isdisjoint(("load", "rate", "rate_scale"))
    if recorded and rate and not (1 / ABSURD_RATE < rate < ABSURD_RATE and 1 / ABSURD_LOAD < load < ABSURD_LOAD):
        told.append(
            f"the trace has {rate:.3g} {what}/s, {load:.3g} of what {_who(found)}: are its times in another unit?"
            + (" --trace-unit tells it" if "trace_unit" in asked.options else "")
        )
    left = {key: value for key, value in found.get("left_out", {}).items() if value}
    if left:
        told.append(
            "left out of the trace: " + ", ".join(f"{n:,} {what.replace('_', ' ')}" for what, n in left.items())
        )
    if found["repeated_share"] is not None:
        told.append(
            f"{found['repeated_share']:.1%} of the prompts' tokens repeat the beginning of an earlier prompt and its "
            "answer, which is the most that a prefix cache without end could find"
        )
    if found["overloaded"]:
        rate, most = found["rate"], found["capacity"]["rate"]
        told.append(
            f"OVERLOADED: {rate:.3g} {what}/s arrive, {most:.3g} are what {_who(found)}; "
            f"the queue grows as long as {what} come, so times tell how long the run was, nothing else"
        )
    if found.get("truncated"):
        told.append(
            f"INCOMPLETE ({found['reason']}): {found['done']:,} of {found[what]:,} {what} were done; "
            "latencies are of those alone"
        )
    for profile in {member.profile.name: member.profile for member in scenario.system.members}.values():
        if str(scenario.system.profile).startswith("file:"):
            told.append(f"error of {profile.name}: {profile.error}")
        if profile.estimated:
            told.append(f"estimated in {profile.name}: {profile.estimated}")
    return told


def _who(found: dict[str, Any]) -> str:
    """Return in words by whom the capacity is that was looked for."""
    apart = " where calls come by themselves and every context is computed anew" if "retention" in found else ""
    return "fcfs sustains" + (" where all replicas read and decode" if found.get("pooled_capacity") else apart)


def show(found: dict[str, Any], whole: str = "replica") -> None:
    """Print what was served; `whole` is what the numbers of the whole run are of."""
    from llmqueue_gym.evaluation.metrics import WORDS, seconds
    from llmqueue_gym.evaluation.serving import LATENCIES

    head = [("policy", found["policy"]), ("workload", Path(found["workload"]).name), ("predictor", found["predictor"])]
    head.append(("replica", f"{found['profile']} ({found['model']} on {found['gpu']}), rules {found['rules']}"))
    head.append(("requests", f"{found['done']:,} of {found['requests']:,} done in {found['span']:,.4g} s"))
    if found["capacity"] is not None:
        most, seen = found["capacity"]["rate"], found["capacity"]["requests"]
        sample = f", by a sample of {seen:,}" if seen < found["requests"] else ""
        head.append(
            ("arrivals", f"{found['rate']:.4g} /s, {found['load']:.3g} of the {most:.4g} /s that {_who(found)}{sample}")
        )
    print_table("served", ("", ""), head)
    rows = [[WORDS[name], *(seconds(found[name][key]) for key in COLUMNS)] for name in LATENCIES]
    left_out = f", first {found['warmup']:.0%} left out" if found["warmup"] else ""
    title = f"latencies of {found['latencies_of']}{left_out}"
    print_table(title, ("", *COLUMNS), rows)
    low, high = found["e2e_ci95"]
    if low is not None and low == low:
        click.echo(f"95 % interval of the mean {WORDS['e2e']}: {seconds(low)} to {seconds(high)}")
    skipped = set() if any(found[name] for name in ("ttft_slo", "tpot_slo", "e2e_slo")) else set(_OBJECTIVES)
    skipped |= {name for name in _IF_ANY if not found[name]}
    if not found["preemptions"]:
        skipped.add("useful_share")
    if found["class_ratio"] == 1:
        skipped.add("class_ratio")
    shown = [(words, how.format(found[name])) for name, (words, how) in SHOWN.items() if name not in skipped]
    print_table(whole, ("", ""), [row for row in shown if "nan" not in row[1]])
    show_groups(found)
    for note in found["notes"]:
        click.echo(f"note: {note}")

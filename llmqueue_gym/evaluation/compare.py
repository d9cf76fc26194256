"""Policies on the very same work, with intervals for means, 99th percentiles and ranks.

Arrivals and sizes are common to all policies, so what counts is the difference job by job; it varies far less than
either of the two. Jobs that are neighbours depend on one another, so intervals come from successive windows of jobs: of
means and their ratios by batch means, the widest of several window lengths; of 99th percentiles and ranks by drawing
windows anew (see `bootstrap`). They hold for runs like this one, of these sizes and this load.

How often they hold the true ratio of SJF to FCFS, of 100 runs with 1000, 5000 and 20,000 requests each (the first tenth
left out; profile a100-llama3-8b; nominally 95 %): for azure-conv on 32 seats at load 0.9 that of means 75, 87 and 85 %,
of 99th percentiles 68, 86 and 95 %; for lmsys-arena on 16 seats at load 0.8 that of means 80, 86 and 92 %, of 99th
percentiles 92, 96 and 96 %. The difference of means fares as the ratio does. All intervals of means that miss show too
small a gain: a run with few long busy periods holds too little of what is gained there, and does not show how much
they vary. Take longer ones. From `python experiments/do_the_paired_intervals_cover.py --lengths 1000 5000 20000`.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput, NotApplicable, nearest
from llmqueue_gym.evaluation.bootstrap import LEVEL, resample
from llmqueue_gym.evaluation.metrics import LOSSES, METRICS, WORDS, Latency
from llmqueue_gym.evaluation.paired import KINDS, place, sentence, winner
from llmqueue_gym.evaluation.statistics import Estimate
from llmqueue_gym.evaluation.steady_state import shortness, steady_state_mean
from llmqueue_gym.policies.base import EXACT, TRUTH
from llmqueue_gym.systems import Run, Scenario

BEHIND = 0.8  # of the base's throughput, below which a policy falls behind arrivals that the base keeps up with
Row = dict[str, Any]
_TOLD = ("mean_wait", "mean_response_time", "throughput")


def latencies(system: Any) -> Mapping[str, Latency]:
    """Return what can be compared in a system, of each job, by name."""
    return LOSSES if system.lossy else importlib.import_module(system.metrics).LATENCIES


def compare(
    scenario: Scenario,
    policies: Sequence[Any] | Mapping[str, Any],
    seed: int = 0,
    metric: str | None = None,
    warmup: float = 0.0,
    progress: Callable[[int, int], None] | None = None,
    **objectives: float | None,
) -> dict[str, Any]:
    """Play several policies on the same work and rank them: a board without a name.

    Args:
        scenario: where.
        policies: specs, policies or functions, or any of these by the name to show; the base of the system joins where
            it is missing.
        seed: of the work.
        metric: what is compared of each job, a name in `latencies`; where jobs are lost it is whether they are.
        warmup: share of the jobs, from the first on, that is left out.
        progress: called with (policies played, all policies).
        objectives: limits of the system, such as `ttft_slo`, for its metrics.

    Returns:
        `policies`, a row for each, the least mean first; `winner` by mean and by p99; `conclusion`, a sentence;
        `notes`, where the run is short. Who leaves work undone has a row, but no rank and no intervals. `over_floor` is
        the mean over a lower bound for any policy, of all jobs; see `System.bound`.

    Raises:
        BadInput: unknown names, a policy named twice, or work that could never be done.
    """
    table, base = latencies(scenario.system), scenario.system.base
    measure = importlib.import_module(scenario.system.metrics).measure
    metric = next(name for name in WORDS if name in table) if metric is None else metric
    if metric not in table:
        raise BadInput(f"unknown latency {metric!r}; {nearest(metric, table)}")
    entries = named(scenario, policies)
    rows: list[Row] = []
    values: dict[str, np.ndarray] = {}
    for i, (name, policy) in enumerate(entries.items()):
        run = scenario.simulate(policy, seed)
        predictor = str(policy.predictor or scenario.predictor) if policy.uses_predictions else "not read"
        undone = not run.done.all() and not scenario.system.lossy
        told = {"done": int(run.done.sum()), "reason": run.reason, "undone": undone}
        rows.append(
            {"policy": name, "predictor": predictor, **told, "metrics": measure(run, warmup=warmup, **objectives)}
        )
        wait, time, rows[-1]["rate"] = (METRICS[name](run) for name in _TOLD)
        rows[-1]["remarks"] = scenario.system.remarks(run, policy)
        rows[-1]["waiting"] = wait / time  # share of the time of those served
        if metric in ("e2e", "response_time") and not undone:  # floors are of all jobs, warm-up and all
            rows[-1] |= over_floor(run, scenario, seed)
        if not undone:
            latency = table[metric](run)[int(warmup * len(run)) :]
            values[name] = latency[~np.isnan(latency)]
            if name == base:
                kept = run.after_warmup(warmup)
        if progress is not None:
            progress(i + 1, len(entries))
    if base not in values:
        raise BadInput(f"{base} left requests undone ({rows[0]['reason']}), so there is nothing to compare with")
    if not len(values[base]):
        raise BadInput(f"no request has a {metric}; choose another latency")
    resampled, told_truth = resample(values), clairvoyant(entries, scenario)

    def mean_of(some: np.ndarray) -> Estimate:
        return steady_state_mean(some, kept, scenario, LEVEL)

    for row in rows:
        row["told_truth"] = row["policy"] in told_truth
        row["note"] = note(row, rows[0], len(run))
        if row["policy"] in values:
            row.update(place(row["policy"], values, resampled, mean_of))
    rows.sort(key=lambda row: row["mean"]["mean"] if "mean" in row else np.inf)
    kinds = KINDS[:1] if metric == "lost" else KINDS
    able = {name: value for name, value in values.items() if name not in told_truth}
    found = {kind: winner(kind, able, values, resampled, mean_of) for kind in kinds}
    return {
        **{"scenario": scenario.to_dict(), "seed": seed, "metric": metric, "warmup": warmup, "level": LEVEL},
        **{"requests": len(run), "base": base, "policies": rows, "winner": found},
        "notes": shortness(values[base], mean_of(values[base]), kept, scenario),
        "conclusion": "By " + "; by ".join(sentence(kind, metric, found[kind]) for kind in kinds) + ".",
    }


def named(scenario: Scenario, policies: Sequence[Any] | Mapping[str, Any]) -> dict[str, Any]:
    """Return the policies by name, the base of the system first; a spec is its own name."""
    entries = {scenario.system.base: scenario.policy(scenario.system.base)}
    if isinstance(policies, Mapping):
        return {**entries, **{name: scenario.policy(given) for name, given in policies.items()}}
    seen = set()
    for given in policies:
        policy = scenario.policy(given)
        name = given if isinstance(given, str) else policy.name
        if name in seen:
            raise BadInput(f"policy {name!r} is named twice")
        seen.add(name)
        entries[name] = policy
    return entries


def clairvoyant(entries: Mapping[str, Any], scenario: Scenario) -> set[str]:
    """Return the policies that are told the truth where the others are not; they win nothing."""
    if str(scenario.predictor).startswith(EXACT):
        return set()
    return {name for name, policy in entries.items() if policy.told == TRUTH}


def over_floor(run: Run, scenario: Scenario, seed: int) -> dict[str, float]:
    """Return a mean response time, s, below which no policy can come on this work, and that of the run over it.

    Nothing where something else is scored.
    """
    cost, mean = run.system.numbers(run)["cost"], float(run.response_times.mean())
    if not run.system.cost.endswith(", s"):
        return {}
    if abs(cost - mean) > 1e-9 * mean:  # it has a price beside time
        return {"cost": cost}
    try:
        floor = run.system.bound(scenario.draw(seed))
    except NotApplicable:
        return {}
    return {"floor": floor, "over_floor": mean / floor}


def note(row: Row, base: Row, n: int) -> str:
    """Return what has to be known of a policy's numbers: whether it knows the truth, is done, and keeps up."""
    words = ["is told the truth, so it is shown but wins nothing"] if row["told_truth"] else []
    words += row["remarks"]
    if row["undone"]:
        words.append(f"has no rank ({row['reason']}: {row['done']:,} of {n:,} done)")
    share = row["rate"] / base["rate"]
    if share < BEHIND and not row["undone"]:
        words.append(f"falls behind, with {share:.0%} of the throughput of {base['policy']}")
    return "; ".join(words)

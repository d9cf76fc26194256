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
from llmqueue_gym.evaluation import metrics
from llmqueue_gym.evaluation.bootstrap import LEVEL, Resamples, interval, rank_interval, resample
from llmqueue_gym.evaluation.statistics import cautious_batch_means
from llmqueue_gym.policies.base import EXACT, TRUTH
from llmqueue_gym.systems import Run, Scenario

BEHIND = 0.8  # of the base's throughput, below which a policy falls behind arrivals that the base keeps up with
Row = dict[str, Any]
Latency = Callable[[Run], np.ndarray]  # (n,), NaN where there is none

WORDS = {  # of what is compared; the first that a system has is taken where nothing is told
    "e2e": "end-to-end time",
    "response_time": "response time",
    "lost": "share of jobs lost",
    "slowdown": "slowdown",
    "wait": "wait",
    "ttft": "time to first token",
    "tpot": "time per output token",
    "longest_gap": "longest gap between tokens",
    "normalised_latency": "time per token end to end",
}
_TOLD = ("mean_wait", "mean_response_time", "throughput")
_PURE = ("lost", "slowdown")  # numbers without a unit
_OF_JOBS: dict[str, Latency] = {
    "response_time": lambda run: run.response_times,
    "slowdown": lambda run: run.slowdowns,
    "wait": lambda run: run.outcome["start"] - run.jobs["arrival"],
}
_OF_LOSSES: dict[str, Latency] = {"lost": lambda run: (~run.done).astype(float)}
_MODULES = {"replica": "llmqueue_gym.evaluation.serving"}  # systems with a `measure` and `LATENCIES` of their own


def latencies(system: Any) -> Mapping[str, Latency]:
    """Return what can be compared in a system, of each job, by name."""
    if system.lossy:
        return _OF_LOSSES
    return importlib.import_module(_MODULES[system.name]).LATENCIES if system.name in _MODULES else _OF_JOBS


def measure(run: Run, warmup: float, objectives: Mapping[str, float | None]) -> dict[str, Any]:
    """Return every metric of a run by name, the first share of the jobs left out."""
    if run.system.name in _MODULES:
        return importlib.import_module(_MODULES[run.system.name]).measure(run, **objectives, warmup=warmup)
    return metrics.measure(run.after_warmup(warmup))


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
        `policies`, a row for each, the least mean first; `winner` by mean and by p99; `conclusion`, a sentence. Who
        leaves work undone has a row, but no rank and no intervals. `over_floor` is the mean over a lower bound for any
        policy, of all jobs; see `System.bound`.

    Raises:
        BadInput: unknown names, a policy named twice, or work that could never be done.
    """
    table, base = latencies(scenario.system), scenario.system.base
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
        rows.append({"policy": name, "predictor": predictor, **told, "metrics": measure(run, warmup, objectives)})
        wait, time, rows[-1]["rate"] = (metrics.METRICS[name](run) for name in _TOLD)
        rows[-1]["waiting"] = wait / time  # share of the time of those served
        if metric in ("e2e", "response_time") and not undone:  # floors are of all jobs, warm-up and all
            rows[-1] |= over_floor(run, scenario, seed)
        if not undone:
            latency = table[metric](run)[int(warmup * len(run)) :]
            values[name] = latency[~np.isnan(latency)]
        if progress is not None:
            progress(i + 1, len(entries))
    if base not in values:
        raise BadInput(f"{base} left requests undone ({rows[0]['reason']}), so there is nothing to compare with")
    if not len(values[base]):
        raise BadInput(f"no request has a {metric}; choose another latency")
    resampled, told_truth = resample(values), clairvoyant(entries, scenario)
    for row in rows:
        row["told_truth"] = row["policy"] in told_truth
        row["note"] = note(row, rows[0], len(run))
        if row["policy"] in values:
            row.update(place(row["policy"], values, resampled))
    rows.sort(key=lambda row: row["mean"]["mean"] if "mean" in row else np.inf)
    kinds = KINDS[:1] if metric == "lost" else KINDS
    able = {name: value for name, value in values.items() if name not in told_truth}
    found = {kind: winner(kind, able, values, resampled) for kind in kinds}
    return {
        **{"scenario": scenario.to_dict(), "seed": seed, "metric": metric, "warmup": warmup, "level": LEVEL},
        **{"requests": len(run), "base": base, "policies": rows, "winner": found},
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
    """Return a mean response time, s, below which no policy can come on this work, and that of the run over it."""
    try:
        floor = run.system.bound(scenario.draw(seed))
    except NotApplicable:
        return {}
    return {"floor": floor, "over_floor": float(run.response_times.mean()) / floor}


def note(row: Row, base: Row, n: int) -> str:
    """Return what has to be known of a policy's numbers: whether it knows the truth, is done, and keeps up."""
    words = ["is told the truth, so it is shown but wins nothing"] if row["told_truth"] else []
    if row["undone"]:
        words.append(f"has no rank ({row['reason']}: {row['done']:,} of {n:,} done)")
    share = row["rate"] / base["rate"]
    if share < BEHIND and not row["undone"]:
        words.append(f"falls behind, with {share:.0%} of the throughput of {base['policy']}")
    return "; ".join(words)


def place(name: str, values: Mapping[str, np.ndarray], resampled: Resamples) -> Row:
    """Return where a policy stands: mean, p99, ratios and differences to the base, and ranks, all with intervals."""
    k, base = list(values).index(name), next(iter(values))
    latency, plain = values[name], values[base]
    row: Row = {"mean": _of_mean(latency), f"difference_to_{base}": _of_mean(latency - plain)}
    row[f"mean_over_{base}"] = ratio_of_means(latency, plain)
    row["p99"] = _between(_p99(latency), resampled.p99[..., k], resampled)
    with np.errstate(invalid="ignore", divide="ignore"):  # of shares of lost jobs, which have no percentiles
        ratios = resampled.p99[..., k] / resampled.p99[..., 0]
        row[f"p99_over_{base}"] = _between(float(np.float64(_p99(latency)) / _p99(plain)), ratios, resampled)
    for kind in KINDS:
        points = [_POINT[kind](latency) for latency in values.values()]
        low, high = rank_interval(getattr(resampled, kind), k, resampled.counts)
        row[f"{kind}_rank"] = {"rank": 1 + sum(p < points[k] for p in points), "low": low, "high": high}
    return row


def winner(
    kind: str, contenders: Mapping[str, np.ndarray], values: Mapping[str, np.ndarray], resampled: Resamples
) -> dict[str, Any]:
    """Return the best contender by mean or by p99, and whether it is ahead of all others beyond its interval.

    Args:
        kind: "mean" or "p99".
        contenders: latencies by policy, those that may win.
        values: latencies by policy, in the order of `resampled`.
        resampled: see `resample`.
    """
    order, names = sorted(contenders, key=lambda name: _POINT[kind](contenders[name])), list(values)
    first = order[0]
    same = [name for name in order[1:] if np.allclose(values[name], values[first], rtol=1e-9)]
    others = [name for name in order[1:] if name not in same]
    over = {}
    for name in others:
        if kind == "mean":
            over[name] = ratio_of_means(values[first], values[name])
        else:
            redone = resampled.p99[..., names.index(first)] / resampled.p99[..., names.index(name)]
            over[name] = _between(_p99(values[first]) / _p99(values[name]), redone, resampled)
    ties = [name for name in others if not over[name]["high"] < 1]
    points = {name: _POINT[kind](values[name]) for name in order}
    clear = bool(others) and not ties
    return {"policy": first, "clear": clear, "same": same, "ties": ties, "values": points, "over": over}


def sentence(kind: str, metric: str, found: Mapping[str, Any]) -> str:
    """Say who wins by how much, or that nobody clearly does."""
    first, values, what = found["policy"], found["values"], f"{kind} {WORDS[metric]}"
    name = " = ".join([first, *found["same"]])
    if not found["over"]:
        return f"{what}: {name} with {amount(metric, values[first])}, and nothing that differs to compare with"
    other = (found["ties"] or list(found["over"]))[0]
    less, most, least = (100 * (1 - found["over"][other][key]) for key in ("mean", "low", "high"))
    ends = f"95 % interval {least:.3g} to {most:.3g} %" if np.isfinite(least) else "too few requests for an interval"
    lead = f"{name} wins with" if found["clear"] else f"no clear winner, {name} is least with"
    words = f"{what}: {lead} {amount(metric, values[first])}, {less:.3g} % below {other} ({ends})"
    rest = len(found["ties"]) - 1
    return words + (f", and {rest} more cannot be told from it" if rest > 0 else "")


def ratio_of_means(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """Return mean(a) / mean(b) of latencies of the same requests, each `(n,)`, with its interval.

    The logarithm of the ratio has, to first order, the error of the mean of a / mean(a) - b / mean(b), so the interval
    is by batch means of that and never goes below 0.
    """
    if not (a.mean() > 0 and b.mean() > 0):  # where no job is lost
        return dict.fromkeys(("mean", "low", "high"), float("nan"))
    ratio = float(a.mean() / b.mean())
    error = cautious_batch_means(a / a.mean() - b / b.mean(), LEVEL, warmup=0)
    half = (error.high - error.low) / 2
    return {"mean": ratio, "low": ratio * float(np.exp(-half)), "high": ratio * float(np.exp(half))}


KINDS = ("mean", "p99")


def _p99(latency: np.ndarray) -> float:
    return float(np.percentile(latency, 99))


_POINT = {"mean": lambda latency: float(latency.mean()), "p99": _p99}


def _of_mean(latency: np.ndarray) -> dict[str, float]:
    mean, low, high, *_ = cautious_batch_means(latency, LEVEL, warmup=0)
    return {"mean": mean, "low": low, "high": high}


def _between(point: float, table: np.ndarray, resampled: Resamples) -> dict[str, float]:
    low, high = interval(table, resampled.counts)
    return {"mean": point, "low": low, "high": high}


def amount(metric: str, value: float) -> str:
    """Return a value of a metric in words, in its unit."""
    return f"{value:.3g}" if metric in _PURE else seconds(value)


def seconds(value: float) -> str:
    """Return a time in s with three digits, in ms where it is short."""
    if abs(value) >= 100:
        return f"{value:,.0f} s"
    return f"{value:.3g} s" if abs(value) >= 1 or value == 0 else f"{1e3 * value:.3g} ms"

"""Serving policies on the very same requests, with intervals for means, 99th percentiles and ranks.

Arrivals and lengths are common to all policies, so what counts is the difference request by request; it varies far less
than either of the two. Requests that are neighbours depend on one another, so intervals come from successive windows of
requests: of means and their ratios by batch means, the widest of several window lengths; of 99th percentiles and ranks
by drawing windows anew (see `redraw`). They hold for runs like this one, of these lengths and this load.

How often they hold the true ratio of SJF to FCFS, of 100 runs with 1000, 5000 and 20,000 requests each (the first tenth
left out; profile a100-llama3-8b; nominally 95 %): for azure-conv on 32 seats at load 0.9 that of means 75, 87 and 85 %,
of 99th percentiles 68, 86 and 95 %; for lmsys-arena on 16 seats at load 0.8 that of means 80, 86 and 92 %, of 99th
percentiles 92, 96 and 96 %. The difference of means fares as the ratio does. All intervals of means that miss show too
small a gain: a run with few long busy periods holds too little of what is gained there, and does not show how much
they vary. Take longer ones. From `python experiments/do_the_paired_intervals_cover.py --lengths 1000 5000 20000`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput, NotApplicable, nearest
from llmqueue_gym.evaluation.serving.closed_loop import Served
from llmqueue_gym.evaluation.serving.metrics import LATENCIES, measure, per_request
from llmqueue_gym.evaluation.serving.redraw import LEVEL, Redrawn, interval, rank_interval, redraw
from llmqueue_gym.evaluation.serving.scenario import Progress, ServingScenario
from llmqueue_gym.evaluation.statistics import cautious_batch_means
from llmqueue_gym.policies.serving import serving_policy
from llmqueue_gym.requests import request_table
from llmqueue_gym.theory.clairvoyant import latency_floor

BASE = "fcfs"
BEHIND = 0.8  # of the base's throughput, below which a policy falls behind arrivals that the base keeps up with
Row = dict[str, Any]


def compare(
    scenario: ServingScenario,
    policies: Sequence[Any] | Mapping[str, Any],
    seed: int = 0,
    metric: str = "e2e",
    ttft_slo: float | None = None,
    tpot_slo: float | None = None,
    warmup: float = 0.0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Play several policies on the same requests and rank them.

    Args:
        scenario: where.
        policies: specs, `ServingPolicy` objects or functions, or any of these by the name to show; first come first
            served joins where it is missing.
        seed: of the requests.
        metric: latency that is compared, a name in `LATENCIES`.
        ttft_slo: see `measure`.
        tpot_slo: likewise.
        warmup: share of the requests, from the first on, that is left out.
        progress: called with (policies played, all policies).

    Returns:
        `policies`, a row for each, the least mean first; `winner` by mean and by p99; `conclusion`, a sentence. A
        policy that leaves requests undone has a row, but no rank and no intervals. `over_floor` is the mean over a
        lower bound for any policy, of all requests; see `theory.clairvoyant`.

    Raises:
        BadInput: unknown names, a policy named twice, or a request that could never be served.
    """
    if metric not in LATENCIES:
        raise BadInput(f"unknown latency {metric!r}; {nearest(metric, LATENCIES)}")
    entries = named(policies)
    rows: list[Row] = []
    values: dict[str, np.ndarray] = {}
    for i, (name, policy) in enumerate(entries.items()):
        served = scenario.serve(policy, seed)
        numbers = measure(served, ttft_slo, tpot_slo, warmup)
        predictor = str(scenario.bound_predictor(policy)) if policy.uses_predictions else "not read"
        rows.append({"policy": name, "predictor": predictor, "metrics": numbers})
        least = floor(served) if metric == "e2e" and not numbers["truncated"] else None
        if least is not None:  # of all requests, warm-up and all
            rows[-1] |= {"floor": least, "over_floor": float(per_request(served)["e2e"].mean()) / least}
        if not numbers["truncated"]:
            latency = per_request(served)[metric][int(warmup * numbers["requests"]) :]
            values[name] = latency[~np.isnan(latency)]
        if progress is not None:
            progress(i + 1, len(entries))
    told = {"scenario": scenario.to_dict(), "seed": seed, "metric": metric, "warmup": warmup, "level": LEVEL}
    if BASE not in values:
        raise BadInput(
            f"{BASE} left requests undone ({rows[0]['metrics']['reason']}), so there is nothing to compare with"
        )
    if not len(values[BASE]):
        raise BadInput(f"no request has a {metric}; choose another latency")
    redrawn, told_truth = redraw(values), clairvoyant(entries, scenario)
    for row in rows:
        row["told_truth"] = row["policy"] in told_truth
        row["note"] = note(row, rows[0])
        if row["policy"] in values:
            row.update(standing(row["policy"], values, redrawn))
    rows.sort(key=lambda row: row["mean"]["mean"] if "mean" in row else np.inf)
    found = {
        kind: winner(kind, {n: v for n, v in values.items() if n not in told_truth}, values, redrawn) for kind in KINDS
    }
    requests = rows[0]["metrics"]["requests"]
    return {
        **told,
        "requests": requests,
        "policies": rows,
        "winner": found,
        "conclusion": "By " + "; by ".join(sentence(kind, metric, found[kind]) for kind in KINDS) + ".",
    }


def named(policies: Sequence[Any] | Mapping[str, Any]) -> dict[str, Any]:
    """Return the policies by name, first come first served first; a spec is its own name."""
    entries = {BASE: serving_policy(BASE)}
    if isinstance(policies, Mapping):
        return {**entries, **{name: serving_policy(given) for name, given in policies.items()}}
    seen = set()
    for given in policies:
        policy = serving_policy(given)
        name = given if isinstance(given, str) else policy.name
        if name in seen:
            raise BadInput(f"policy {name!r} is named twice")
        seen.add(name)
        entries[name] = policy
    return entries


def clairvoyant(entries: Mapping[str, Any], scenario: ServingScenario) -> set[str]:
    """Return the policies that are told true lengths where the others are not; they win nothing."""
    if str(scenario.predictor).startswith("exact"):
        return set()
    return {name for name, policy in entries.items() if (policy.predictor or "").startswith("exact")}


def floor(served: Served) -> float | None:
    """Return a mean end-to-end time, s, below which no policy can come on these requests; None where none is known."""
    requests = request_table(served.requests["arrival"], served.requests["prompt"])
    try:
        return latency_floor(requests, served.outputs, served.profile, served.rules).mean
    except NotApplicable:
        return None


def note(row: Row, base: Row) -> str:
    """Return what has to be known of a policy's numbers: whether it knows the truth, is done, and keeps up."""
    metrics = row["metrics"]
    words = ["is told the true lengths, so it is shown but wins nothing"] if row["told_truth"] else []
    if metrics["truncated"]:
        words.append(f"has no rank ({metrics['reason']}: {metrics['done']:,} of {metrics['requests']:,} done)")
    share = row["metrics"]["requests_per_second"] / base["metrics"]["requests_per_second"]
    if share < BEHIND and not metrics["truncated"]:
        words.append(f"falls behind, with {share:.0%} of the throughput of {BASE}")
    return "; ".join(words)


def standing(name: str, values: Mapping[str, np.ndarray], redrawn: Redrawn) -> Row:
    """Return where a policy stands: mean, p99, ratios and differences to the base, and ranks, all with intervals."""
    k, base = list(values).index(name), list(values).index(BASE)
    latency, plain = values[name], values[BASE]
    row: Row = {"mean": _of_mean(latency), "difference_to_fcfs": _of_mean(latency - plain)}
    row["mean_over_fcfs"] = ratio_of_means(latency, plain)
    row["p99"] = _between(_p99(latency), redrawn.p99[..., k], redrawn)
    ratios = redrawn.p99[..., k] / redrawn.p99[..., base]
    row["p99_over_fcfs"] = _between(_p99(latency) / _p99(plain), ratios, redrawn)
    for kind in KINDS:
        points = [_POINT[kind](latency) for latency in values.values()]
        low, high = rank_interval(getattr(redrawn, kind), k, redrawn.counts)
        row[f"{kind}_rank"] = {"rank": 1 + sum(p < points[k] for p in points), "low": low, "high": high}
    return row


def winner(
    kind: str, contenders: Mapping[str, np.ndarray], values: Mapping[str, np.ndarray], redrawn: Redrawn
) -> dict[str, Any]:
    """Return the best contender by mean or by p99, and whether it is ahead of all others beyond its interval.

    Args:
        kind: "mean" or "p99".
        contenders: latencies by policy, those that may win.
        values: latencies by policy, in the order of `redrawn`.
        redrawn: see `redraw`.
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
            redone = redrawn.p99[..., names.index(first)] / redrawn.p99[..., names.index(name)]
            over[name] = _between(_p99(values[first]) / _p99(values[name]), redone, redrawn)
    ties = [name for name in others if not over[name]["high"] < 1]
    points = {name: _POINT[kind](values[name]) for name in order}
    clear = bool(others) and not ties
    return {"policy": first, "clear": clear, "same": same, "ties": ties, "values": points, "over": over}


def sentence(kind: str, metric: str, found: Mapping[str, Any]) -> str:
    """Say who wins by how much, or that nobody clearly does."""
    first, values, what = found["policy"], found["values"], f"{kind} {WORDS[metric]}"
    name = " = ".join([first, *found["same"]])
    if not found["over"]:
        return f"{what}: {name} with {seconds(values[first])}, and nothing that differs to compare with"
    other = (found["ties"] or list(found["over"]))[0]
    less, most, least = (100 * (1 - found["over"][other][key]) for key in ("mean", "low", "high"))
    ends = f"95 % interval {least:.3g} to {most:.3g} %" if np.isfinite(least) else "too few requests for an interval"
    lead = f"{name} wins with" if found["clear"] else f"no clear winner, {name} is least with"
    words = f"{what}: {lead} {seconds(values[first])}, {less:.3g} % below {other} ({ends})"
    rest = len(found["ties"]) - 1
    return words + (f", and {rest} more cannot be told from it" if rest > 0 else "")


def ratio_of_means(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """Return mean(a) / mean(b) of latencies of the same requests, each `(n,)`, with its interval.

    The logarithm of the ratio has, to first order, the error of the mean of a / mean(a) - b / mean(b), so the interval
    is by batch means of that and never goes below 0.
    """
    ratio = float(a.mean() / b.mean())
    error = cautious_batch_means(a / a.mean() - b / b.mean(), LEVEL, warmup=0)
    half = (error.high - error.low) / 2
    return {"mean": ratio, "low": ratio * float(np.exp(-half)), "high": ratio * float(np.exp(half))}


WORDS = {
    "wait": "wait",
    "ttft": "time to first token",
    "tpot": "time per output token",
    "longest_gap": "longest gap between tokens",
    "e2e": "end-to-end time",
    "normalised_latency": "time per token end to end",
}
KINDS = ("mean", "p99")


def _p99(latency: np.ndarray) -> float:
    return float(np.percentile(latency, 99))


_POINT = {"mean": lambda latency: float(latency.mean()), "p99": _p99}


def _of_mean(latency: np.ndarray) -> dict[str, float]:
    mean, low, high, *_ = cautious_batch_means(latency, LEVEL, warmup=0)
    return {"mean": mean, "low": low, "high": high}


def _between(point: float, table: np.ndarray, redrawn: Redrawn) -> dict[str, float]:
    low, high = interval(table, redrawn.counts)
    return {"mean": point, "low": low, "high": high}


def seconds(value: float) -> str:
    """Return a time in s with three digits, in ms where it is short."""
    if abs(value) >= 100:
        return f"{value:,.0f} s"
    return f"{value:.3g} s" if abs(value) >= 1 or value == 0 else f"{1e3 * value:.3g} ms"

"""How each class and each tenant fares in a serving run, and how evenly tenants are served.

What a tenant has been given is counted as `vtc` counts it: 1 for each token of a prompt, when a request is first
scheduled, and 2 for each output token, taken to come evenly between the first and the last. Source: Sheng et al.,
"Fairness in Serving Large Language Models", OSDI 2024.
"""

from typing import Any

import numpy as np

from llmqueue_gym.systems.run import Run

WINDOW = 60.0  # s, as in the paper
PER_PROMPT_TOKEN, PER_OUTPUT_TOKEN = 1.0, 2.0
COLUMNS = {"class": "klass", "tenant": "tenant"}


def by_class_and_tenant(run: Run, met: np.ndarray, kept: slice, span: float) -> dict[str, Any]:
    """Return rows for classes and for tenants, each only where there are several.

    Args:
        run: the run.
        met: which requests are done and within the objectives `(n,)`.
        kept: the requests after warm-up, of which latencies and shares are.
        span: from the first arrival to the end of the run, s.

    Returns:
        `by_class` and `by_tenant`, lists of rows, see `group`; and where there are several tenants `tenant_jain`,
        Jain's index of their mean normalised latencies, and `service_difference`, see there.
    """
    found: dict[str, Any] = {}
    for what, column in COLUMNS.items():
        numbers = np.unique(run.jobs[column])
        if len(numbers) > 1:
            told = getattr(run.system, "request_classes", ()) if what == "class" else ()
            names = dict(enumerate(one.name for one in told))
            rows = [group(run, run.jobs[column] == k, met, kept, span) for k in numbers]
            found[f"by_{what}"] = [
                {what: names.get(int(k), int(k)), **row} for k, row in zip(numbers, rows, strict=True)
            ]
    if "by_tenant" in found:
        found["tenant_jain"] = jain(np.array([row["normalised_latency"] for row in found["by_tenant"]]))
        found["service_difference"] = service_difference(run)
    return found


def group(run: Run, mine: np.ndarray, met: np.ndarray, kept: slice, span: float) -> dict[str, Any]:
    """Return how some requests fare.

    Args:
        run: the run.
        mine: which ones `(n,)`.
        met: as in `by_class_and_tenant`.
        kept: likewise.
        span: likewise.

    Returns:
        `requests` and `done`; `goodput`, requests/s within the objectives, and `attainment`, the share that is;
        `in_time`, the share of those with a deadline that meets it; mean and p99 of the times to the first and to the
        last token, s, and the mean normalised latency, s a token, of those that are done; `longest_wait`, s until
        first scheduled or, if never, until the run ended: who starves shows here; `service`, weighted tokens. What
        there is nothing of is NaN.
    """
    late = np.zeros(len(run), bool)
    late[kept] = mine[kept]
    arrival, deadline, done = run.jobs["arrival"], run.jobs["deadline"], run.done & late
    ttft, e2e = run.outcome["first_token"] - arrival, run.outcome["completion"] - arrival
    due = late & np.isfinite(deadline)
    clock, scheduled = run.totals["clock"], run.outcome["scheduled"]
    came = mine & (arrival <= clock)
    waits = (np.where(np.isnan(scheduled), clock, scheduled) - arrival)[came]
    given = PER_PROMPT_TOKEN * run.jobs["prompt"] * ~np.isnan(scheduled) + PER_OUTPUT_TOKEN * run.jobs["generated"]
    return {
        "requests": int(mine.sum()),
        "done": int((run.done & mine).sum()),
        "goodput": float((met & mine).sum() / span),
        "attainment": _mean(met[late]),
        "in_time": _mean(in_time(run)[due]),
        **{f"ttft_{name}": value for name, value in _mean_and_p99(ttft[done]).items()},
        **{f"e2e_{name}": value for name, value in _mean_and_p99(e2e[done]).items()},
        "normalised_latency": _mean(e2e[done] / run.jobs["generated"][done]),
        "longest_wait": float(waits.max()) if len(waits) else np.nan,
        "service": float(given[mine].sum()),
    }


def in_time(run: Run) -> np.ndarray:
    """Return which requests have their last token by their deadline `(n,)`, or the first one if their class says so."""
    first = np.array([one.token == "ttft" for one in getattr(run.system, "request_classes", ())] or [False])
    of_first = first[np.minimum(run.jobs["klass"], len(first) - 1)]
    return np.where(of_first, run.outcome["first_token"], run.outcome["completion"]) <= run.jobs["deadline"]


def jain(values: np.ndarray) -> float:
    """Return Jain's index of what each gets `(k,)`: 1 where all get the same, 1/k where one gets all."""
    return float(values.sum() ** 2 / (len(values) * (values**2).sum()))


def service_difference(run: Run, window: float = WINDOW) -> float:
    """Return by how much more one tenant was given than another at most, in a window in which both always had to wait.

    Args:
        run: the run.
        window: s; windows follow one another from the first arrival on, and are as long as the run at most.

    Returns:
        weighted tokens; NaN where no two tenants had somebody waiting throughout a window.
    """
    start, end = float(run.jobs["arrival"].min()), run.totals["clock"]
    edges = start + (min(window, end - start)) * np.arange(int((end - start) // min(window, end - start)) + 1)
    tenants = np.unique(run.jobs["tenant"])
    given, waits = np.empty((len(tenants), len(edges) - 1)), np.empty((len(tenants), len(edges) - 1), bool)
    for k, tenant in enumerate(tenants):
        mine = run.jobs["tenant"] == tenant
        given[k], waits[k] = np.diff(service_by(run, mine, edges)), waits_throughout(run, mine, edges)
    most = np.where(waits, given, -np.inf).max(axis=0)
    least = np.where(waits, given, np.inf).min(axis=0)
    several = waits.sum(axis=0) > 1
    return float((most - least)[several].max()) if several.any() else np.nan


def service_by(run: Run, mine: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return the weighted tokens that some requests `(n,)` have been given by sorted times `(k,)`, s."""
    scheduled, first = run.outcome["scheduled"][mine], run.outcome["first_token"][mine]
    prompts, outputs, last = (run.jobs[name][mine] for name in ("prompt", "generated", "last_token"))
    began, wrote = ~np.isnan(scheduled), ~np.isnan(first) & (outputs > 0)
    first, last, outputs = first[wrote], last[wrote], outputs[wrote]
    many = outputs > 1
    slope = (outputs[many] - 1) / np.maximum(last[many] - first[many], 1e-12)
    tokens = _steps(first, np.ones(len(first)), times)
    tokens += _ramps(first[many], slope, times) - _ramps(last[many], slope, times)
    return PER_PROMPT_TOKEN * _steps(scheduled[began], prompts[began], times) + PER_OUTPUT_TOKEN * tokens


def waits_throughout(run: Run, mine: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return whether one of some requests `(n,)` waits at all times between two edges `(k + 1,)`, `(k,)`."""
    begin, end = run.jobs["arrival"][mine], run.outcome["scheduled"][mine]
    order = np.argsort(begin, kind="stable")
    begin, end = begin[order], np.where(np.isnan(end), np.inf, end)[order]
    reach = np.maximum.accumulate(end)
    fresh = np.concatenate([[True], begin[1:] > reach[:-1]])  # where nobody waited before
    spell = np.maximum(np.searchsorted(begin[fresh], edges[:-1], side="right") - 1, 0)
    last = np.concatenate([np.flatnonzero(fresh)[1:], [len(begin)]]) - 1
    return (begin[fresh][spell] <= edges[:-1]) & (reach[last][spell] >= edges[1:])


def _steps(at: np.ndarray, heights: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return the sum of the steps up to each time."""
    order = np.argsort(at, kind="stable")
    sums = np.concatenate([[0.0], np.cumsum(heights[order])])
    return sums[np.searchsorted(at[order], times, side="right")]


def _ramps(at: np.ndarray, slopes: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return the sum at each time of lines that rise from 0 from a point on."""
    order = np.argsort(at, kind="stable")
    k = np.searchsorted(at[order], times, side="right")
    slope, height = (np.concatenate([[0.0], np.cumsum(v[order])])[k] for v in (slopes, slopes * at))
    return slope * times - height


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else np.nan


def _mean_and_p99(values: np.ndarray) -> dict[str, float]:
    return {"mean": _mean(values), "p99": float(np.percentile(values, 99)) if len(values) else np.nan}

"""Policies over loads: from which load on does it matter who is served first?

At each load all policies have the very same requests, in `RUNS` runs of other requests each: of a law they are drawn
anew, of a recording they are other windows. The ratio of a policy's mean to the base's has an interval by Student's t
over these runs, of its logarithm; it holds in overload, too, where times grow through a run. An order matters from a
load on where there, and at all higher loads of the sweep, that interval lies wholly below 1 less a margin: chance alone
puts it there once in forty times at most, and a gain that is smaller is not worth the change.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.statistics import across_seeds
from llmqueue_gym.systems import Run, Scenario

RUNS = 8
SHORTEST = 50  # requests of a run
LATE = 1.5  # times as long as the base, after which a run ends: who is not done then has fallen behind
Progress = Callable[[int, int], None]


def sweep(
    scenario: Scenario,
    policies: Sequence[str],
    loads: Sequence[float],
    matters: float,
    seed: int = 0,
    warmup: float = 0.0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Play policies at several loads.

    Args:
        scenario: where; its own load does not matter, and its requests are divided among the runs.
        policies: specs; the base of the system joins where it is missing.
        loads: shares of what first come first served sustains.
        matters: by how much less than the base's a mean has to be.
        seed: of the first run.
        warmup: share of the requests of a run, from the first on, that is left out.
        progress: called with (runs done, all runs).

    Returns:
        `loads`; `ratios`, the mean over the base's at each load, with its interval, by policy, None where a policy is
        not done; `base`, means of the base, s; `from_load`, the load from which on each matters, None where there is
        none; `first`, the least of these; `matters`; and `requests` and `runs`, of which each number is made.
    """
    base = scenario.system.base
    others = [name for name in policies if name != base]
    sustained = scenario.system.sustains(scenario).rate  # type: ignore[attr-defined]
    count = max(int(scenario.n_jobs) // RUNS, SHORTEST)
    ratios: dict[str, list[dict[str, float] | None]] = {name: [] for name in (base, *others)}
    means, done = [], 0
    for load in loads:
        at = replace(scenario, load=None, rate=load * sustained, n_jobs=count)
        behind = {name for name in others if ratios[name] and ratios[name][-1] is None}  # and at a higher load, too
        found: dict[str, list[float]] = {name: [] for name in (base, *others)}
        for each in range(seed, seed + RUNS):
            plain = _run(at, base, each)
            if not plain.done.all():
                raise BadInput(f"{base} leaves requests undone at load {load:g}, so there is nothing to compare with")
            found[base].append(_mean(plain, warmup))
            late = _until(at, plain)
            for name in others:
                if name not in behind:
                    run = _run(late, name, each)
                    behind |= set() if run.done.all() else {name}
                    found[name].append(_mean(run, warmup))
            done += 1
            if progress is not None:
                progress(done, RUNS * len(loads))
        means.append(float(np.mean(found[base])))
        for name, values in found.items():
            ratios[name].append(None if name in behind else _ratio(values, found[base]))
    told = {name: from_load(rows, loads, matters) for name, rows in ratios.items()}
    first = min((load for load in told.values() if load is not None), default=None)
    found_at = {"loads": list(loads), "ratios": ratios, "base": means, "from_load": told, "first": first}
    return {**found_at, "matters": matters, "requests": count, "runs": RUNS}


def from_load(rows: Sequence[Mapping[str, float] | None], loads: Sequence[float], matters: float) -> float | None:
    """Return the load from which on an order matters, or None.

    Args:
        rows: its mean over the base's at each load, with an interval; None where it is not done.
        loads: ascending.
        matters: by how much less than 1 the upper end has to be.
    """
    least = None
    for row, load in zip(reversed(rows), reversed(loads), strict=True):
        if row is None or not row["high"] < 1 - matters:
            break
        least = load
    return least


def until_late(scenario: Scenario, seed: int) -> Scenario:
    """Return a scenario whose runs end when they take `LATE` times as long as the base, whatever is left."""
    return _until(scenario, _run(scenario, scenario.system.base, seed))


def _until(scenario: Scenario, run: Run) -> Scenario:
    last = float(run.jobs["arrival"].max())
    more: dict[str, Any] = {"cut_off": LATE * run.totals["clock"] / last} if last > 0 else {}
    return replace(scenario, **more)


def _run(scenario: Scenario, policy: str, seed: int) -> Run:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a load of 1 or more, which is what is asked about
        return scenario.simulate(policy, seed)


def _mean(run: Run, warmup: float) -> float:
    return float(run.response_times[int(warmup * len(run)) :].mean())


def _ratio(values: Sequence[float], plain: Sequence[float]) -> dict[str, float]:
    """Return the geometric mean of ratios, and its interval."""
    found = across_seeds(np.log(np.array(values) / np.array(plain)))
    return {key: float(np.exp(getattr(found, key))) for key in ("mean", "low", "high")}

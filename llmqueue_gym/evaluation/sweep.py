"""Policies over loads: from which load on does it matter who is served first?

At each load all policies have the very same requests, those of one seed at another pace, so means are compared request
by request. An order matters from a load on where there, and at all higher loads of the sweep, the interval of its mean
over the base's lies wholly below 1 less a margin: chance alone puts it there once in forty times at most, and a gain
that is smaller is not worth the change.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.paired import ratio_of_means
from llmqueue_gym.evaluation.statistics import cautious_batch_means
from llmqueue_gym.systems import Run, Scenario

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
        scenario: where; its own load does not matter.
        policies: specs, the base among them.
        loads: shares of what first come first served sustains.
        matters: by how much less than the base's a mean has to be.
        seed: of the requests.
        warmup: share of the requests, from the first on, that is left out.
        progress: called with (runs done, all runs).

    Returns:
        `loads`; `ratios`, the mean over the base's at each load, with its interval, by policy, None where a policy is
        not done; `base`, means of the base, s; `from_load`, the load from which on each matters, None where there is
        none; `first`, the least of these.
    """
    base = scenario.system.base
    ratios: dict[str, list[dict[str, float] | None]] = {name: [] for name in policies}
    means, done = [], 0
    for load in loads:
        at, latencies = until_late(replace(scenario, load=load, rate=None), seed), {}
        for name in [base, *(name for name in policies if name != base)]:
            behind = bool(ratios[name]) and ratios[name][-1] is None  # and it falls behind at a higher load, too
            latencies[name] = None if behind else _latencies(_run(at, name, seed), warmup)
            done += 1
            if progress is not None:
                progress(done, len(policies) * len(loads))
        plain = latencies[base]
        if plain is None:
            raise BadInput(f"{base} leaves requests undone at load {load:g}, so there is nothing to compare with")
        means.append(float(plain.mean()))
        for name, values in latencies.items():
            ratios[name].append(None if values is None else ratio_of_means(values, plain, _mean))
    told = {name: from_load(rows, loads, matters) for name, rows in ratios.items()}
    first = min((load for load in told.values() if load is not None), default=None)
    return {
        "loads": list(loads),
        "ratios": ratios,
        "base": means,
        "from_load": told,
        "first": first,
        "matters": matters,
    }


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
    run = _run(scenario, scenario.system.base, seed)
    last = float(run.jobs["arrival"].max())
    return replace(scenario, cut_off=LATE * run.totals["clock"] / last) if last > 0 else scenario  # type: ignore[call-arg]


def _run(scenario: Scenario, policy: str, seed: int) -> Run:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a load of 1 or more, which is what is asked about
        return scenario.simulate(policy, seed)


def _latencies(run: Run, warmup: float) -> np.ndarray | None:
    return run.response_times[int(warmup * len(run)) :] if run.done.all() else None


def _mean(values: np.ndarray) -> Any:
    return cautious_batch_means(values, warmup=0)

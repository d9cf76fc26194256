"""The factor between two systems on the same requests: what is measured of a run, over loads or at the same latency.

For `survey_headlines_llm.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmqueue_gym.evaluation import across_seeds
from llmqueue_gym.evaluation.serving import per_request, serve
from llmqueue_gym.evaluation.watch import watch
from llmqueue_gym.systems import Drawn, Run, Scenario
from llmqueue_gym.systems.capacity import capacity, recorded_rate, stretched
from llmqueue_gym.workloads.requests import RequestWorkload

WARMUP = 0.1  # share of the requests that is left out of latencies
LOADS = (0.5, 0.7, 0.8, 0.9, 0.95, 1.1, 1.5)

Factors = dict[str, tuple[float, list[float]]]  # setting -> (load, NaN where there is none; a factor for each seed)
Metric = Callable[[Run], float]


@dataclass(frozen=True)
class Side:
    """One of the two systems compared: its policy, rule set and predictor."""

    policy: str
    rules: str
    predictor: str = "none"

    def scenario(self, n: int, **where: Any) -> Scenario:
        """Return its scenario for n requests."""
        return Scenario("replica", n_jobs=n, rules=self.rules, predictor=self.predictor, **where)


def mean_of(latency: str) -> Metric:
    """Return the mean of a latency as a metric of a run; NaN where something was left undone."""
    return lambda served: float(_kept(served, latency).mean()) if served.done.all() else np.nan


def tail_of(latency: str, q: float) -> Metric:
    """Return a percentile of a latency as a metric of a run; NaN where something was left undone."""
    return lambda served: float(np.nanpercentile(_kept(served, latency), q)) if served.done.all() else np.nan


def _kept(served: Run, latency: str) -> np.ndarray:
    values = per_request(served)[latency]
    return values[int(WARMUP * len(values)) :]


def recomputed(served: Run) -> float:
    """Return the tokens that were computed again, plus one so that a run without any has a factor."""
    return float(served.outcome["recomputed"].sum()) + 1.0


def at_once(lengths: str, profile: str, max_tokens: int | None = None) -> dict[str, Any]:
    """Return where all requests are there from the start, by the names of a scenario's fields."""
    return {"workload": RequestWorkload(lengths, np.inf, max_tokens=max_tokens), "profile": profile}


def compare(
    where: dict[str, Any], old: Side, new: Side, metric: Metric, n: int, seeds: int, loads: Any = LOADS
) -> Factors:
    """Return the old system's number over the new one's at shares of the old one's capacity.

    Args:
        where: lengths, their longest and the profile, by the names of a scenario's fields.
        old: one system.
        new: the other.
        metric: of a run.
        n: requests of a run.
        seeds: runs.
        loads: one that is a string such as "20/s" is a rate.
    """
    top = capacity(old.scenario(n, rate=1.0, **where))
    found: Factors = {}
    for given in loads:
        load = float(given[:-2]) / top.rate if isinstance(given, str) else float(given)
        label = f"{given} (load {load:.2f})" if isinstance(given, str) else f"load {load:g}"
        sides = [(side.scenario(n, rate=load * top.rate_scale, **where), side.policy) for side in (old, new)]
        numbers = [[metric(scenario.simulate(policy, seed)) for scenario, policy in sides] for seed in range(seeds)]
        found[label] = (load, [before / after for before, after in numbers])
    return found


def named(prefix: str, found: Factors) -> Factors:
    """Return factors with the name of the set-up before each setting."""
    return {f"{prefix}, {label}": value for label, value in found.items()}


def sustained(given: Drawn, profile: str, side: Side, level: float, guess: float) -> float:
    """Return the largest rate at which the mean latency per token stays within a level, by bisection to 1 %.

    Args:
        given: requests.
        profile: cost profile.
        side: the system.
        level: s a token.
        guess: requests/s to start from.

    Returns:
        requests/s; NaN where the level holds even if all come nearly at once, as a longer run would have a limit.
    """
    rate = recorded_rate(given.work)

    def holds(asked: float) -> bool:
        run = serve(given._replace(work=stretched(given.work, asked / rate)), side.policy, profile, side.rules)
        return bool(run.done.all() and mean_of("normalised_latency")(run) <= level)

    low = high = guess
    while not holds(low):
        low, high = 0.7 * low, low
    while low == high or holds(high):
        low, high = high, 1.4 * high
        if high > 1e4:
            return np.nan
    while high / low > 1.01:
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def gaps(given: Drawn, profile: str, rules: str) -> np.ndarray:
    """Return the time between every two successive tokens of a request, s; for runs without preemptions."""
    left = given.work["prompt"].astype(int)
    last = np.full(len(left), np.nan)
    found: list[float] = []
    tokens: list[int] = []  # rows that get a token at the end of the iteration before
    for call in watch(given, "fcfs", profile, rules):
        if call.preempted:
            raise AssertionError("a preempted request computes tokens again, which this count does not know")
        found += (call.clock - last[tokens])[~np.isnan(last[tokens])].tolist()
        last[tokens] = call.clock
        for row, count in call.scheduled:
            left[row] -= count
        tokens = [row for row, _ in call.scheduled if left[row] <= 0]
    return np.array(found)


def interval(factors: list[float]) -> tuple[float, float, float]:
    """Return a factor and its 95 % interval over seeds, by logarithms; NaN where a seed has none."""
    if not np.isfinite(factors).all():
        return np.nan, np.nan, np.nan
    mean, low, high, *_ = across_seeds(np.log(factors))
    return float(np.exp(mean)), float(np.exp(low)), float(np.exp(high))

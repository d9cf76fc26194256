"""What theorems say of each kind of system of jobs, as rows of `systems.known`; most are for Poisson arrivals."""

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.systems.known import BLIND_FLOOR, FLOOR, Row, load_of, poisson, row


def one_server(policy: Any, scenario: Any) -> list[Row]:
    """Return what is known of one server."""
    if not poisson(scenario):
        return []
    return _collect(lambda: _single(policy, scenario, "M/G/1"))


def central(policy: Any, scenario: Any) -> list[Row]:
    """Return what is known of one queue for several servers."""
    if not poisson(scenario):
        return []
    if scenario.system.patience is not None:
        return _collect(lambda: _impatient(policy, scenario))
    return _central(policy, scenario) or _collect(lambda: _floor(policy, scenario))


def dispatch(dispatcher: Any, scenario: Any) -> list[Row]:
    """Return what is known of a queue for each server."""
    if not poisson(scenario):
        return []
    order = scenario.system.discipline
    return _dispatched(order, scenario, dispatcher) or _collect(lambda: _floor(order, scenario, dispatcher))


def _central(policy: Any, scenario: Any) -> list[Row]:
    """Return what is known of one queue for all servers."""
    from llmqueue_gym.theory import MMk, erlang_b
    from llmqueue_gym.theory.many_servers import fcfs_wait, fcfs_wait_bound, gittins_bracket, srpt_bracket
    from llmqueue_gym.theory.unequal_servers import fastest_first

    law, k, load, speed = scenario.law, scenario.system.servers, load_of(scenario), _one_speed(scenario)
    mean = law.mean / (speed or 1)
    fcfs, blind = policy.name == "fcfs", _blind(policy)
    if k == 1:
        return _collect(lambda: _single(policy, scenario, "M/G/1"))
    if speed and blind and _exponential(law):
        queue = MMk(k, load, mean)
        same = "Erlang C, M/M/k" if fcfs else "Erlang C, M/M/k: as for every order that is blind to sizes"
        rows = [row(queue.mean_response_time, "exact", same)]
        if not fcfs:
            return rows
        rows.append(row(queue.mean_wait, "exact", same, "mean_wait"))
        rows.append(row(queue.delay_probability, "exact", same, "delay_probability"))
        return [*rows, row(erlang_b(k, load * k), "exact", "Erlang B, where nobody may wait", "blocking_probability")]
    if fcfs and _exponential(law) and not speed:
        rates, source = scenario.system.server_speeds / law.mean, "Gumbel 1960, the fastest idle server first"
        return _collect(lambda: [row(fastest_first(rates, scenario.source.rate).mean_response_time, "exact", source)])
    if not speed:
        return []
    if fcfs:
        wait, most = "Kimura 1986, two moments", "as of random queues, Wolff 1977"
        return [
            *_collect(lambda: [row((fcfs_wait(law, load, k) + law.mean) / speed, "approximation", wait)]),
            *_collect(lambda: [row((fcfs_wait_bound(law, load, k) + law.mean) / speed, "upper bound", most)]),
        ]
    if policy.name == "srpt" or (
        policy.name == "sprpt" and scenario.system.predictor(scenario, policy).name == "exact"
    ):
        return _collect(lambda: _bracket(srpt_bracket(law, load, k), speed))
    if policy.name in ("gittins", "gittins-blind"):
        return _collect(
            lambda: _bracket(gittins_bracket(policy, law, scenario.system.predictor(scenario, policy), load, k), speed)
        )
    return []


def _dispatched(policy: Any, scenario: Any, dispatcher: Any) -> list[Row]:
    """Return what is known of a queue for each server."""
    from llmqueue_gym.theory.power_of_d import PowerOfD

    speed, n, d = _one_speed(scenario), scenario.system.servers, dispatcher.d
    if not speed:
        return []
    if dispatcher.name == "round-robin" and policy.name == "fcfs" and _exponential(scenario.law):
        mean = in_turn(load_of(scenario), n) * scenario.law.mean / speed
        return [row(mean, "exact", "GI/M/1 with Erlang gaps")]
    if n == 1 or dispatcher.name == "random" or (dispatcher.name == "power-of-d" and d == 1):
        return _collect(lambda: _single(policy, scenario, "each queue is an M/G/1"))
    if dispatcher.name != "power-of-d" or not (_blind(policy) and _exponential(scenario.law)):
        return []
    queues = PowerOfD(load_of(scenario), d, scenario.law.mean / speed)
    refined = f"the same with its 1/n term, n = {n:,}"
    return [
        row(queues.mean_response_time(), "limit of many servers", "fixed point, Mitzenmacher 2001"),
        row(queues.mean_response_time(n), "approximation", refined),
    ]


def _impatient(policy: Any, scenario: Any) -> list[Row]:
    """Return what is known of jobs that give up."""
    from llmqueue_gym.theory.impatience import NoisyOverload, erlang_a, fluid_fcfs

    law, patience, load, rate = scenario.law, scenario.system.patience_law, load_of(scenario), scenario.source.rate
    speed = _one_speed(scenario)
    if not speed or policy.preemptive:
        return []
    # Patience, too, has no memory, so who waits does not matter to how many.
    if policy.name in ("fcfs", "lcfs") and _exponential(law) and _exponential(patience):
        found = erlang_a(scenario.system.servers, load, law.mean / speed, patience.mean)
        return _served(1 - found.abandoned, rate, "exact", "Erlang A, M/M/s+M")
    kind, source = "limit of many servers", "fluid limit, Whitt 2006"
    if _blind(policy):
        return _served(fluid_fcfs(load).served, rate, kind, source)
    informed, source = (
        NoisyOverload(law, scenario.system.predictor(scenario, policy), load),
        "fluid limit, Dong and Ibrahim 2024",
    )
    if policy.name in ("spjf", "sjf"):
        return _served(informed.noisy_sjf().served, rate, kind, source)
    if policy.name == "two-class":
        return _served(informed.two_class(policy.params[0]).served, rate, kind, source)
    return _served(informed.best().served, rate, "upper bound, many servers", f"{source}: no rule serves more")


def packing(policy: Any, scenario: Any) -> list[Row]:
    """Return what is known of a packing policy."""
    from llmqueue_gym.theory.erlang import MMk
    from llmqueue_gym.theory.packing import pooled

    k, needs, laws = scenario.system.servers, scenario.system.class_needs, scenario.system.laws(scenario)
    random = poisson(scenario)
    alike = random and len(set(needs)) == 1 and len(set(laws)) == 1
    if alike and k % needs[0] == 0 and policy.name in ("fcfs", "server-filling"):
        places = k // needs[0]  # as many jobs run at once, all of one law
        if _exponential(laws[0]):
            queue = MMk(places, load_of(scenario), laws[0].mean)
            return [row(queue.mean_response_time, "exact", f"Erlang C, M/M/k of {places}")]
    rows = []
    if random and policy.name == "server-filling" and all(n & (n - 1) == 0 for n in (k, *needs)):

        def pool() -> list[Row]:
            found = pooled(k, scenario.system.class_shares, needs, laws, load_of(scenario))
            source = "one server of k-fold speed, Grosof et al. 2022"
            return [
                row(found.mean_response_time, "limit of load 1, as a ratio", source),
                row(found.response_with_durations, "approximation", "the pool's wait, and the real durations"),
            ]

        rows = _collect(pool)
    duration = sum(share * law.mean for share, law in zip(scenario.system.class_shares, laws, strict=True))
    return rows or [row(duration, FLOOR, "mean duration")]


def moldable(policy: Any, scenario: Any) -> list[Row]:
    """Return what is known of a policy of moldable jobs."""
    system, laws = scenario.system, scenario.system.laws(scenario)
    k, shares, curves = system.servers, system.class_shares, system.class_curves
    width = {"one-server": 1, "all-servers": k, "fixed-width": int(policy.params[0]) if policy.params else 0}
    given = width.get(policy.name, 0)
    rows = []
    if policy.window == 1 and 1 <= given <= k and poisson(scenario):
        speeds = [curve.factors(k)[given - 1] for curve in curves]
        rows = _collect(lambda: _alike(k // given, laws, shares, speeds, scenario.source.rate))
    parts = zip(shares, laws, curves, strict=True)
    least = sum(share * law.mean / curve.factors(k).max() for share, law, curve in parts)
    return rows or [row(least, FLOOR, "mean of the least times")]


def _alike(places: int, laws: Any, shares: Any, speeds: Any, rate: float) -> list[Row]:
    """Return what is known of jobs of some classes in order of arrival, as many at once as there are places."""
    from llmqueue_gym.theory.erlang import MMk, stable_load

    means = [law.mean / speed for law, speed in zip(laws, speeds, strict=True)]
    mean = float(np.dot(shares, means))
    load = stable_load(rate * mean / places)
    if np.ptp(means) <= 1e-12 * mean and all(map(_exponential, laws)):
        return [row(MMk(places, load, mean).mean_response_time, "exact", f"Erlang C, M/M/k of {places}")]
    if places > 1:
        return []
    second = sum(s * law.moment(2) / v**2 for s, law, v in zip(shares, laws, speeds, strict=True))
    return [row(mean + rate * second / (2 * (1 - load)), "exact", "M/G/1, Pollaczek-Khinchine")]


def _floor(policy: Any, scenario: Any, dispatcher: Any = None) -> list[Row]:
    """Return what no policy is below that knows as much of the sizes."""
    from llmqueue_gym.theory.many_servers import srpt_bracket
    from llmqueue_gym.theory.unequal_servers import shared_fastest

    law, speeds = scenario.law, scenario.system.server_speeds
    if _blind(policy) and _exponential(law) and not (dispatcher is not None and dispatcher.uses_predictions):
        rates = speeds / law.mean
        source = "one queue for all, the fastest servers busy"
        return [row(shared_fastest(rates, scenario.source.rate).mean_response_time, BLIND_FLOOR, source)]
    fast = srpt_bracket(law, load_of(scenario), 1).low / scenario.system.capacity
    return [row(max(fast, law.mean / speeds[0]), FLOOR, "SRPT on one server of the total speed, and mean size")]


def _single(policy: Any, scenario: Any, source: str) -> list[Row]:
    from llmqueue_gym.theory import analyse

    predictor = scenario.system.predictor(scenario, policy)
    found = analyse(policy, scenario.law, predictor, load_of(scenario), by_size=False)
    kind, words = "exact", f"{source}, {found.method}"
    if found.rough:
        kind, words = "approximation", f"{words}; its grids differ by {found.grid_gap:.1%}"
    return [row(found.mean_response_time / scenario.system.server_speeds[0], kind, words)]


def in_turn(load: float, queues: int) -> float:
    """Return the mean response time of queues that get Poisson arrivals in turn, exponential sizes of mean 1, FCFS.

    A queue is a GI/M/1 whose gaps are sums of as many exponential ones: 1 / (1 - sigma), where sigma is the transform
    of a gap at 1 - sigma (Kleinrock, Queueing Systems I, 1975, chapter 6).
    """
    from scipy.optimize import brentq

    rate = load * queues

    def gap(sigma: float) -> float:
        return float(np.exp(-queues * np.log1p((1 - sigma) / rate)))

    sigma = brentq(lambda s: gap(s) - s, 0.0, 1 - 1e-3 * (1 - load), xtol=1e-13)
    return 1 / (1 - float(sigma))


def _bracket(found: Any, speed: float) -> list[Row]:
    low = row(found.low / speed, "lower bound", "the same on one server of the total speed, and mean size")
    quoted = ", its constant quoted from memory" if found.source.startswith("Scully") else ""
    return [low, row(found.high / speed, "upper bound", found.source + quoted)]


def _served(share: float, rate: float, kind: str, source: str) -> list[Row]:
    return [row(share, kind, source, "served"), row(share * rate, kind, source, "throughput")]


def _collect(find: Callable[[], list[Row]]) -> list[Row]:
    """Return the rows, or none where a theorem does not cover the case or its numbers are out of reach."""
    with contextlib.suppress(BadInput):
        return find()
    return []


def _blind(policy: Any) -> bool:
    return not policy.uses_predictions


def _exponential(law: Any) -> bool:
    return type(law).__name__ == "Exponential"


def _one_speed(scenario: Any) -> float | None:
    """Return the speed of all servers, or None where they differ."""
    speeds = scenario.system.server_speeds
    return float(speeds[0]) if speeds[0] == speeds[-1] else None

"""What theory knows of several servers, as rows to hold a simulation against: an exact value, a limit, or a bound.

A row has the metric, its value, its kind and what it rests on. All of it is for Poisson arrivals. A kind that is not
"exact" is not to be mistaken for it: a simulation need not agree with a limit, and stays on one side of a bound.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llmqueue_gym.errors import BadInput

Row = dict[str, Any]
FLOOR, BLIND_FLOOR = "floor of every policy", "floor without sizes"
FLOORS = (FLOOR, BLIND_FLOOR)  # said of all policies, so they tell little of the one that was asked for


def row(value: float, kind: str, source: str, metric: str = "mean_response_time") -> Row:
    """Return one thing that is known."""
    return {"metric": metric, "value": float(value), "kind": kind, "source": source}


def beside(rows: Sequence[Row], intervals: Mapping[str, Sequence[float]]) -> list[Row]:
    """Return the rows of what was simulated; an exact value tells too whether the 95 % interval holds it."""
    kept = [{**known} for known in rows if known["metric"] in intervals]
    for known in kept:
        low, high = intervals[known["metric"]]
        if known["kind"] == "exact" and low == low:
            known["in_ci95"] = bool(low <= known["value"] <= high)
    return kept


def references(policy: Any, scenario: Any, dispatcher: Any = None) -> list[Row]:
    """Return what is known of a policy in a `ClusterScenario`; nothing where arrivals are not Poisson."""
    if str(scenario.arrivals) != "poisson":
        return []
    if scenario.patience is not None:
        return _collect(lambda: _impatient(policy, scenario))
    rows = _central(policy, scenario) if dispatcher is None else _dispatched(policy, scenario, dispatcher)
    return rows or _collect(lambda: _floor(policy, scenario, dispatcher))


def best_known(rows: Sequence[Row]) -> Row | None:
    """Return the best value among the rows, under its metric, and its kind as `method`; None if all are floors.

    Where bounds alone are known, `bounds` holds the two ends of the metric `bounded`; one that is not known is None.
    """
    told = [known for known in rows if known["kind"] not in FLOORS]
    if not told:
        return None
    values = [known for known in told if "bound" not in known["kind"]]
    best = next((known for known in values if known["kind"] == "exact"), values[-1] if values else None)
    if best is not None:
        return {known["metric"]: known["value"] for known in values if known["kind"] == best["kind"]} | {
            "method": best["kind"]
        }
    ends = {known["kind"].partition(" ")[0]: known["value"] for known in told if known["metric"] == told[0]["metric"]}
    return {"bounded": told[0]["metric"], "bounds": [ends.get("lower"), ends.get("upper")], "method": "bounds"}


def unknown(policy: str, words: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """Return the line that says that a case is not known, and what is."""
    if words.get("needs"):
        known = "known are the pool of server-filling, and fcfs where all needs are equal and sizes exponential"
    elif words["patience"]:
        known = "known are orders without preemption on equal servers: fcfs, spjf, sjf, two-class"
    elif words["dispatch"]:
        known = "known are random with any policy, and power-of-d with fcfs and exponential sizes, on equal servers"
    else:
        known = "known are fcfs, any order blind to sizes if these are exponential, and bounds for srpt and gittins"
    floor = f"no policy is below {rows[0]['value']:.5g} s; " if rows else ""
    where = f"{policy} with {words['dispatch']}" if words.get("dispatch") else policy
    return f"theory does not know {where} on {words['servers']} servers: {floor}{known}"


def _central(policy: Any, scenario: Any) -> list[Row]:
    """Return what is known of one queue for all servers."""
    from llmqueue_gym.theory import MMk, erlang_b
    from llmqueue_gym.theory.many_servers import fcfs_wait, fcfs_wait_bound, gittins_bracket, srpt_bracket
    from llmqueue_gym.theory.unequal_servers import fastest_first

    law, k, load, speed = scenario.law, scenario.servers, scenario.load, _one_speed(scenario)
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
        rates, source = scenario.server_speeds / law.mean, "Gumbel 1960, the fastest idle server first"
        return _collect(lambda: [row(fastest_first(rates, scenario.rate).mean_response_time, "exact", source)])
    if not speed:
        return []
    if fcfs:
        wait, most = "Kimura 1986, two moments", "as of random queues, Wolff 1977"
        return [
            *_collect(lambda: [row((fcfs_wait(law, load, k) + law.mean) / speed, "approximation", wait)]),
            *_collect(lambda: [row((fcfs_wait_bound(law, load, k) + law.mean) / speed, "upper bound", most)]),
        ]
    if policy.name == "srpt" or (policy.name == "sprpt" and _predictor(scenario).name == "exact"):
        return _collect(lambda: _bracket(srpt_bracket(law, load, k), speed))
    if policy.name in ("gittins", "gittins-blind"):
        return _collect(lambda: _bracket(gittins_bracket(policy, law, _predictor(scenario), load, k), speed))
    return []


def _dispatched(policy: Any, scenario: Any, dispatcher: Any) -> list[Row]:
    """Return what is known of a queue for each server."""
    from llmqueue_gym.theory.power_of_d import PowerOfD

    speed, n, d = _one_speed(scenario), scenario.servers, dispatcher.d
    if not speed:
        return []
    if n == 1 or dispatcher.name == "random" or (dispatcher.name == "power-of-d" and d == 1):
        return _collect(lambda: _single(policy, scenario, "each queue is an M/G/1"))
    if dispatcher.name != "power-of-d" or not (_blind(policy) and _exponential(scenario.law)):
        return []
    queues = PowerOfD(scenario.load, d, scenario.law.mean / speed)
    refined = f"the same with its 1/n term, n = {n:,}"
    return [
        row(queues.mean_response_time(), "limit of many servers", "fixed point, Mitzenmacher 2001"),
        row(queues.mean_response_time(n), "approximation", refined),
    ]


def _impatient(policy: Any, scenario: Any) -> list[Row]:
    """Return what is known of jobs that give up."""
    from llmqueue_gym.theory.impatience import NoisyOverload, erlang_a, fluid_fcfs

    law, patience, load, rate = scenario.law, scenario.patience_law, scenario.load, scenario.rate
    speed = _one_speed(scenario)
    if not speed or policy.preemptive:
        return []
    if policy.name == "fcfs" and _exponential(law) and _exponential(patience):
        found = erlang_a(scenario.servers, load, law.mean / speed, patience.mean)
        return _served(1 - found.abandoned, rate, "exact", "Erlang A, M/M/s+M")
    kind, source = "limit of many servers", "fluid limit, Whitt 2006"
    if _blind(policy):
        return _served(fluid_fcfs(load).served, rate, kind, source)
    informed, source = NoisyOverload(law, _predictor(scenario), load), "fluid limit, Dong and Ibrahim 2024"
    if policy.name in ("spjf", "sjf"):
        return _served(informed.noisy_sjf().served, rate, kind, source)
    if policy.name == "two-class":
        return _served(informed.two_class(policy.params[0]).served, rate, kind, source)
    return _served(informed.best().served, rate, "upper bound, many servers", f"{source}: no rule serves more")


def references_of_needs(policy: Any, scenario: Any) -> list[Row]:
    """Return what is known of a packing policy in a `NeedsScenario`."""
    from llmqueue_gym.theory.erlang import MMk
    from llmqueue_gym.theory.packing import pooled

    k, needs, laws = scenario.servers, scenario.needs, scenario.laws
    if len(set(needs)) == 1 and k % needs[0] == 0 and policy.name in ("fcfs", "server-filling"):
        places = k // needs[0]  # as many jobs run at once, all of one law
        if _exponential(laws[0]):
            queue = MMk(places, scenario.load, laws[0].mean)
            return [row(queue.mean_response_time, "exact", f"Erlang C, M/M/k of {places}")]
    rows = []
    if policy.name == "server-filling" and all(n & (n - 1) == 0 for n in (k, *needs)):

        def pool() -> list[Row]:
            found = pooled(k, scenario.shares, needs, laws, scenario.load)
            source = "one server of k-fold speed, Grosof et al. 2022"
            return [
                row(found.mean_response_time, "limit of load 1, as a ratio", source),
                row(found.response_with_durations, "approximation", "the pool's wait, and the real durations"),
            ]

        rows = _collect(pool)
    duration = sum(share * law.mean for share, law in zip(scenario.shares, laws, strict=True))
    return rows or [row(duration, FLOOR, "mean duration")]


def _floor(policy: Any, scenario: Any, dispatcher: Any) -> list[Row]:
    """Return what no policy is below that knows as much of the sizes."""
    from llmqueue_gym.theory.many_servers import srpt_bracket
    from llmqueue_gym.theory.unequal_servers import shared_fastest

    law, speeds = scenario.law, scenario.server_speeds
    if _blind(policy) and _exponential(law) and not (dispatcher is not None and dispatcher.predictive):
        rates = speeds / law.mean
        source = "one queue for all, the fastest servers busy"
        return [row(shared_fastest(rates, scenario.rate).mean_response_time, BLIND_FLOOR, source)]
    fast = srpt_bracket(law, scenario.load, 1).low / scenario.total_speed
    return [row(max(fast, law.mean / speeds[0]), FLOOR, "SRPT on one server of the total speed, and mean size")]


def _single(policy: Any, scenario: Any, source: str) -> list[Row]:
    from llmqueue_gym.theory import analyse

    found = analyse(policy, scenario.law, _predictor(scenario), scenario.load)
    return [row(found.mean_response_time / scenario.server_speeds[0], "exact", f"{source}, {found.method}")]


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


def _predictor(scenario: Any) -> Any:
    from llmqueue_gym.predictors import predictor

    return predictor(scenario.predictor)


def _blind(policy: Any) -> bool:
    return "predicted" not in policy.reads()


def _exponential(law: Any) -> bool:
    return type(law).__name__ == "Exponential"


def _one_speed(scenario: Any) -> float | None:
    """Return the speed of all servers, or None where they differ."""
    speeds = scenario.server_speeds
    return float(speeds[0]) if speeds[0] == speeds[-1] else None

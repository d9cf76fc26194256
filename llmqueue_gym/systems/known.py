"""What theory knows of a policy in a scenario, as rows to hold a simulation against: exact values, limits, bounds.

A row has the metric, its value, its kind and what it rests on. All of it is for Poisson arrivals. A kind that is not
"exact" is not to be mistaken for it: a simulation need not agree with a limit, and stays on one side of a bound.
"""

from collections.abc import Mapping, Sequence
from typing import Any

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


def poisson(scenario: Any) -> bool:
    """Whether arrivals are Poisson, which all of this is for."""
    return str(scenario.arrivals) == "poisson" and scenario.workload is None


def load_of(scenario: Any) -> float:
    """Return the load, also of a scenario that tells the rate."""
    return float(scenario.system.load(scenario))


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


def unknown(spec: str, scenario: Any, rows: Sequence[Row]) -> str:
    """Return the line that says that a policy is not known in a scenario, and what is."""
    system, floor = scenario.system, f"no policy is below {rows[0]['value']:.5g} s; " if rows else ""
    order = f" with {system.order} queues" if hasattr(system, "order") else ""
    where = f" on {system.servers} servers" if hasattr(system, "servers") else f" in system {system.name}"
    known = f"known are {system.covered}" if system.covered else "nothing is known there"
    return f"theory does not know {spec}{order}{where}: {floor}{known}"

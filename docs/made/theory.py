"""What theory knows of each policy in a usual scenario of its system."""

import os
from functools import cache
from typing import Any

from llmqueue_gym.evaluation.exact import exact
from llmqueue_gym.systems import SYSTEMS, Scenario

LIGHT, HEAVY = "exponential sizes and predictions, load 0.8", "Weibull sizes, log-normal errors, load 0.8"
_WEIBULL = {"size": "weibull:shape=0.5", "predictor": "lognormal:sigma=0.5"}

# By the kind of policy: where, in words, and the scenario's system and fields.
ASKED: dict[str, list[tuple[str, str, dict[str, Any]]]] = {
    "policy": [
        (f"One server, {LIGHT}", "mg1", {}),
        (f"One server, {HEAVY}", "mg1", _WEIBULL),
        (f"10 servers with one queue, {LIGHT}", "central", {"servers": 10}),
    ],
    "sharing policy": [(f"One server, {LIGHT}", "mg1", {})],
    "dispatch policy": [
        (f"10 queues in order of arrival, {LIGHT}", "dispatch", {"servers": 10, "order": "fcfs"}),
        (f"10 queues in the order of SPRPT, {LIGHT}", "dispatch", {"servers": 10, "order": "sprpt"}),
    ],
    "packing policy": [("8 servers, jobs that need 1, 2, 4 or 8, exponential sizes, load 0.8", "packing", {})],
    "moldable policy": [("8 servers, jobs of three speed-ups, exponential sizes, load 0.5", "moldable", {})],
    "predicting policy": [(f"One server, {LIGHT}, predictions that cost 0.5 and 2 s of delay", "predict", {})],
    "monitored policy": [(f"One server, {LIGHT}", "monitored", {})],
}


@cache
def known(kind: str) -> list[tuple[str, dict[str, dict[str, Any]], str]]:
    """Return for each scenario its words, what is known by policy, and what is covered; nothing where no theory is.

    It takes half a minute; with `DOCS_WITHOUT_THEORY` in the environment nothing is asked.
    """
    if "DOCS_WITHOUT_THEORY" in os.environ:
        return []
    found = []
    for words, system, fields in ASKED.get(kind, []):
        scenario = Scenario(system, **fields)
        part = next(part for part in SYSTEMS.builder(system).policies.parts if part.made.kind == kind)
        rows = exact(scenario, {name: part.make(name) for name in part})["policies"]
        found.append((words, {row["policy"]: row for row in rows}, scenario.system.covered))
    return found

"""What agents get in an environment, from stored trainings."""

import shlex
from functools import cache
from pathlib import Path
from typing import Any

from llmqueue_gym.envs import ENVIRONMENTS, Environment
from llmqueue_gym.envs.opened import opened
from llmqueue_gym.evaluation.results import read_json

RESULTS = Path(__file__).parents[2] / "experiments" / "results"
STORED = ("learning_curves", "learning_curves_fleets")


@cache
def _rows() -> dict[str, dict[str, Any]]:
    """Return what is stored of each id, with the decisions of a training and the command."""
    found = {}
    for name in STORED:
        told = read_json(RESULTS / f"{name}.json")
        steps = {run["id"]: run["curve"][-1][0] for run in told["runs"]}
        command = "python " + shlex.join(told["provenance"]["command"])
        for row in told["rows"]:
            found[row["id"]] = {**row, "steps": steps[row["id"]], "command": command}
    return found


def learnt(name: str) -> dict[str, Any] | None:
    """Return what is known of an id: rows of who and cost, and how it was found; None where nothing is stored."""
    row = _rows().get(name)
    if row is None:
        return None
    rows = [("a random choice among the open actions", row["random_choice"])]
    rows.append((f"`{row['base']}`", row["base_cost"]))
    if row["best"] != row["base"]:
        rows.append((f"`{row['best']}`, the best by hand", row["best_cost"]))
    rows += [(agent, one["cost"]) for agent, one in row["agents"].items()]
    return {
        "rows": [(who, cost, cost / row["best_cost"]) for who, cost in rows],
        "cost": _cost(ENVIRONMENTS[name]),
        "base": row["base"],
        "steps": row["steps"],
        "command": row["command"],
        "verdicts": {agent: one["verdict"] for agent, one in row["agents"].items()},
    }


def _cost(environment: Environment) -> str:
    """Return in words what is measured."""
    cost = opened(environment.system, environment.kwargs)[0].system.cost
    return f"{cost}, with the price of replicas" if "price" in environment.kwargs else cost

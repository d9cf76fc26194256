"""Does the plan hold? Fleets that `llmqueue plan` finds, and the next cheaper ones, in fresh quarter hours.

For each objective and menu a fleet is planned on the Azure conversation trace of 2023, whole or its first half. Then
the plan and the fleet that it names as the next cheaper one serve 20 windows that the search has not seen, at the rate
that was planned for, a quarter of an hour each after a tenth of it that does not count:

* same: pieces of the same recording, drawn anew;
* later: pieces of the second half, where the first one was planned on;
* as recorded: quarter hours of the second half as they were, from random places, stretched to the rate; of these
  there are hardly more than two that do not overlap.

A fleet holds a window where the share of requests within the limits is what the objective asks for. The plan should
hold 19 of 20, as it is to hold 95 % of all windows, and the next cheaper fleet should not. Writes
`results/does_the_plan_hold.json`; some minutes.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from llmqueue_gym.boards.workers import end_with_parent
from llmqueue_gym.errors import in_one_line
from llmqueue_gym.evaluation.results import result, write_json
from llmqueue_gym.planning import Kind, Menu, objective, plan, windows_of_trace
from llmqueue_gym.planning.judge import Judge
from llmqueue_gym.planning.objective import WINDOWS
from llmqueue_gym.planning.purchase import Part, Purchase
from llmqueue_gym.planning.windows import LEAD, Pieces, Windows
from llmqueue_gym.requests import request_table
from llmqueue_gym.workloads.requests import TraceRequests

DATA = Path(__file__).parents[2] / "shared" / "traces" / "data"
OUT = Path(__file__).parent / "results" / "does_the_plan_hold.json"
FILE = "azure2023_conv.csv.gz"
FRESH, ENOUGH = 20, 19  # windows, and how many of them a plan is to hold
OBJECTIVES = (
    "ttft=1,tpot=0.05,share=0.95",
    "ttft=0.5,tpot=0.03,share=0.95",
    "ttft=2,tpot=0.1,share=0.99",
    "e2e=8,share=0.9",
)
L40S, H100, A100 = Kind("L40S", "l40s-llama3.1-8b"), Kind("H100", "h100-llama3.1-8b"), Kind("A100", "a100-llama3-8b")
MENUS = {
    "L40S and H100": Menu((L40S, H100), split=True, mixed=True),
    "A100": Menu((A100,)),
}
PREDICTOR = "lognormal:sigma=0.5"


class AsRecorded(Pieces):
    """Quarter hours of a recording, from random places on, stretched to the rate."""

    def sample(self, n: int, arrival_rng: np.random.Generator, length_rng: np.random.Generator) -> Any:
        """Return n neighbours."""
        source = self.recorded
        first = int(length_rng.integers(len(source) - n + 1))
        rows = slice(first, first + n)
        times = source.times[rows] - source.times[first]
        times = times * ((n - 1) / self.rate / times[-1])
        return request_table(times, source.prompts[rows]), source.outputs[rows]


def main() -> None:
    """Plan, play fresh windows, store and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the recording")
    parser.add_argument("--out", type=Path, default=OUT, help="where the result is stored")
    parser.add_argument("--seed", type=int, default=0, help="of the windows that are planned on")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    with in_one_line(), ProcessPoolExecutor(options.processes, initializer=end_with_parent) as pool:
        cases = [(*one, options) for one in product(OBJECTIVES, MENUS, ("whole", "first half"))]
        played = list(track(pool.map(case, cases), "planning", len(cases), console=Console(stderr=True)))
        rows = [row for some in played for row in some]
    found = {"fresh": FRESH, "enough": ENOUGH, "predictor": PREDICTOR, "rows": rows, "summary": summary(rows)}
    write_json(options.out, result(found, None, [options.seed]))
    show(found)


def case(given: tuple[str, str, str, argparse.Namespace]) -> list[dict[str, Any]]:
    """Return what became of a plan and of the next cheaper fleet, a row for each way of making fresh windows."""
    text, menu, part, options = given
    whole, seed = TraceRequests.from_trace(options.data / FILE), options.seed
    recorded = other = whole
    fresh: dict[str, Any] = {"same": Pieces}
    if part != "whole":
        recorded, other = whole.part(0, 0.5), whole.part(0.5, 1)
        fresh = {"later": Pieces, "as recorded": AsRecorded}
    windows = windows_of_trace(recorded, FILE)
    found = plan(windows, objective(text, WINDOWS), MENUS[menu], PREDICTOR, seed)
    rows = []
    for name, kind in fresh.items():
        mine = Windows(kind(other, windows.rate, windows.workload.piece), windows.count, windows.rate, 0.0, None, name)
        judge = Judge(mine, objective(text, WINDOWS), MENUS[menu], PREDICTOR, 10_000 + seed)
        row = {"objective": text, "menu": menu, "planned_on": part, "fresh": name, "rate": windows.rate}
        row |= {"room": found["room"], "simulations": found["judged"]["simulations"]}
        for what in ("plan", "next_cheaper"):
            if found[what] is None:
                row[what] = None
                continue
            bought, way = purchase(found[what]), (found[what]["router"], found[what]["order"])
            shares = [judge.share(judge.run(bought, way, each)) for each in judge.seeds[:FRESH]]
            held = int(np.sum(np.array(shares) >= judge.objective.share))
            row[what] = {"fleet": str(bought), "price": bought.price, "held": held, "shares": shares}
        rows.append(row)
    return rows


def purchase(row: dict[str, Any]) -> Purchase:
    """Return the purchase that a plan tells of."""
    kinds = {kind.name: kind for menu in MENUS.values() for kind in menu.gpus}
    return Purchase(tuple(Part(kinds[part["gpu"]], part["role"], part["count"]) for part in row["parts"]))


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return of each kind of fresh windows how many plans hold, and how many of the next cheaper fleets do not."""
    told = {}
    for name in dict.fromkeys(row["fresh"] for row in rows):
        mine = [row for row in rows if row["fresh"] == name]
        cheaper = [row["next_cheaper"] for row in mine if row["next_cheaper"]]
        told[name] = {
            "plans": len(mine),
            "plans_that_hold": sum(row["plan"]["held"] >= ENOUGH for row in mine),
            "next_cheaper": len(cheaper),
            "next_cheaper_that_fail": sum(one["held"] < ENOUGH for one in cheaper),
        }
    return told


def show(found: dict[str, Any]) -> None:
    """Print the table."""
    table = Table(
        title=f"windows held, of {FRESH} fresh ones after {LEAD:.0%} that does not count", title_justify="left"
    )
    for column in ("objective", "menu", "planned on", "fresh", "plan", "held", "next cheaper", "held"):
        table.add_column(column)
    for row in found["rows"]:
        cells = [row["objective"], row["menu"], row["planned_on"], row["fresh"]]
        for what in ("plan", "next_cheaper"):
            one = row[what]
            cells += ["none", ""] if one is None else [f"{one['fleet']} ({one['price']:.2f})", str(one["held"])]
        table.add_row(*cells)
    Console().print(table)
    for name, told in found["summary"].items():
        Console().print(
            f"{name}: {told['plans_that_hold']} of {told['plans']} plans hold {ENOUGH} of {FRESH} or more; of the next "
            f"cheaper fleets {told['next_cheaper_that_fail']} of {told['next_cheaper']} do not"
        )


if __name__ == "__main__":
    main()

"""Firm deadlines: what is one bit on a job's size worth, and does it pay to send jobs away that look too long?

`llmqueue/Deadline-v0` at several loads, with the bit, with exact sizes and with none: the share of jobs that are done
by their deadline under first come first served, earliest deadline first, the same that sends away who looks too late,
the same that also lets predicted shorts go first, and shortest predicted job first. Episodes of 2000 jobs with common
random numbers; intervals are Student's t at 95 % over seeds, those of differences to `edf` are paired. Writes
`results/deadlines_with_one_bit.json`; about four minutes.
"""

import argparse
import json
from itertools import product
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

import llmqueue_gym  # noqa: F401 (registers the environments)
from llmqueue_gym.envs.opened import baseline_agent
from llmqueue_gym.envs.rollout import rollouts
from llmqueue_gym.evaluation import across_seeds, paired_difference, result, write_json
from llmqueue_gym.evaluation.results import plain

OUT = Path(__file__).parent / "results" / "deadlines_with_one_bit.json"
PLAYERS, BASE = ("fcfs", "edf", "drop-if-late", "short-first-edf", "spjf"), "edf"
LOADS, PREDICTORS, SEEDS = (0.9, 1.2, 1.6, 2.0), ("one-bit", "exact"), 20


def shares(player: str, seeds: int, **where: Any) -> np.ndarray:
    """Return the share of the jobs of each episode that are done by their deadline `(seeds,)`."""
    env = gym.make("llmqueue/Deadline-v0", **where).unwrapped
    runs = rollouts(baseline_agent(player, env), env.scenario, range(seeds), **vars(env.view))
    return np.array([(run.outcome["completion"] <= run.jobs["deadline"]).mean() for run in runs])


def row(predictor: str, load: float, seeds: int) -> dict[str, Any]:
    """Return what every player does in one setting."""
    found = {player: shares(player, seeds, predictor=predictor, load=load) for player in PLAYERS}
    told = {}
    for player, values in found.items():
        own, lead = across_seeds(values), paired_difference(values, found[BASE])
        told[player] = {
            "share": {"mean": own.mean, "low": own.low, "high": own.high},
            "over_edf": {"mean": lead.mean, "low": lead.low, "high": lead.high},
        }
    return {"predictor": predictor, "load": load, "players": told}


def finding(rows: list[dict[str, Any]]) -> list[str]:
    """Say where a player serves clearly more or fewer than earliest deadline first."""
    words = []
    for player in PLAYERS:
        if player == BASE:
            continue
        better = [r for r in rows if r["players"][player]["over_edf"]["low"] > 0]
        worse = [r for r in rows if r["players"][player]["over_edf"]["high"] < 0]
        where = [", ".join(f"{r['predictor']} {r['load']:g}" for r in some) or "nowhere" for some in (better, worse)]
        words.append(f"{player} serves clearly more than {BASE} at: {where[0]}; clearly fewer at: {where[1]}.")
    return words


def report(found: dict[str, Any], console: Console) -> None:
    """Print the shares and the finding."""
    table = Table("told, load", *PLAYERS, title="share done by the deadline, and the difference to edf")
    for r in found["rows"]:
        cells = []
        for player in PLAYERS:
            own, lead = r["players"][player]["share"], r["players"][player]["over_edf"]
            half = (lead["high"] - lead["low"]) / 2
            cells.append(f"{own['mean']:.3f}" + ("" if player == BASE else f" ({lead['mean']:+.3f} ±{half:.3f})"))
        table.add_row(f"{r['predictor']}, {r['load']:g}", *cells)
    console.print(table)
    for sentence in found["finding"]:
        console.print(sentence)


def main() -> None:
    """Play, store and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--out", type=Path, default=OUT, help="where the result is stored")
    options = parser.parse_args()
    grid = list(product(PREDICTORS, LOADS))
    rows = [row(*where, options.seeds) for where in track(grid, "settings", console=Console(stderr=True))]
    found = result({"rows": rows, "finding": finding(rows)}, None, range(options.seeds))
    options.out.parent.mkdir(exist_ok=True)
    write_json(options.out, found)
    print(json.dumps(plain(found))) if options.json else report(found, Console(width=150))


if __name__ == "__main__":
    main()

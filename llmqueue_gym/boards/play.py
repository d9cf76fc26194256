"""Plays entries on boards, over processes, and plays them again to compare.

A result holds, for each scenario and reporting seed, the numbers of the run. It has no time and no machine in it: the
same version of the library gives the same numbers on every number of processes.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from rich.progress import Progress

from llmqueue_gym.boards import measured
from llmqueue_gym.boards.board import Board
from llmqueue_gym.boards.cell import confined
from llmqueue_gym.boards.entry import Entry
from llmqueue_gym.boards.workers import Task, Work
from llmqueue_gym.envs.rollout import rollouts
from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.metrics import METRICS
from llmqueue_gym.systems import Run, Scenario

Row = dict[str, Any]
Numbers = dict[str, list[float]]  # metric -> values by seed
BOUND = "_bound"
TOLERANCE = 1e-9  # relative; other processors round the last digits in another way


def play_entry(on: Board, entry: Entry, work: Work, bar: Progress) -> Row:
    """Return the result of an entry: every scenario of a board with every reporting seed."""
    return result(on, entry, play_scenarios(on, entry, on.seeds, work, bar, entry.name))


def play_scenarios(
    on: Board, entry: Entry, seeds: Sequence[int], work: Work, bar: Progress, what: str
) -> list[Numbers]:
    """Return the numbers of an entry in every scenario of a board; one from outside is played in a cell."""
    more = on.view, (), on.measured, on.objectives
    tasks: list[Task] = [(numbers, (scenario, entry, tuple(seeds), *more)) for scenario in on.scenarios.values()]
    if entry.files is None:
        return work(tasks, bar, f"{on.name}: {what}")
    return confined(entry, tasks, bar, f"{on.name}: {what}")


def bounds(on: Board, work: Work, bar: Progress) -> Row:
    """Return the result of the bound: what no policy undercuts, of every scenario and seed."""
    done = work([(bound, (scenario, on.seeds)) for scenario in on.scenarios.values()], bar, f"{on.name}: bounds")
    return bound_result(on, done)


def numbers(
    scenario: Scenario,
    entry: Entry,
    seeds: Sequence[int],
    view: Mapping[str, Any],
    also: Sequence[str] = (),
    paths: Sequence[str] = (),
    objectives: Mapping[str, float] = MappingProxyType({}),
) -> Numbers:
    """Play an entry in a scenario and return its numbers by seed.

    Args:
        scenario: where.
        entry: who.
        seeds: of the jobs.
        view: what an agent sees and decides.
        also: names in `evaluation.METRICS` that are measured beside the numbers of the system, without the warm-up.
        paths: metrics of the system that are measured, too, of the whole run; see `measured`.
        objectives: limits for these.

    Raises:
        BadInput: an agent leaves jobs undone that nobody may lose, or acts in another view.
    """
    runs = rollouts(entry.player, scenario, seeds, **{**entry.view, **view})
    rows = [{**_row(scenario, run, also), **measured.measured(run, paths, objectives)} for run in runs]
    found = measured.kept({key: [row[key] for row in rows] for key in rows[0]}, paths)
    if np.isnan(found["cost"]).any():
        raise BadInput(f"agent {entry.name!r} left jobs undone in {scenario.system.name!r}, seed {seeds[0]} and on")
    return found


def bound(scenario: Scenario, seeds: Sequence[int]) -> list[float]:
    """Return what no policy undercuts, by seed."""
    return [scenario.bound(seed) for seed in seeds]


def _row(scenario: Scenario, run: Run, also: Sequence[str]) -> dict[str, float]:
    settled = run.after_warmup() if also else run
    return {**scenario.system.numbers(run), **{name: METRICS[name](settled) for name in also}}


# Results.


def result(on: Board, entry: Entry, played: Sequence[Numbers]) -> Row:
    """Return what is kept of an entry."""
    return {
        "policy": entry.name,
        "board": on.name,
        "version": on.version,
        "told": entry.told,
        "learned": entry.learned,
        "description": entry.description,
        "command": entry.command,
        "seeds": list(on.seeds),
        "scenarios": dict(zip(on.fields, played, strict=True)),
    }


def bound_result(on: Board, values: Sequence[list[float]]) -> Row:
    """Return what is kept of the bound."""
    scenarios = {name: {"cost": cost} for name, cost in zip(on.fields, values, strict=True)}
    return {"policy": BOUND, "board": on.name, "version": on.version, "seeds": list(on.seeds), "scenarios": scenarios}


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return in words where a result that was played again differs from the stored one; empty where it does not."""
    rest = [key for key in new if key != "scenarios" and old.get(key) != new[key]]
    words = [f"{key} is {old.get(key)!r}, not {new[key]!r}" for key in rest]
    for scenario, played in new["scenarios"].items():
        for metric, values in played.items():
            kept = np.array(old["scenarios"].get(scenario, {}).get(metric, []), float)
            again = np.array(values, float)
            if kept.shape != again.shape or not np.allclose(kept, again, rtol=TOLERANCE, atol=0, equal_nan=True):
                words.append(f"{scenario}: {metric} is stored as {_short(kept)} and comes out as {_short(again)}")
    return words


def _short(values: np.ndarray) -> str:
    return ", ".join(f"{value:.6g}" for value in values[:3]) + (", ..." if len(values) > 3 else "")

"""Plays entries on their boards and stores what came of it; plays them again to check.

A result file holds, for each arena and reporting seed, the numbers of the run, and the bound beside them. It has no
time and no machine in it: the same version of the library writes the same bytes.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress

from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.bench.crew import Crew, Task
from llmqueue_gym.evaluation.results import read_json, write_json
from llmqueue_gym.leaderboard import entries
from llmqueue_gym.leaderboard.boards import Board, board
from llmqueue_gym.leaderboard.entries import Entry, registered

Row = dict[str, Any]
Numbers = dict[str, list[float]]  # metric -> values by seed
BOUND = "_bound"
FRESH = 7_000_000  # seeds from here on are used for nothing but to see whether an entry knows the reporting seeds
SUSPICIOUS = 8.0  # standard errors by which it may do better on those
TOLERANCE = 1e-9  # relative; other processors round the last digits in another way


def play_entry(player: Entry, crew: Crew, bar: Progress) -> Row:
    """Return the result of an entry: every arena of its board with every reporting seed."""
    played = _play_arenas(player, player.board.seeds, crew, bar, player.name)
    return _result(player, played)


def bounds(on: Board, crew: Crew, bar: Progress) -> Row:
    """Return the result of the bound: what no policy undercuts, of every arena and seed."""
    done = crew([(_bound, (on.name, k)) for k in range(len(on.arenas))], bar, f"{on.name}: bounds")
    arenas = {arena.name: {"cost": values} for arena, values in zip(on.arenas, done, strict=True)}
    return {"policy": BOUND, "board": on.name, "version": on.version, "seeds": list(on.seeds), "arenas": arenas}


def _play_arenas(player: Entry, seeds: Sequence[int], crew: Crew, bar: Progress, what: str) -> list[Numbers]:
    on, given = player.board, str(player.folder) if player.folder else player.name
    tasks: list[Task] = [(_play, (on.name, given, k, tuple(seeds))) for k in range(len(on.arenas))]
    return crew(tasks, bar, f"{on.name}: {what}")


def _play(name: str, given: str, k: int, seeds: tuple[int, ...]) -> Numbers:
    """Play an entry, by its name or folder, in one arena."""
    player = find(board(name), given)
    rows = [player.board.arenas[k].play(player.policy, seed) for seed in seeds]
    return {key: [row[key] for row in rows] for key in rows[0]}


def _bound(name: str, k: int) -> list[float]:
    on = board(name)
    return [on.arenas[k].bound(seed) for seed in on.seeds]


def find(on: Board, given: str) -> Entry:
    """Return an entry of a board by its name, or by its folder."""
    for player in registered(on):
        if player.name == given:
            return player
    return entries.read(given)


def _result(player: Entry, played: list[Numbers]) -> Row:
    on = player.board
    return {
        "policy": player.name,
        "board": on.name,
        "version": on.version,
        "sees": player.sees,
        "learned": player.learned,
        "description": player.description,
        "command": player.command,
        "seeds": list(on.seeds),
        "arenas": {arena.name: numbers for arena, numbers in zip(on.arenas, played, strict=True)},
    }


# Storing.


def store(folder: Path, result: Mapping[str, Any]) -> Path:
    """Write a result in its place."""
    path = folder / "results" / result["board"] / f"{result['policy']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, result)
    return path


def stored(folder: Path, on: Board) -> dict[str, Row]:
    """Return the stored results of a board's present version, the bound among them, by name.

    Raises:
        BadInput: a file is not what `store` writes.
    """
    found = {}
    for path in sorted((folder / "results" / on.name).glob("*.json")):
        try:
            row = read_json(path)
            if row["version"] == on.version:
                found[row["policy"]] = row
        except (ValueError, KeyError, TypeError):
            raise BadInput(f"{path}: not a result of the leaderboard; delete it and run it again") from None
    return found


def folders(folder: Path, on: Board) -> list[Entry]:
    """Return the entries that were added to a board."""
    return [entries.read(path) for path in sorted((folder / "entries" / on.name).glob("*")) if path.is_dir()]


# Adding and checking.


def check(entry: Entry) -> None:
    """Refuse an entry whose numbers depend on what was played before it.

    Raises:
        BadInput: they do.
    """
    for arena in entry.board.arenas[:2]:
        first, other = entry.board.seeds[:2]
        before = arena.play(entry.policy, first)
        arena.play(entry.policy, other)
        after = arena.play(entry.policy, first)
        if before != after:
            raise BadInput(
                f"entry {entry.name!r} changes with the order of runs: on {arena.name!r} seed {first} gives "
                f"{before['cost']:.6g}, and {after['cost']:.6g} after another seed was played"
            )


def check_seeds(entry: Entry, played: list[Numbers], crew: Crew, bar: Progress) -> None:
    """Refuse an entry that does better on the reporting seeds than on fresh ones, as one that knows their jobs would.

    Costs are taken over those of the base on the same jobs; Welch's t in each arena.

    Raises:
        BadInput: it does.
    """
    on = entry.board
    base, fresh = find(on, on.base), range(FRESH, FRESH + len(on.seeds))
    there = _play_arenas(base, on.seeds, crew, bar, f"{on.base} again")
    elsewhere = [_play_arenas(player, fresh, crew, bar, "fresh seeds") for player in (entry, base)]
    for arena, own, usual, new, new_usual in zip(on.arenas, played, there, *elsewhere, strict=True):
        reported, others = (np.log(np.divide(x["cost"], y["cost"])) for x, y in ((own, usual), (new, new_usual)))
        error = np.sqrt((reported.var(ddof=1) + others.var(ddof=1)) / len(reported)) + TOLERANCE
        if (others.mean() - reported.mean()) / error > SUSPICIOUS:
            raise BadInput(
                f"entry {entry.name!r} knows the reporting seeds: on {arena.name!r} its cost over that of {on.base} is "
                f"{np.exp(reported.mean()):.3f} there and {np.exp(others.mean()):.3f} on fresh seeds"
            )


def add(folder: Path, given: Path, crew: Crew, bar: Progress) -> Path:
    """Check an entry, play it, and keep it with its result.

    Raises:
        TruthError: it reads true sizes.
        BadInput: it is refused for another reason, or its name is taken.
    """
    entry = entries.read(given)
    if any(entry.name == other.name for other in registered(entry.board)):
        raise BadInput(f"entry {entry.name!r}: the library has a policy of that name; choose another")
    check(entry)
    played = _play_arenas(entry, entry.board.seeds, crew, bar, entry.name)
    check_seeds(entry, played, crew, bar)
    result = _result(entry, played)
    here = folder / "entries" / entry.board.name / entry.name
    if here.resolve() != given.resolve():
        new = here.with_name(f".{entry.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        for name in (entries.CARD, entries.CODE, entries.NUMBERS):
            if (given / name).is_file():
                shutil.copyfile(given / name, new / name)
        shutil.rmtree(here, ignore_errors=True)
        new.rename(here)
    return store(folder, result)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return in words where a result that was played again differs from the stored one; empty where it does not."""
    told = [
        f"{key} is {old.get(key)!r}, not {new[key]!r}" for key in new if key != "arenas" and old.get(key) != new[key]
    ]
    for arena, numbers in new["arenas"].items():
        for metric, values in numbers.items():
            kept = np.array(old["arenas"].get(arena, {}).get(metric, []), float)
            again = np.array(values, float)
            if kept.shape != again.shape or not np.allclose(kept, again, rtol=TOLERANCE, atol=0, equal_nan=True):
                told.append(f"{arena}: {metric} is stored as {_short(kept)} and comes out as {_short(again)}")
    return told


def _short(values: np.ndarray) -> str:
    return ", ".join(f"{value:.6g}" for value in values[:3]) + (", ..." if len(values) > 3 else "")

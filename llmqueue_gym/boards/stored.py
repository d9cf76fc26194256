"""Results on disk, one file for each entry of a board, and the entries that were added, each checked before.

FOLDER/results/BOARD/NAME.json      of an entry; `_bound.json` of what no policy undercuts
FOLDER/entries/BOARD/NAME/          card and policy of one that came from outside
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress

from llmqueue_gym.boards import entry as entries
from llmqueue_gym.boards.board import Board
from llmqueue_gym.boards.entry import Entry, find, registered
from llmqueue_gym.boards.play import TOLERANCE, Numbers, Row, numbers, play_scenarios, result
from llmqueue_gym.boards.workers import Work
from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.results import read_json, write_json

FRESH = 7_000_000  # seeds from here on are used for nothing but to see whether an entry knows the reporting seeds
SUSPICIOUS = 8.0  # standard errors by which it may do better on those


def store(folder: Path, row: Mapping[str, Any]) -> Path:
    """Write a result in its place."""
    path = folder / "results" / row["board"] / f"{row['policy']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, row)
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
            raise BadInput(f"{path}: not a result of a board; delete it and run it again") from None
    return found


def added(folder: Path, on: Board) -> tuple[Entry, ...]:
    """Return the entries that were added to a board."""
    paths = sorted((folder / "entries" / on.name).glob("*"))
    return tuple(entries.read(path, {on.name: on})[1] for path in paths if path.is_dir())


def add(folder: Path, given: Path, work: Work, bar: Progress, among: Mapping[str, Board] | None = None) -> Path:
    """Check an entry, play it, and keep it with its result.

    Args:
        folder: where entries and results lie.
        given: the entry's folder.
        work: does the work.
        bar: shows how far it is.
        among: boards by name; those of the library unless told otherwise.

    Raises:
        TruthError: it reads true sizes.
        BadInput: it is refused for another reason, or its name is taken.
    """
    on, entry = entries.read(given, among)
    if any(entry.name == other.name for other in registered(on)):
        raise BadInput(f"entry {entry.name!r}: the library has a policy of that name; choose another")
    check_order(on, entry)
    played = play_scenarios(on, entry, on.seeds, work, bar, entry.name)
    check_seeds(on, entry, played, work, bar)
    here = folder / "entries" / on.name / entry.name
    if here.resolve() != given.resolve():
        new = here.with_name(f".{entry.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        for name in (entries.CARD, entries.CODE, entries.NUMBERS):
            if (given / name).is_file():
                shutil.copyfile(given / name, new / name)
        shutil.rmtree(here, ignore_errors=True)
        new.rename(here)
    return store(folder, result(on, entry, played))


def check_order(on: Board, entry: Entry) -> None:
    """Refuse an entry whose numbers depend on what was played before it.

    Raises:
        BadInput: they do.
    """
    for name, scenario in list(on.scenarios.items())[:2]:
        first, other = on.seeds[:2]
        before, _, after = (numbers(scenario, entry, [seed], on.view) for seed in (first, other, first))
        if before != after:
            raise BadInput(
                f"entry {entry.name!r} changes with the order of runs: on {name!r} seed {first} gives "
                f"{before['cost'][0]:.6g}, and {after['cost'][0]:.6g} after another seed was played"
            )


def check_seeds(on: Board, entry: Entry, played: Sequence[Numbers], work: Work, bar: Progress) -> None:
    """Refuse an entry that does better on the reporting seeds than on fresh ones, as one that knows their jobs would.

    Costs are taken over those of the base on the same jobs; Welch's t in each scenario.

    Raises:
        BadInput: it does.
    """
    base, fresh = find(on, on.base), range(FRESH, FRESH + len(on.seeds))
    there = play_scenarios(on, base, on.seeds, work, bar, f"{base.name} again")
    elsewhere = [play_scenarios(on, player, fresh, work, bar, "fresh seeds") for player in (entry, base)]
    for name, own, usual, new, new_usual in zip(on.fields, played, there, *elsewhere, strict=True):
        reported, others = (np.log(np.divide(x["cost"], y["cost"])) for x, y in ((own, usual), (new, new_usual)))
        error = np.sqrt((reported.var(ddof=1) + others.var(ddof=1)) / len(reported)) + TOLERANCE
        if (others.mean() - reported.mean()) / error > SUSPICIOUS:
            raise BadInput(
                f"entry {entry.name!r} knows the reporting seeds: on {name!r} its cost over that of {base.name} is "
                f"{np.exp(reported.mean()):.3f} there and {np.exp(others.mean()):.3f} on fresh seeds"
            )

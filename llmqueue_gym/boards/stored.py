"""Results on disk, one file for each entry of a board, and the entries that were added, each checked before.

FOLDER/results/BOARD/NAME.json      of an entry; `_bound.json` of what no policy undercuts
FOLDER/entries/BOARD/NAME/          card and policy of one that came from outside
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress

from llmqueue_gym.boards import outside
from llmqueue_gym.boards.board import Board
from llmqueue_gym.boards.entry import Entry
from llmqueue_gym.boards.fairness import play_fairly
from llmqueue_gym.boards.play import BOUND, TOLERANCE, Row, differences, play_entry, result
from llmqueue_gym.boards.workers import Work
from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.results import read_json, write_json
from llmqueue_gym.policies import TOLD

MOST_BYTES = 2**24  # of a result


def store(folder: Path, row: Mapping[str, Any]) -> Path:
    """Write a result in its place."""
    path = folder / "results" / row["board"] / f"{row['policy']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, row)
    return path


def stored(folder: Path, on: Board) -> dict[str, Row]:
    """Return the stored results of a board's present version, the bound among them, by name.

    Raises:
        BadInput: a file is not what `store` writes, says what cannot be, or is of nobody.
    """
    found: dict[str, Row] = {}
    for path in sorted((folder / "results" / on.name).glob("*.json")):
        try:
            if path.stat().st_size > MOST_BYTES:
                raise ValueError(f"larger than {MOST_BYTES} bytes")
            row = read_json(path)
            if row["version"] == on.version:
                _check(row, on, path.stem)
                found[path.stem] = row
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BadInput(f"{path}: not a result of this board ({error}); delete it and run it again") from None
    for name in set(found) - {BOUND}:
        path = folder / "results" / on.name / f"{name}.json"
        if name not in on.kind.policies and not (folder / "entries" / on.name / name).is_dir():
            raise BadInput(f"{path}: a result of nobody, neither a policy of the library nor an entry; delete it")
        if BOUND in found:
            _check_bound(found[name], found[BOUND], path)
    return found


def _check(row: Any, on: Board, name: str) -> None:
    """Refuse a result with a ValueError that says what is wrong."""
    words = {"policy": str, "board": str} | ({} if name == BOUND else {"description": str, "command": str, "told": str})
    for key, kind in [*words.items(), *([] if name == BOUND else [("learned", bool)])]:
        if type(row[key]) is not kind:
            raise ValueError(f"{key}={row[key]!r:.80}")
    if name != BOUND and not outside.NAME.fullmatch(name):
        raise ValueError(f"name {name!r:.80}")
    if (row["policy"], row["board"], row["seeds"]) != (name, on.name, list(on.seeds)):
        raise ValueError("another policy, board or seeds")
    if set(row["scenarios"]) != set(on.fields):
        raise ValueError("other scenarios")
    if name != BOUND and row["told"] not in TOLD:
        raise ValueError(f"told={row['told']!r:.80}")
    for scenario, numbers in row["scenarios"].items():
        for metric, values in numbers.items():
            if any(type(value) not in (int, float) for value in values) or len(values) != len(on.seeds):
                raise ValueError(f"{scenario:.80}: {metric:.80} is no list of {len(on.seeds)} numbers")
        if not all(value > 0 for value in numbers["cost"]):
            raise ValueError(f"{scenario:.80}: a cost is not positive")


def _check_bound(row: Row, bound: Row, path: Path) -> None:
    for scenario, least in bound["scenarios"].items():
        cost = np.array(row["scenarios"].get(scenario, {"cost": np.inf})["cost"], float)
        if (cost < np.array(least["cost"]) * (1 - TOLERANCE)).any():
            raise BadInput(f"{path}: a cost on {scenario!r:.80} is below the bound, so its score would be above 1")


def added(folder: Path, on: Board) -> tuple[Entry, ...]:
    """Return the entries that were added to a board.

    Raises:
        BadInput: one is refused, or lies in a folder of another name.
    """
    found = []
    for path in sorted((folder / "entries" / on.name).glob("*")):
        if path.is_dir() and not path.name.startswith("."):
            _, entry = outside.read(path, {on.name: on})
            if entry.name != path.name:
                raise BadInput(f"{path}: the card names it {entry.name!r}; a folder has the name of its entry")
            found.append(entry)
    return tuple(found)


def played(on: Board, entry: Entry, kept: Mapping[str, Row], work: Work, bar: Progress) -> Row:
    """Play an entry and return its result; one from outside is checked as when it is added, see `fairness`."""
    if entry.files is None:
        return play_entry(on, entry, work, bar)
    return result(on, entry, play_fairly(on, entry, kept, work, bar))


def replayed(on: Board, entry: Entry, kept: Mapping[str, Row], work: Work, bar: Progress) -> list[str]:
    """Play a stored entry again and return in words where that differs; an entry that is refused by now differs."""
    try:
        return differences(kept[entry.name], played(on, entry, kept, work, bar))
    except BadInput as error:
        if entry.files is None:
            raise
        return [str(error)]


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
    on, entry = outside.read(given, among)
    assert entry.files is not None
    here = folder / "entries" / on.name / entry.name
    kept = stored(folder, on)
    if (here.exists() or entry.name in kept) and outside.read_files(here).content != entry.files.content:
        raise BadInput(f"entry {entry.name!r}: {here} has that name; choose another, or delete it")
    row = played(on, entry, kept, work, bar)
    new = here.with_name(f".{entry.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    for name, content in entry.files.content.items():
        (new / name).write_bytes(content)
    shutil.rmtree(here, ignore_errors=True)
    new.rename(here)
    return store(folder, row)

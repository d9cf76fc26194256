"""What the stored results of the boards say of a policy."""

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from llmqueue_gym.boards import boards as all_boards
from llmqueue_gym.boards.play import BOUND
from llmqueue_gym.boards.ranked import Ranked
from llmqueue_gym.boards.stored import stored
from llmqueue_gym.policies import TRUTH

STORED = Path(__file__).parents[2] / "experiments" / "leaderboard"


class Place(NamedTuple):
    """Where a policy stands on a board; place 0 is that of who is told the truth, and has none."""

    board: Any
    place: int
    of: int
    row: dict[str, Any]
    wins: list[str]


@cache
def ranked() -> dict[str, Ranked]:
    """Return the boards of which results are stored, by name."""
    found = {name: Ranked(on, stored(STORED, on)) for name, on in all_boards().items() if on.stored}
    return {name: one for name, one in found.items() if BOUND in one.results}


@cache
def places() -> dict[tuple[str, str], list[Place]]:
    """Return where each policy stands, by its kind and name."""
    found: dict[tuple[str, str], list[Place]] = {}
    for one in ranked().values():
        honest = [row for row in one.rows if row["told"] != TRUTH]
        wins: dict[str, list[str]] = {}
        for won in one.winners:
            for name in (won["policy"], *won["same"]):
                wins.setdefault(name, []).append(won["scenario"])
        for row in one.rows:
            name = row["policy"]
            part = next((part for part in one.on.kind.policies.parts if name in part), None)
            if part is None:  # an entry from outside
                continue
            place = honest.index(row) + 1 if row in honest else 0
            here = Place(one.on, place, len(honest), row, wins.get(name, []))
            found.setdefault((part.made.kind, name), []).append(here)
    return found

"""The leaderboard's page: what is stored, its episodes and the learning curves of trained policies."""

from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from llmqueue_gym.boards import outside
from llmqueue_gym.boards.board import Board
from llmqueue_gym.boards.entry import registered
from llmqueue_gym.boards.page import page
from llmqueue_gym.boards.page.sections import filled
from llmqueue_gym.boards.play import BOUND
from llmqueue_gym.boards.ranked import Ranked
from llmqueue_gym.boards.recordings import record
from llmqueue_gym.boards.stored import stored
from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.learned import read_card, zoo_folder
from llmqueue_gym.policies.learned.artefact import CARD
from llmqueue_gym.storage import write_text

Row = dict[str, Any]
LEDE = (
    "Who serves best when sizes are only predicted: policies made by hand and trained ones, on the same frozen "
    "scenarios and the same jobs."
)


def gather(folder: Path, among: Mapping[str, Board]) -> tuple[list[Ranked], list[str]]:
    """Return the boards that have results, and for each of the others a line.

    Raises:
        BadInput: a result or a card is not what it should be.
    """
    found, notes = [], []
    for on in among.values():
        results = stored(folder, on)
        missing = [name for name in (on.base, BOUND) if name not in results]
        if missing:
            notes.append(f"board {on.name!r} is left out: no result of {' and of '.join(map(repr, missing))}")
            continue
        players = [
            player for player in registered(on) if player.name in results
        ]  # those from outside play in cells alone
        trained = cards(folder, on)
        curves = [curve(name, trained[name]) for name in results if name in trained]
        curves = [one for one in curves if one["points"]]
        found.append(Ranked(on, results, curves=curves, episode=record(on, players)))
    return found, notes


def site(found: Sequence[Ranked], notes: Sequence[str] = ()) -> str:
    """Return the page of gathered results."""
    lines = [
        f"{on.name} version {on.version}, {len(on.fields)} scenarios, seeds {on.seeds[0]} to {on.seeds[-1]}, "
        f"{len(rows)} policies"
        for on, rows in ((ranked.on, ranked.rows) for ranked in found)
    ]
    provenance = {"Software": [f"llmqueue-gym {metadata.version('llmqueue-gym')}"], "Boards": lines}
    left = {"Left out": list(notes)} if notes else {}
    return page(found, "the leaderboard", LEDE, {**provenance, **left}, filled("entries"))


def written(found: Sequence[Ranked], notes: Sequence[str], out: Path) -> str:
    """Write the page of gathered results to a folder, and return in words where it is."""
    text, path = site(found, notes), out / "index.html"
    write_text(path, text)
    return f"{path}: {len(found)} boards, {len(text.encode()) / 1e6:.2f} MB"


def cards(folder: Path, on: Board) -> dict[str, Row]:
    """Return the cards with a learning curve, of the zoo and of the entries that were added to a board, by name.

    Raises:
        BadInput: a card is not what it should be.
    """
    zoo = [read_card(path.parent) for path in sorted(zoo_folder().glob(f"*/*/{CARD}"))]
    paths = sorted((folder / "entries" / on.name).glob(f"[!.]*/{CARD}"))
    return {card["name"]: card for card in (*zoo, *map(outside.card_in, paths)) if card.get("curve")}


def curve(name: str, card: Mapping[str, Any]) -> Row:
    """Return a learning curve: its points, and in words what is across and what is up.

    A row of the curve begins with a cost so far and ends with the score. A card does not say which of its costs it is,
    so it is the one that the last row reaches.

    Raises:
        BadInput: a row is something else.
    """
    try:
        rows = [(float(row[0]), float(row[-1])) for row in card["curve"]]
    except (TypeError, ValueError, IndexError, KeyError):
        raise BadInput(f"the card of {name!r}: curve must be rows of (cost so far, score so far)") from None
    points = [[x, y] for x, y in rows if np.isfinite(x) and np.isfinite(y)]
    spent = points[-1][0] if points else 0.0
    cost, score = card.get("cost"), card.get("score")
    units = [key for key, total in cost.items() if _near(total, spent)] if isinstance(cost, Mapping) else []
    up = next(iter(score)) if isinstance(score, Mapping) and score else "score"
    return {"policy": name, "across": units[0] if units else "cost so far", "up": up, "points": points}


def _near(total: Any, spent: float) -> bool:
    return isinstance(total, (int, float)) and abs(total - spent) <= 0.05 * max(spent, 1e-12)

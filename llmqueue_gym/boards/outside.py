"""What comes from outside: the folder of an entry, which anybody may send.

It has `card.json` with at least `name`, `board`, `description` and `command`, and beside it either the numbers of a
learned policy, `policy.npz` (see `policies.learned.artefact`), or one file `policy.py` (see `boards.source`). The
command says how the entry came to be: how it was trained, or that it was written by hand.

Its files are read once, no more of them than is allowed, and what was read is what is played and kept.
"""

import hashlib
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmqueue_gym.boards import source
from llmqueue_gym.boards.board import Board, boards
from llmqueue_gym.boards.entry import Entry, misfit
from llmqueue_gym.boards.traits import fair_traits
from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.policies.base import BasePolicy
from llmqueue_gym.policies.learned.artefact import CARD, NUMBERS, build, check_card, read_numbers
from llmqueue_gym.storage import parsed
from llmqueue_gym.systems import SYSTEMS

CODE = "policy.py"
_MOST = {CARD: 2**18, CODE: source.MOST_BYTES, NUMBERS: 2**16}  # bytes
_TEXTS = {"name": 64, "board": 64, "description": 500, "command": 4000}  # letters
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class Files:
    """The files of an entry.

    Attributes:
        folder: where they lie.
        content: by name.
    """

    folder: Path
    content: Mapping[str, bytes]

    def digest(self, *more: object) -> bytes:
        """Return a hash of the files and of what else is told."""
        told = [*(part for name in sorted(self.content) for part in (name.encode(), self.content[name]))]
        told += [str(one).encode() for one in more]
        return hashlib.sha256(b"".join(len(part).to_bytes(8) + part for part in told)).digest()


def read_files(folder: Path) -> Files:
    """Return the files of an entry.

    Raises:
        BadInput: one is missing, too many, too large, or not a plain file.
    """
    content = {}
    for name, most in _MOST.items():
        path = folder / name
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise BadInput(f"{path}: not a plain file")
        if path.is_file():
            with path.open("rb") as file:
                content[name] = file.read(most + 1)
            if len(content[name]) > most:
                raise BadInput(f"{path}: larger than the {most} bytes that an entry may have there")
    if CARD not in content:
        raise BadInput(f"{folder / CARD}: no such file; an entry is a folder with {CARD} and a policy")
    if (CODE in content) == (NUMBERS in content):
        both = "both are there" if CODE in content else f"neither {CODE} nor {NUMBERS} is there"
        raise BadInput(f"{folder}: {both}; an entry is a card and one of {CODE} and {NUMBERS}")
    return Files(folder, content)


def read(folder: Path, among: Mapping[str, Board] | None = None) -> tuple[Board, Entry]:
    """Return the entry of a folder, and its board.

    Args:
        folder: where card and policy lie.
        among: boards by name; those of the library unless told otherwise.

    Raises:
        TruthError: its policy reads true sizes.
        BadInput: something is missing or is not what it should be; the message names it.
    """
    files = read_files(folder)
    board, known = read_card(files)["board"], boards() if among is None else among
    if board not in known:
        raise BadInput(f"{folder}: unknown board {board!r}; {nearest(board, known)}")
    return known[board], entry_of(files, known[board])


def entry_of(files: Files, on: Board) -> Entry:
    """Return the entry that files are, on a board; see `read`."""
    card, wanted = read_card(files), on.kind.policies.made
    learned = NUMBERS in files.content
    made, count = (_trained if learned else _written)(files, card, wanted)
    if count > on.numbers:
        raise BadInput(
            f"{files.folder}: {count} numbers; an entry of board {on.name!r} has at most {on.numbers}, so that it is a "
            "rule and no table of jobs"
        )
    if type(made) is not wanted:
        raise BadInput(f"{files.folder}: board {on.name!r} is for a {wanted.__name__}, not a {type(made).__name__}")
    if why := misfit(made, on):
        raise BadInput(f"{files.folder}: on board {on.name!r} {why}")
    learned = learned or card.get("learned", False)
    said = (card["name"], made, card["description"], card["command"], learned)
    return Entry(*said, files=files, made_by=(entry_of, (files, on)))


def read_card(files: Files) -> dict[str, Any]:
    """Return the card of an entry; BadInput where something is missing, or is not plain text."""
    path = files.folder / CARD
    try:
        card = parsed(files.content[CARD].decode("utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not JSON ({error})") from None
    if type(card) is not dict:
        raise BadInput(f"{path}: a card is a JSON object")
    for key, most in _TEXTS.items():
        text = card.get(key)
        if type(text) is not str or not text.strip():
            raise BadInput(f"{path}: {key!r} is missing; a card says {', '.join(_TEXTS)}")
        if len(text) > most or not text.isprintable():
            raise BadInput(f"{path}: {key!r} must be at most {most} printable letters in one line")
    if not NAME.fullmatch(card["name"]):
        raise BadInput(
            f"{path}: name {card['name']!r} must be letters, digits, - and _, of ASCII, and not begin with _"
        )
    if type(card.get("learned", False)) is not bool:
        raise BadInput(f"{path}: 'learned' must be true or false")
    cost, curve = card.get("cost", {}), card.get("curve", [])
    if type(cost) is not dict or not _is_row([0, *cost.values()]) or not all(map(_is_word, cost)):
        raise BadInput(f"{path}: 'cost' must be numbers by name")
    if type(curve) is not list or not all(map(_is_row, curve)):
        raise BadInput(f"{path}: 'curve' must be rows of numbers")
    if type(card.get("score", {})) is dict and not all(map(_is_word, card.get("score", {}))):
        raise BadInput(f"{path}: 'score' must be numbers by name")
    if _plain(card["name"]) in {_plain(name) for kind in SYSTEMS for name in _policies(kind)}:
        raise BadInput(f"{path}: the library has a policy of that name, {card['name']!r}; choose another")
    return card


def card_in(path: Path) -> dict[str, Any]:
    """Return the card of an entry from its path."""
    return read_card(read_files(path.parent))


def _policies(system: str) -> Any:
    kind: Any = SYSTEMS.builder(system)
    return kind.policies


def _is_word(text: Any) -> bool:
    return 0 < len(text) <= _TEXTS["name"] and text.isprintable()


def _is_row(row: Any) -> bool:
    return type(row) is list and len(row) > 0 and all(type(x) in (int, float) and abs(x) < 1e300 for x in row)


def _plain(name: str) -> str:
    """Return a name as a reader may take it."""
    return name.lower().replace("_", "-")


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")


def _written(files: Files, card: Mapping[str, Any], kind: type[BasePolicy]) -> tuple[BasePolicy, int]:
    """Return the policy of a text, and how many numbers it has."""
    path = files.folder / CODE
    try:
        text = files.content[CODE].decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from None
    return source.read_source(text, str(path), kind, card["name"])


def _trained(files: Files, card: Mapping[str, Any], kind: type[BasePolicy]) -> tuple[BasePolicy, int]:
    """Return the policy of a network, and how many numbers it has."""
    path, where = files.folder / CARD, files.folder / NUMBERS
    check_card(card, path)
    params = read_numbers(io.BytesIO(files.content[NUMBERS]), str(where))
    traits = fair_traits(kind, card["traits"], str(path))
    made: BasePolicy = build({**card, "traits": traits}, params, str(path))
    return made, len(params)

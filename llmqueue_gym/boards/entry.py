"""Who plays: every registered policy, trained artefacts, folders from outside, and agents that act on observations.

An entry's folder has `card.json` with at least `name`, `board`, `description` and `command`, and beside it either the
numbers of a learned policy (`policy.npz`; see `policies.learned.artefact`) or one file `policy.py`, which defines
`policy`: a policy of the board's system, or a plain function of its kind. The command says how the entry came to be:
how it was trained, or that it was written by hand.
"""

import json
import os
import runpy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmqueue_gym.boards.board import Board, boards
from llmqueue_gym.boards.vetting import vet
from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.policies import PREDICTION, TRUTH
from llmqueue_gym.policies.base import BasePolicy
from llmqueue_gym.policies.learned import Trained, load
from llmqueue_gym.systems import System

CARD, CODE, NUMBERS = "card.json", "policy.py", "policy.npz"
NEEDED = ("name", "board", "description", "command")


@dataclass(frozen=True)
class Entry:
    """A policy or an agent on a board.

    Attributes:
        name: by which it is listed.
        player: what plays.
        description: one line.
        command: how it came to be; empty for what the library defines in its own files.
        learned: whether it was trained.
        folder: where it lies, or None.
        view: of an agent, what it sees beside what the board says.
        made_by: function and arguments that make it in another process; None where it is sent as it is.
    """

    name: str
    player: Any
    description: str = ""
    command: str = ""
    learned: bool = False
    folder: Path | None = None
    view: Mapping[str, Any] = field(default_factory=dict)
    made_by: tuple[Callable[..., "Entry"], tuple[Any, ...]] | None = field(default=None, compare=False)

    def __reduce__(self) -> Any:
        """Return what makes it again; functions of an entry's file cannot be sent."""
        return super().__reduce__() if self.made_by is None else self.made_by

    @property
    def told(self) -> str:
        """What it is told of a job; an agent sees predictions."""
        return str(self.player.told) if isinstance(self.player, BasePolicy) else PREDICTION


def registered(on: Board) -> Iterator[Entry]:
    """Give every registered policy that can play on a board, the trained ones of the zoo among them."""
    for name in on.kind.policies:
        if name not in on.leave_out:
            entry = named(on.kind, name)
            if misfit(entry.player, on) is None:
                yield entry


def named(kind: type[System], name: str) -> Entry:
    """Return the entry of a registered policy of a system."""
    builder: Any = kind.policies.builder(name)
    made = kind.policies(name)
    learned = isinstance(builder, Trained)
    words = (builder.__doc__ or made.source).strip().split("\n")[0]
    command = made.source.removeprefix("trained: ") if learned else ""
    return Entry(name, made, words, command, learned, made_by=(named, (kind, name)))


def agent_entry(make: Callable[[str], Any], path: str, view: Mapping[str, Any]) -> Entry:
    """Return the entry of a trained agent, or of a policy that lies beside its card.

    Args:
        make: makes it from its path, here and in other processes.
        path: its file or folder.
        view: what it sees, as the system's view says it.
    """
    made, name = make(path), Path(path).resolve().stem
    made_by = (agent_entry, (make, path, dict(view)))
    return Entry(name, made, f"from {path}", f"trained elsewhere: {path}", True, view=view, made_by=made_by)


def misfit(made: Any, on: Board) -> str | None:
    """Return why a policy of the right kind has no place on a board; None where it has."""
    if made.drops:
        return "nobody sends jobs away, which agents alone can do"
    for trait, wanted in on.players.items():
        value = getattr(made, trait, None)
        if isinstance(wanted, Mapping):
            fits = value is not None and value <= wanted["most"]
        else:
            fits = value in wanted if isinstance(wanted, tuple) else value == wanted
        if not fits:
            return on.rule or f"a policy has {trait}={wanted!r}"
    return None


def plays(entry: Entry, on: Board) -> bool | None:
    """Tell whether an agent, or a policy from outside, takes the decisions of a board; None where it does not say."""
    if isinstance(entry.player, BasePolicy):
        return isinstance(entry.player, on.kind.policies.made) and misfit(entry.player, on) is None
    space = getattr(entry.player, "observation_space", None)
    if space is None:
        return None
    view = on.kind.view(**{**entry.view, **on.view}) if on.kind.view else None
    return view is not None and all(space == view.spaces(scenario)[0] for scenario in on.scenarios.values())


def find(on: Board, name: str, others: Iterator[Entry] | tuple[Entry, ...] = ()) -> Entry:
    """Return an entry of a board by its name; BadInput with the nearest where there is none."""
    everybody = {entry.name: entry for entry in (*registered(on), *others)}
    if name not in everybody:
        raise BadInput(f"no policy {name!r} on board {on.name!r}; {nearest(name, everybody)}")
    return everybody[name]


def read(folder: str | os.PathLike[str], among: Mapping[str, Board] | None = None) -> tuple[Board, Entry]:
    """Return the entry of a folder, and its board.

    Args:
        folder: where card and policy lie.
        among: boards by name; those of the library unless told otherwise.

    Raises:
        TruthError: its policy reads true sizes.
        BadInput: something is missing or is not what it should be; the message names it.
    """
    folder = Path(folder)
    card, known = read_card(folder), boards() if among is None else among
    if card["board"] not in known:
        raise BadInput(f"{folder}: unknown board {card['board']!r}; {nearest(card['board'], known)}")
    on = known[card["board"]]
    wanted: Any = on.kind.policies.made
    if (folder / NUMBERS).is_file():
        made, learned = load(folder), True
    elif (folder / CODE).is_file():
        made, learned = _from_code(folder / CODE, on, card["name"]), bool(card.get("learned", False))
    else:
        raise BadInput(f"{folder}: neither {CODE} nor {NUMBERS} is there; an entry is a card and one of them")
    if not isinstance(made, wanted):
        raise BadInput(f"{folder}: board {on.name!r} is for a {wanted.__name__}, not a {type(made).__name__}")
    why = misfit(made, on)
    if why is None and made.predictor and made.told != TRUTH:
        why = f"predictions are those of the scenario, and the policy brings its own, {made.predictor!r}"
    if why is not None:
        raise BadInput(f"{folder}: on board {on.name!r} {why}")
    made_by = (_again, (str(folder), None if among is None else on))
    return on, Entry(card["name"], made, card["description"], card["command"], learned, folder, made_by=made_by)


def read_card(folder: Path) -> dict[str, Any]:
    """Return the card of an entry; BadInput where something is missing."""
    path = folder / CARD
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file; an entry is a folder with {CARD} and a policy") from None
    except ValueError as error:
        raise BadInput(f"{path}: not JSON ({error})") from None
    for key in NEEDED:
        if not isinstance(card, dict) or not isinstance(card.get(key), str) or not card[key].strip():
            raise BadInput(f"{path}: {key!r} is missing; a card says {', '.join(NEEDED)}")
    if not card["name"].replace("-", "").replace("_", "").isalnum():
        raise BadInput(f"{path}: name {card['name']!r} must be letters, digits, - and _")
    return card


def _again(folder: str, on: Board | None) -> Entry:
    return read(folder, None if on is None else {on.name: on})[1]


def _from_code(path: Path, on: Board, name: str) -> Any:
    """Return what a file defines as `policy`, once its text has been read."""
    vet(path)
    try:
        defined = runpy.run_path(str(path), run_name=f"entry_{name}")
    except Exception as error:
        raise BadInput(f"{path}: {type(error).__name__}: {error}") from None
    if "policy" not in defined:
        raise BadInput(f"{path}: it defines no `policy`, a {on.kind.policies.made.__name__} or a plain function")
    return on.kind.policies(defined["policy"])

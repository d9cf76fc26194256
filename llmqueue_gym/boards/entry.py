"""Who plays: every registered policy, trained artefacts, entries from outside, and agents that act on observations."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmqueue_gym.boards.board import Board, fair_view
from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.policies import PREDICTION
from llmqueue_gym.policies.base import BasePolicy
from llmqueue_gym.policies.learned import Trained
from llmqueue_gym.systems import System

if TYPE_CHECKING:
    from llmqueue_gym.boards.outside import Files


@dataclass(frozen=True)
class Entry:
    """A policy or an agent on a board.

    Attributes:
        name: by which it is listed.
        player: what plays.
        description: one line.
        command: how it came to be; empty for what the library defines in its own files.
        learned: whether it was trained.
        files: of one from outside, else None.
        view: of an agent, what it sees beside what the board says.
        made_by: function and arguments that make it in another process; None where it is sent as it is.
    """

    name: str
    player: Any
    description: str = ""
    command: str = ""
    learned: bool = False
    files: "Files | None" = None
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

    Raises:
        BadInput: it sees what gives sizes away.
    """
    fair_view(view)
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

"""A board is data: scenarios, frozen under a version, reporting seeds, and who may play; and how it is read.

    [boards.mine]
    title = "Two servers: who is served"
    system = "central"
    seeds = 8

    [boards.mine.scenarios]
    "load .9" = {servers = 2, load = 0.9, n_jobs = 40_000}

A scenario is a name and fields of `systems.Scenario`. Seeds of training and tuning are ten thousand or more, so those
of a board are unseen by whoever keeps to that.
"""

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from llmqueue_gym.boards.recorded import played, read_recordings
from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.systems import SYSTEMS, Scenario, System
from llmqueue_gym.systems.view import RESPONSE_TIME

DATA = Path(__file__).with_name("data")
TRACKS = (
    "mg1",
    "servers",
    "llm",
    "fleet",
    "prefix",
    "classes",
    "models",
    "programs",
)  # files of `DATA`, in the order in which they are shown
Fields = Mapping[str, Any]


@dataclass(frozen=True)
class Board:
    """A ranking of those who take one kind of decision.

    Attributes:
        name: of the board.
        title: in words.
        system: kind of system, a name in `systems.SYSTEMS`.
        fields: by the name of each scenario, its fields; where it plays a recording, `recording` names that.
        seeds: the reporting seeds.
        version: grows when a scenario changes.
        short: title of a few letters.
        base: who has score 0; who the system says unless told otherwise.
        view: what an agent sees and decides, fields of the system's view.
        players: traits that a policy must have: a value, a list of those allowed, or `{most = 2}`.
        rule: the same in words.
        numbers: most numbers in an entry from outside, constants and parameters. Hundreds of times as many jobs are
            scored, so that no table of them fits; the largest trained policy of the library has half as many numbers.
        leave_out: registered policies that do not belong here.
        beside: policies to hold side by side, because they differ in one thing.
        ratios: what is shown beside the score, over that of the base: metrics of the system by heading; see `measured`.
        shares: what is shown beside the score as it is, likewise.
        objectives: limits that goodput counts, as the system names them.
        episode: a short run for the page's player: `note`, `seed`, `scenario`, `view`.
        stored: whether its results are kept; recorded work is not to be had everywhere.
        track: name of its file.
        heading: title of the track.
        recordings: what its scenarios play, by name.
    """

    name: str
    title: str
    system: str
    fields: Mapping[str, Fields]
    seeds: tuple[int, ...]
    version: int = 1
    short: str = ""
    base: str = ""
    view: Fields = field(default_factory=dict)
    players: Fields = field(default_factory=dict)
    rule: str = ""
    numbers: int = 320
    leave_out: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    ratios: Mapping[str, str] = field(default_factory=dict)
    shares: Mapping[str, str] = field(default_factory=dict)
    objectives: Mapping[str, float] = field(default_factory=dict)
    episode: Fields | None = None
    stored: bool = True
    track: str = ""
    heading: str = ""
    recordings: Mapping[str, Fields] = field(default_factory=dict)

    @cached_property
    def kind(self) -> type[System]:
        """The class of its system."""
        found: Any = SYSTEMS.builder(self.system)
        return found

    @cached_property
    def scenarios(self) -> dict[str, Scenario]:
        """What is played, by name.

        Raises:
            BadInput: a field does not exist or is out of range; the message names board and scenario.
        """
        return {name: self._scenario(name) for name in self.fields}

    @property
    def cost(self) -> str:
        """What is scored, in words; less is better."""
        return str(next(iter(self.scenarios.values())).system.cost)

    @property
    def recorded(self) -> list[Fields]:
        """The recordings that its scenarios play, each once."""
        names = dict.fromkeys(given["recording"] for given in self.fields.values() if "recording" in given)
        return [self.recordings[name] for name in names]

    @property
    def requests(self) -> bool:
        """Whether its jobs are called requests."""
        return "n_requests" in self.kind.spelled

    @property
    def measured(self) -> tuple[str, ...]:
        """The metrics that are kept of each run beside the numbers of the system."""
        return (*self.ratios.values(), *self.shares.values())

    @property
    def missing(self) -> list[str]:
        """The files of recorded work that are not at hand."""
        return [str(one["file"]) for one in self.recorded if one["path"] is None]

    def sized(self, seeds: int, longest: int | None = None) -> "Board":
        """Return the board with the first seeds alone, and runs shortened or lengthened by one factor.

        Args:
            seeds: how many.
            longest: jobs in its longest run; None leaves them as they are.
        """
        sizes = {name: int(given.get("n_jobs", 10_000)) for name, given in self.fields.items()}
        scale = 1.0 if longest is None else longest / max(sizes.values())
        changed = {name: {**given, "n_jobs": max(1, round(sizes[name] * scale))} for name, given in self.fields.items()}
        return replace(self, fields=changed, seeds=tuple(range(seeds)))

    def _scenario(self, name: str) -> Scenario:
        try:
            made = Scenario(self.system, **played(self.system, dict(self.fields[name]), self.recordings))
            if told := made.overload():
                raise BadInput(told)
            return made
        except BadInput as error:
            raise BadInput(f"board {self.name!r}, scenario {name!r}: {error}") from None


def load_boards(path: str | os.PathLike[str], data: str | os.PathLike[str] | None = None) -> dict[str, Board]:
    """Return the boards of a file, by name.

    Args:
        path: a TOML file as in the module's words.
        data: folder of the recorded work; see `recorded.data_folder`.

    Raises:
        BadInput: the file cannot be read, or a key or a value in it is wrong; the message names it.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        given = tomllib.loads(text)
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except (ValueError, OSError, RecursionError) as error:
        raise BadInput(f"{path}: not a TOML file ({error})") from None
    _known(given, ("title", "boards", "recordings"), path)
    recordings = read_recordings(given.get("recordings", {}), data)
    track = Path(path).stem
    more = {"track": track, "heading": str(given.get("title", track)), "recordings": recordings}
    rows = given.get("boards")
    if not isinstance(rows, dict) or not rows:
        raise BadInput(f"{path}: there is no table [boards.NAME]")
    return {name: _read(name, row, more, path) for name, row in rows.items()}


def boards(track: str | None = None, data: str | os.PathLike[str] | None = None) -> dict[str, Board]:
    """Return the boards that come with the library by name, those of one track or all.

    Raises:
        BadInput: there is no such track.
    """
    if track is not None and track not in TRACKS:
        raise BadInput(f"unknown track {track!r}; {nearest(track, TRACKS)}")
    files = TRACKS if track is None else (track,)
    return {name: on for file in files for name, on in load_boards(DATA / f"{file}.toml", data).items()}


def board(name: str) -> Board:
    """Return a board; BadInput with the nearest name where there is none."""
    return chosen(name)[name]


def chosen(given: str | None = None, data: str | os.PathLike[str] | None = None) -> dict[str, Board]:
    """Return boards by name: those whose results are stored, the one that is named, or those of a file.

    Args:
        given: None, the name of a board, or a file that ends in `.toml`.
        data: folder of the recorded work.
    """
    if given is not None and given.endswith(".toml"):
        return load_boards(given, data)
    found = boards(data=data)
    if given is None:
        return {name: on for name, on in found.items() if on.stored}
    if given not in found:
        raise BadInput(f"unknown board {given!r}; {nearest(given, found)}")
    return {given: found[given]}


def fair_view(view: Fields) -> Fields:
    """Return the view of an agent; BadInput where its reward is weighed by true sizes, which gives them away."""
    reward = view.get("reward", "response_time")
    if reward not in RESPONSE_TIME:
        words = ", ".join(RESPONSE_TIME)
        raise BadInput(f"reward={reward!r} gives hidden sizes away, so no board has it; choose from: {words}")
    return view


def _seeds(value: Any) -> tuple[int, ...]:
    given = range(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(given, (range, list)) or len(given) < 2 or not all(isinstance(seed, int) for seed in given):
        raise BadInput(f"seeds={value!r:.80} must be how many there are, 2 or more, or a list of them")
    return tuple(given)


_MADE: dict[str, Callable[[Any], Any]] = {"seeds": _seeds, "leave_out": tuple, "beside": tuple}
_TYPES: dict[str, tuple[type, str]] = {
    **dict.fromkeys(("title", "system", "short", "base", "rule"), (str, "a text")),
    **dict.fromkeys(("fields", "view", "players", "ratios", "shares", "objectives", "episode"), (dict, "a table")),
    **dict.fromkeys(("leave_out", "beside"), (list, "a list")),
    **dict.fromkeys(("version", "numbers"), (int, "a whole number")),
    "stored": (bool, "true or false"),
}
_WRITTEN = {"fields": "scenarios"}  # as the file has it
_SET_HERE = ("name", "track", "heading", "recordings")


def _read(name: str, row: Any, more: Fields, path: str | os.PathLike[str]) -> Board:
    where = f"{path}: board {name!r}"
    if not isinstance(row, dict) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise BadInput(f"{where} must be a table, and its name letters, digits, - and _")
    given = {"fields" if key == "scenarios" else key: value for key, value in row.items()}
    own = [field.name for field in fields(Board) if field.name not in _SET_HERE]
    _known(given, own, where)
    for key in ("title", "system", "fields", "seeds"):
        if not given.get(key):
            raise BadInput(f"{where} has no {_WRITTEN.get(key, key)}")
    for key, value in given.items():
        wanted, words = _TYPES.get(key, (object, ""))
        if wanted is not object and type(value) is not wanted:
            raise BadInput(f"{where}: {_WRITTEN.get(key, key)}={value!r} must be {words}")
    for scenario, told in given["fields"].items():
        if type(told) is not dict or type(told.get("n_jobs", 1)) is not int:
            raise BadInput(f"{where}: scenario {scenario!r} must be a table, and its n_jobs a whole number")
    if given["system"] not in SYSTEMS:
        raise BadInput(f"{where}: unknown system {given['system']!r}; {nearest(str(given['system']), SYSTEMS)}")
    try:
        given = {key: _MADE.get(key, _tuples)(value) for key, value in given.items()}
        fair_view(given.get("view", {}))
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from None
    kind: Any = SYSTEMS.builder(given["system"])
    return Board(name=name, **{"short": name, "base": kind.base, **given}, **more)


def _known(given: Fields, known: Any, where: Any) -> None:
    for key in given:
        if key not in known:
            words = [_WRITTEN.get(name, name) for name in known]
            raise BadInput(f"{where} has no key {key!r}; {nearest(key, words)}")


def _tuples(value: Any) -> Any:
    """Return a value of TOML with tuples for lists, which do not change."""
    if isinstance(value, list):
        return tuple(_tuples(part) for part in value)
    return {key: _tuples(part) for key, part in value.items()} if isinstance(value, dict) else value

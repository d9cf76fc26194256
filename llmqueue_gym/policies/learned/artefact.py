"""What training leaves behind: a folder with `policy.npz`, the numbers, and `card.json`, where they are from.

The library replays it as an ordinary policy, compiled and without the framework that trained it. A card has

* `name`, `kind` (a name in `KINDS`), `traits` (of that kind's policy, such as `{"preemptive": true}`), `description`;
* `trained_on`: the environment or scenario and its arguments;
* `seeds`: pairs [first, end) of all that training saw, none below `TRAINING_SEEDS`, so that reports use others;
* `command`: what was typed; `commit`: of the checkout; `cost`: seconds, and steps or jobs played;
* `curve`: rows of (cost so far, score so far), may be empty.
"""

import io
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.registry import Registry

_HERE = "llmqueue_gym.policies.learned"

KINDS = Registry(
    "kind of learned policy",
    {
        "order": f"{_HERE}.order:order",
        "cluster-order": f"{_HERE}.cluster_order:cluster_order",
        "packing": f"{_HERE}.packing_order:packing_order",
        "dispatch": f"{_HERE}.dispatch_score:dispatch_score",
        "serving": f"{_HERE}.serving_rank:serving_rank",
        "prefix-order": f"{_HERE}.prefix_rank:prefix_rank",
        "routing": f"{_HERE}.routing_score:routing_score",
    },
)
CARD, NUMBERS = "card.json", "policy.npz"
MOST_BYTES = 2**23  # of numbers
TRAINING_SEEDS = 10_000  # and up; reports use seeds below
_TEXTS, _TABLES = ("name", "kind", "description", "command"), ("traits", "trained_on", "cost")


def load(folder: str | os.PathLike[str]) -> Any:
    """Return the policy of a folder: a `Policy`, `PackingPolicy`, `DispatchPolicy`, `ServingPolicy` or
    `RoutingPolicy`.

    Raises:
        BadInput: a file is missing or is not what it should be; the message names it.
    """
    card, path = read_card(folder), Path(folder, NUMBERS)
    try:
        with path.open("rb") as file:
            params = read_numbers(file, str(path))
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file; an artefact is a folder with {CARD} and {NUMBERS}") from None
    return build(card, params, str(Path(folder, CARD)))


def build(card: Mapping[str, Any], params: np.ndarray, where: str) -> Any:
    """Return the policy of a card and its numbers; BadInput where they do not fit."""
    builder: Callable[..., Any] = KINDS.builder(card["kind"])
    try:
        return builder(card["name"], params, f"trained: {card['command']}", **card["traits"])
    except TypeError as error:
        raise BadInput(f"{where}: traits {card['traits']!s:.80} do not fit the kind: {error}") from None


def read_numbers(file: IO[bytes], where: str) -> np.ndarray:
    """Return the array `params` `(k,)` of an npz file. Its sizes are looked at before anything is unpacked.

    Args:
        file: opened.
        where: its path, for messages.

    Raises:
        BadInput: it has something else, or more than `MOST_BYTES`.
    """
    try:
        with zipfile.ZipFile(file) as packed:
            (member,) = packed.infolist()
            if member.filename != "params.npy" or member.file_size > MOST_BYTES:
                raise ValueError(f"{member.filename!r} of {member.file_size} bytes")
            with packed.open(member) as unpacked:
                data = unpacked.read(MOST_BYTES)
        begin = io.BytesIO(data)
        if np.lib.format.read_magic(begin) != (1, 0):  # type: ignore[no-untyped-call]
            raise ValueError("another version of the format")
        shape, _, dtype = np.lib.format.read_array_header_1_0(begin)  # type: ignore[no-untyped-call]
        if dtype != np.float64 or shape != (len(data[begin.tell() :]) // 8,):
            raise ValueError(f"{dtype} {shape}")
        return np.frombuffer(data, np.float64, offset=begin.tell()).copy()
    except Exception as error:  # a damaged or wicked file raises whatever NumPy and its unpackers do
        why = str(error).partition("\n")[0]
        raise BadInput(f"{where}: not a file of an artefact, one array `params` of float64 ({why})") from None


def read_card(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the card of a folder.

    Raises:
        BadInput: there is none, it is not JSON, or it lacks something.
    """
    path = Path(folder, CARD)
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file; an artefact is a folder with {CARD} and {NUMBERS}") from None
    except ValueError as error:
        raise BadInput(f"{path}: not JSON ({error})") from None
    check_card(card, path)
    return card


def save(folder: str | os.PathLike[str], params: np.ndarray, card: Mapping[str, Any]) -> Path:
    """Write an artefact, whole or not at all; one that is there is replaced.

    Args:
        folder: made where it is missing.
        params: `(k,)`, finite.
        card: see the module.

    Raises:
        BadInput: the card lacks something, or the numbers are not of its kind.
    """
    folder = Path(folder)
    check_card(card, folder / CARD)
    KINDS.builder(card["kind"])(card["name"], params, "", **card["traits"])  # a bad one is refused before it is kept
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        new = Path(made, folder.name)
        new.mkdir()
        np.savez(new / NUMBERS, params=np.asarray(params, np.float64))
        (new / CARD).write_text(json.dumps(card, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        if folder.exists():
            os.replace(folder, Path(made, "old"))
        shutil.move(new, folder)
    return folder


def check_card(card: Any, path: Path) -> None:
    """Refuse a card that is not as the module says; the path is for the message."""
    if not isinstance(card, Mapping):
        raise BadInput(f"{path}: a card is a JSON object")
    for key, kind in [*((key, str) for key in _TEXTS), *((key, Mapping) for key in _TABLES)]:
        if not isinstance(card.get(key), kind):
            raise BadInput(f"{path}: {key!r} is missing or is not {'text' if kind is str else 'an object'}")
    if card["kind"] not in KINDS:
        raise BadInput(f"{path}: unknown kind {card['kind']!r}; {nearest(card['kind'], KINDS)}")
    if not card["command"].strip():
        raise BadInput(f"{path}: the command that made the policy is missing")
    seeds = card.get("seeds")
    if not isinstance(seeds, list) or not all(_are_seeds(pair) for pair in seeds):
        wrong = next((pair for pair in seeds if not _are_seeds(pair)), None) if isinstance(seeds, list) else seeds
        raise BadInput(
            f"{path}: seeds must be a list of pairs [first, end) from {TRAINING_SEEDS} on, not {wrong!r:.80}"
        )


def _are_seeds(pair: Any) -> bool:
    whole = isinstance(pair, (list, tuple)) and len(pair) == 2 and all(type(seed) is int for seed in pair)
    return whole and TRAINING_SEEDS <= pair[0] < pair[1]

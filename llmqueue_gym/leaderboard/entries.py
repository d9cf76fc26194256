"""Who plays: every registered policy, and folders with a policy and a card.

An entry's folder has `card.json` with at least `name`, `board`, `description` and `command`, and beside it either the
numbers of a learned policy (`policy.npz`; see `policies.learned.artefact`) or one file `policy.py`, which defines
`policy`: a policy of the board's type, or a plain rank or score function. The command says how the entry came to be:
how it was trained, or that it was written by hand.
"""

import json
import os
import runpy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmqueue_gym.errors import BadInput
from llmqueue_gym.leaderboard.boards import Board, board
from llmqueue_gym.leaderboard.vetting import vet
from llmqueue_gym.policies import IMPATIENT_POLICIES, POLICIES, policy
from llmqueue_gym.policies.base import Policy
from llmqueue_gym.policies.dispatch import DISPATCH_POLICIES, DispatchPolicy
from llmqueue_gym.policies.learned import load, stored
from llmqueue_gym.policies.packing import PACKING, PackingPolicy, packing_policy
from llmqueue_gym.policies.serving import SERVING_POLICIES, ServingPolicy, serving_policy
from llmqueue_gym.registry import Registry

CARD, CODE, NUMBERS = "card.json", "policy.py", "policy.npz"
NEEDED = ("name", "board", "description", "command")
NOTHING, PREDICTION, TRUTH = "nothing", "prediction", "truth"
CHOICES = 2  # queues that a dispatcher may look at
_OF_PREDICTIONS = frozenset(("predicted", "work", "left", "alike"))  # columns of a job or a queue

_REGISTRIES: dict[type, tuple[Registry, ...]] = {
    Policy: (POLICIES,),
    DispatchPolicy: (DISPATCH_POLICIES,),
    PackingPolicy: (PACKING,),
    ServingPolicy: (SERVING_POLICIES,),
}
_MAKERS: dict[type, Callable[[Any], Any]] = {
    Policy: policy,
    PackingPolicy: packing_policy,
    ServingPolicy: serving_policy,
    DispatchPolicy: lambda given: DispatchPolicy(given.__name__, given, d=CHOICES) if callable(given) else given,
}


@dataclass(frozen=True)
class Entry:
    """A policy on a board.

    Attributes:
        name: by which it is listed.
        board: where it plays.
        policy: what plays.
        description: one line.
        command: how it came to be; empty for what the library defines in its own files.
        learned: whether it was trained.
        folder: where it lies, or None.
    """

    name: str
    board: Board
    policy: Any
    description: str
    command: str = ""
    learned: bool = False
    folder: Path | None = None

    @property
    def sees(self) -> str:
        """What it is told of a job."""
        made = self.policy
        if _brings(made).startswith("exact"):
            return TRUTH
        if isinstance(made, (PackingPolicy, ServingPolicy)):
            return PREDICTION if made.uses_predictions else NOTHING
        if isinstance(made, DispatchPolicy):
            told = made.predictive or not _OF_PREDICTIONS.isdisjoint(made.score.__code__.co_names)
            return PREDICTION if told else NOTHING
        return PREDICTION if "predicted" in made.reads() else NOTHING


def _brings(made: Any) -> str:
    """Return the predictor that a policy brings along; empty where it takes that of the scenario."""
    return getattr(made, "predictor", None) or ""


def registered(on: Board) -> Iterator[Entry]:
    """Give every registered policy that can play on a board, the learned ones of the zoo among them."""
    registries = _REGISTRIES[on.plays]
    if on.name == "impatient":
        registries = (*registries, IMPATIENT_POLICIES)
    trained = stored("order", "cluster-order", "packing", "dispatch", "serving")
    for registry in registries:
        for name in registry:
            made = registry.make(name)
            if misfit(made, on) is None:
                words = (registry.builder(name).__doc__ or made.source).strip().split("\n")[0]
                command = made.source.removeprefix("trained: ") if name in trained else ""
                yield Entry(name, on, made, words, command, name in trained)


def misfit(made: Any, on: Board) -> str | None:
    """Return why a policy of the right type has no place on a board; None where it has."""
    if isinstance(made, DispatchPolicy) and (made.looks == "all" or made.d > CHOICES):
        return f"a policy looks at no more than {CHOICES} queues"
    if isinstance(made, PackingPolicy) and made.packing == "quickswap":
        return "jobs have other needs than one server or all"
    if not on.preemptive and made.preemptive:
        return "a job that has started keeps its server, so a policy has preemptive=False"
    return None


def read(folder: str | os.PathLike[str]) -> Entry:
    """Return the entry of a folder.

    Raises:
        TruthError: its policy reads true sizes.
        BadInput: something is missing or is not what it should be; the message names it.
    """
    folder = Path(folder)
    card = _card(folder)
    on = board(card["board"])
    if (folder / NUMBERS).is_file():
        made, learned = load(folder), True
    elif (folder / CODE).is_file():
        made, learned = _from_code(folder / CODE, on, card["name"]), bool(card.get("learned", False))
    else:
        raise BadInput(f"{folder}: neither {CODE} nor {NUMBERS} is there; an entry is a card and one of them")
    if not isinstance(made, on.plays):
        raise BadInput(f"{folder}: board {on.name!r} is for a {on.plays.__name__}, not a {type(made).__name__}")
    why = misfit(made, on)
    if why is None and _brings(made) and not _brings(made).startswith("exact"):
        why = f"predictions are those of the scenario, and the policy brings its own, {_brings(made)!r}"
    if why is not None:
        raise BadInput(f"{folder}: on board {on.name!r} {why}")
    return Entry(card["name"], on, made, card["description"], card["command"], learned, folder)


def _card(folder: Path) -> dict[str, Any]:
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


def _from_code(path: Path, on: Board, name: str) -> Any:
    """Return what a file defines as `policy`, once its text has been read."""
    vet(path)
    try:
        defined = runpy.run_path(str(path), run_name=f"entry_{name}")
    except Exception as error:
        raise BadInput(f"{path}: {type(error).__name__}: {error}") from None
    if "policy" not in defined:
        raise BadInput(f"{path}: it defines no `policy`, a {on.plays.__name__} or a plain function")
    return _MAKERS[on.plays](defined["policy"])

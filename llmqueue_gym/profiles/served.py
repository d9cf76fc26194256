"""Models that answer whole calls, as who chooses between them sees them: how fast, at what price, and how often right.

    llama-1b:seats=2/llama-70b:seats=16

are two models, the weakest first. One of your own is `model` with its numbers, such as `model:tpot=0.02,right=0.7`.
"""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from llmqueue_gym.errors import BadInput
from llmqueue_gym.registry import Registry, text_of

FILE = Path(__file__).with_name("served.toml")
MOST_MODELS, MOST_SEATS = 16, 1024
LONGEST = 1e4  # s to a first token, or for each token, at most
DEAREST = 1e6  # USD per million tokens at most
UNNAMED = "model"


@dataclass(frozen=True)
class Served:
    """A model and the replicas that serve it.

    Attributes:
        name: of the model.
        seats: calls that all its replicas together answer at a time; others wait, first come first served.
        ttft: s to the first token.
        tpot: s for each output token.
        read: USD per million tokens of prompts.
        write: USD per million output tokens.
        right: share of its answers that are right, where a law of questions says which.
        wordy: its mean output over what the size of a call says.
    """

    name: str
    seats: int = 8
    ttft: float = 0.0
    tpot: float = 0.01
    read: float = 0.0
    write: float = 0.0
    right: float = 0.5
    wordy: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.seats, int) or isinstance(self.seats, bool) or not 1 <= self.seats <= MOST_SEATS:
            raise BadInput(f"{self.name}: seats={self.seats!r} must be a whole number from 1 to {MOST_SEATS}")
        for name, most in (("ttft", LONGEST), ("read", DEAREST), ("write", DEAREST)):
            self._check(name, 0 <= getattr(self, name) <= most, f"lie in [0, {most:g}]")
        for name, most in (("tpot", LONGEST), ("wordy", 1e3)):
            self._check(name, 0 < getattr(self, name) <= most, f"be positive, and {most:g} at most")
        self._check("right", 0 < self.right < 1, "lie between 0 and 1, for example 0.7")

    def __str__(self) -> str:
        """Return the spec, of what differs from the model of this name."""
        usual = SERVED(self.name if self.name in SERVED else UNNAMED)
        numbers = {field.name: getattr(self, field.name) for field in fields(self)[1:]}
        told = [f"{key}={text_of(value)}" for key, value in numbers.items() if value != getattr(usual, key)]
        return f"{self.name}:{','.join(told)}" if told else self.name

    def _check(self, name: str, good: bool, rule: str) -> None:
        if not good:
            raise BadInput(f"{self.name}: {name}={getattr(self, name):g} must {rule}")

    @property
    def rate(self) -> float:
        """Tokens per s, of sizes, that it answers when all seats are taken; first tokens are not counted."""
        return self.seats / (self.wordy * self.tpot)


def _entries() -> dict[str, Callable[..., Any]]:
    told = tomllib.loads(FILE.read_text(encoding="utf-8"))
    known = [field.name for field in fields(Served)]
    numbers = {name: {key: row[key] for key in known if key in row} for name, row in told.items()}
    return {name: partial(Served, name, **row) for name, row in {**numbers, UNNAMED: {}}.items()}


SERVED = Registry("model", _entries(), Served)


def served_models(given: Any) -> tuple[Served, ...]:
    """Return the models of a spec, in which `/` stands between them, or of a list.

    Raises:
        BadInput: there is none, or too many, or one is wrong, or they do not stand the weakest first.
    """
    if isinstance(given, str):
        given = given.replace(";", ",").split("/")
    if not isinstance(given, (tuple, list)) or not 1 <= len(given) <= MOST_MODELS:
        raise BadInput(f"models={given!r:.80} must be 1 to {MOST_MODELS} of them, as in llama-1b/llama-70b")
    try:
        models = tuple(SERVED(one) for one in given)
    except BadInput as error:
        raise BadInput(f"models={'/'.join(map(str, given))!r:.120}: {error}") from None
    for before, after in pairwise(models):
        if after.right < before.right:
            raise BadInput(
                f"models: {after.name}, right={after.right:g}, stands behind {before.name}, right={before.right:g}; "
                "name the weakest first"
            )
    return models

"""What an entry may say of its policy beside functions and numbers: traits of plain types, and a few rules."""

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin

from llmqueue_gym.columns import MOST_BUDGET, MOST_SEATS
from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.policies.base import EXACT, BasePolicy

MOST = 10**6  # of a count
MOST_EDGES = 16  # of classes
# What a policy decides of a rule set, and between which numbers; memory, model and clock are the scenario's.
_RULES: Mapping[str, Any] = {
    "token_budget": (1, MOST_BUDGET),
    "max_seqs": (1, MOST_SEATS),
    "long_prefill_threshold": (0, MOST_BUDGET),
    "watermark": (0.0, 0.99),
    "no_watermark": bool,
    "allocation": Literal["chunk", "known", "longest"],
}
_TRAITS: Mapping[str, Any] = {
    "rules": _RULES,
    "predictor": Literal[EXACT, None],  # better predictions than the scenario's are another game, but for the truth
    "preemption": Literal["recompute", "swap", None],  # "free" is of no engine
    "edges": tuple,  # of classes
}
_COUNT, _NUMBER = (0, MOST), (-math.inf, math.inf)


def fair_traits(kind: type[BasePolicy], given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the traits of an entry's policy.

    Args:
        kind: type of the policy; its fields that are a bool, a number or one of some words are traits.
        given: by field.
        where: what says so, for messages.

    Raises:
        BadInput: there is no such trait, or its value is of another type or out of range.
    """
    wanted = {field.name: _TRAITS.get(field.name, _wanted(field.type)) for field in fields(kind)}  # type: ignore[arg-type]
    return _fair(given, {name: one for name, one in wanted.items() if one is not None}, where)


def _wanted(kind: Any) -> Any:
    """Return what a field of a type may hold, or None where it is no trait."""
    return kind if kind is bool or get_origin(kind) is Literal else {int: _COUNT, float: _NUMBER}.get(kind)


def _fair(given: Mapping[str, Any], wanted: Mapping[str, Any], where: str) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in given.items():
        if type(name) is not str or name not in wanted:
            raise BadInput(f"{where}: an entry cannot set {name!r:.80}; {nearest(str(name)[:80], wanted)}")
        if isinstance(wanted[name], Mapping) and type(value) is dict:
            made[name] = _fair(value, wanted[name], f"{where}: {name}")
            continue
        good, told = _judged(value, wanted[name])
        if not good:
            raise BadInput(f"{where}: {name}={value!r:.80} must be {told}")
        made[name] = float(value) if wanted[name] == _NUMBER else value
        if wanted[name] is tuple:
            made[name] = tuple(float(edge) for edge in value)
    return made


def _judged(value: Any, wanted: Any) -> tuple[bool, str]:
    """Return whether a value is what is wanted, and that in words."""
    if isinstance(wanted, Mapping):
        return False, "a table"
    if wanted is bool:
        return type(value) is bool, "True or False"
    if wanted is tuple:
        few = type(value) in (tuple, list) and len(value) <= MOST_EDGES
        good = few and all(type(edge) in (int, float) and 0 < edge < 1e300 for edge in value)
        return good, f"a list of {MOST_EDGES} positive numbers at most"
    if isinstance(wanted, tuple):
        (least, most), types = wanted, (int,) if type(wanted[0]) is int else (int, float)
        good = type(value) in types and least <= value <= most and abs(value) < 1e300
        return good, "a finite number" if wanted == _NUMBER else f"a {types[-1].__name__} from {least} to {most}"
    words = get_args(wanted)
    return type(value) in (str, type(None)) and value in words, f"one of {', '.join(map(repr, words))}"

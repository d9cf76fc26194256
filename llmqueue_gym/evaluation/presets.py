"""Sets of policies that are compared together, by name; they are data, in `presets.toml`."""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.systems import Scenario
from llmqueue_gym.systems.base import Drawn


def _shared(scenario: Scenario, drawn: Drawn) -> bool:
    return "contexts" in drawn.truth and scenario.system.bound_rules.caching != "none"  # type: ignore[attr-defined]


# What a policy may need: whether requests have it, and the words where they do not.
NEEDS: dict[str, tuple[Callable[[Scenario, Drawn], bool], str]] = {
    "tenants": (lambda _, drawn: len(np.unique(drawn.work["tenant"])) > 1, "all requests are of one client"),
    "classes": (
        lambda _, drawn: len(np.unique(drawn.work["klass"])) > 1,
        "all requests are of one class; --classes tells more",
    ),
    "deadlines": (
        lambda _, drawn: bool(np.isfinite(drawn.work["deadline"]).any()),
        "no request has a deadline; --classes tells them",
    ),
    "shared": (_shared, "no prompts that begin alike are cached; a trace that tells them and rules with caching would"),
}


@dataclass(frozen=True)
class Preset:
    """Policies that are compared together.

    Attributes:
        name: of the preset.
        title: what they are.
        system: whose policies they are.
        loads: that are swept.
        matters: by how much of the base's mean an order has to be off.
        policies: rows with `words`, `policy` and, where something is needed, `needs`.
    """

    name: str
    title: str
    system: str
    loads: tuple[float, ...]
    matters: float
    policies: tuple[dict[str, str], ...]

    def playable(self, scenario: Scenario, seed: int) -> tuple[dict[str, str], list[tuple[str, str]]]:
        """Return the words of each policy that can be played, by its spec, and why the others cannot.

        Args:
            scenario: where.
            seed: of the requests.
        """
        drawn, able, left = scenario.draw(seed), {}, []
        for row in self.policies:
            has, why = NEEDS[row["needs"]] if "needs" in row else (None, "")
            if has is not None and not has(scenario, drawn):
                left.append((row["policy"], why))
                continue
            try:
                scenario.system.under(scenario.policy(row["policy"]))  # type: ignore[attr-defined]
            except BadInput as error:
                left.append((row["policy"], str(error)))
                continue
            able[row["policy"]] = row["words"]
        return able, left


@cache
def presets() -> dict[str, Preset]:
    """Return the presets by name."""
    told = tomllib.loads(Path(__file__).with_name("presets.toml").read_text(encoding="utf-8"))
    return {name: _preset(name, **one) for name, one in told.items()}


def _preset(name: str, loads: list[float], policies: list[dict[str, str]], **told: Any) -> Preset:
    return Preset(name, loads=tuple(loads), policies=tuple(policies), **told)


def preset(name: str) -> Preset:
    """Return a preset; BadInput where there is none such."""
    known: dict[str, Any] = presets()
    if name not in known:
        raise BadInput(f"unknown preset {name!r}; {nearest(name, known)}")
    return presets()[name]

"""Which drafts of a smaller model are accepted: laws of the chance of it, by request and by position in a draft.

Measured ones stand in `acceptance.toml`, each with its source and licence.
"""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.registry import Named, Registry

MOST = 0.999  # chance of acceptance; with one alone a draft never ends


class Acceptance(Named):
    """A law of acceptance.

    Attributes:
        shape: chance at each position of a draft, given that all before it are accepted, over that at the first
            position `(k,)`; the last holds for all positions behind it.
    """

    name: ClassVar[str] = "acceptance"
    shape: tuple[float, ...] = (1.0,)

    @property
    def mean(self) -> float:
        """The mean chance at the first position."""
        raise NotImplementedError

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return the chance at the first position of each request `(n,)`; each takes one number of `rng`."""
        raise NotImplementedError


@dataclass(frozen=True)
class Constant(Acceptance):
    """The same chance for all requests and positions, the model of Leviathan et al. (ICML 2023).

    Attributes:
        a: probability, in [0, 0.999].
    """

    name: ClassVar[str] = "constant"
    a: float = 0.8

    def __post_init__(self) -> None:
        self._check("a", 0 <= self.a <= MOST, f"lie in [0, {MOST}], for example 0.8")

    @property
    def mean(self) -> float:
        """The chance."""
        return self.a

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return the chance of each request."""
        rng.random(n)
        return np.full(n, float(self.a))


@dataclass(frozen=True)
class Uniform(Acceptance):
    """Requests differ: each has a chance of its own, evenly spread around the mean, for all positions. Ours.

    Attributes:
        a: mean.
        spread: greatest distance from it; what leaves [0, 0.999] is refused.
    """

    name: ClassVar[str] = "uniform"
    a: float = 0.7
    spread: float = 0.25

    def __post_init__(self) -> None:
        self._check("spread", self.spread >= 0, "not be negative")
        self._check("a", self.a - self.spread >= 0 and self.a + self.spread <= MOST, f"be within [0, {MOST}] all over")

    @property
    def mean(self) -> float:
        """The mean."""
        return self.a

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return the chance of each request."""
        return self.a + self.spread * (2 * rng.random(n) - 1)


@dataclass(frozen=True)
class Measured(Acceptance):
    """Chances by position as they were measured, the same for all requests.

    Of Spec-Bench, where the tokens of a step alone are published, it is the least chance that gives them with drafts of
    any length, 1 - 1 / tokens.

    Attributes:
        table: a name in `acceptance.toml`.
    """

    table: str

    def __post_init__(self) -> None:
        if self.table not in chances():
            raise BadInput(f"unknown acceptance {self.table!r}; {nearest(self.table, chances())}")

    def __str__(self) -> str:
        """Return the form that the registry reads, the table's name."""
        return self.table

    @property
    def shape(self) -> tuple[float, ...]:  # type: ignore[override]
        """The chance at each position, over that at the first."""
        given = chances()[self.table]
        return tuple(chance / given[0] for chance in given)

    @property
    def mean(self) -> float:
        """The chance at the first position."""
        return chances()[self.table][0]

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return the chance of each request."""
        rng.random(n)
        return np.full(n, self.mean)


@cache
def chances() -> dict[str, tuple[float, ...]]:
    """Return the chance at each position, given that all before it are accepted, of each table."""
    told = figures()
    found = {}
    for name, table in told["positions"].items():
        upto = [1.0, *table["accepted"]]
        found[name] = tuple(after / before for before, after in pairwise(upto))
    return {**found, **{name: (1 - 1 / tokens,) for name, tokens in told["tokens"].items()}}


@cache
def figures() -> dict[str, Any]:
    """Return `acceptance.toml` as it was published."""
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


def _measured(table: str) -> Callable[[], Measured]:
    def build() -> Measured:
        return Measured(table)

    return build


_HERE = "llmqueue_gym.workloads.acceptance"
ACCEPTANCES = Registry(
    Acceptance.name,
    {
        "constant": f"{_HERE}:Constant",
        "uniform": f"{_HERE}:Uniform",
        **{table: _measured(table) for table in chances()},
    },
    Acceptance,
)
acceptance = ACCEPTANCES.__call__  # a law from a spec such as `constant:a=0.8`, or the law itself

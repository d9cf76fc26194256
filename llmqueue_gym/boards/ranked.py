"""A board with what came of it: the results, and all that follows from them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from llmqueue_gym.boards import standings, words
from llmqueue_gym.boards.board import Board

Row = dict[str, Any]


@dataclass(frozen=True)
class Ranked:
    """A board and results of its entries, stored or just played.

    Attributes:
        on: the board.
        results: by policy, the bound among them.
        checks: what theory says beside what was simulated.
        warnings: what is not as it should be, in sentences.
        curves: learning curves of its trained policies.
        episode: recorded runs, or None.
    """

    on: Board
    results: Mapping[str, Row]
    checks: list[Row] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    curves: list[Row] = field(default_factory=list)
    episode: Row | None = None

    @cached_property
    def rows(self) -> list[Row]:
        """The ranking; BadInput where the results do not suffice."""
        return standings.ranking(self.on, self.results)

    @cached_property
    def winners(self) -> list[Row]:
        """Who wins in each scenario."""
        return standings.winners(self.on, self.results)

    @cached_property
    def headline(self) -> str:
        """Who leads, in a sentence."""
        return words.headline(self.on, self.rows, self.results)

    @cached_property
    def sentences(self) -> list[str]:
        """What else was found."""
        return words.sentences(self.on, self.rows, self.winners, self.checks)

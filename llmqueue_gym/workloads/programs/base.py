"""What every law of programs offers."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.programs import Answers
from llmqueue_gym.registry import Named
from llmqueue_gym.requests import Programs
from llmqueue_gym.workloads.programs.calls import Calls, chosen, joined, longest_call

ROUNDS = 1000  # of drawing again; a law that has not enough small programs by then has next to none
MOST_CALLS = 10_000  # of a program


@dataclass(frozen=True)
class ProgramLaw(Named):
    """A law of programs: how many calls each has, who waits for whom and how long, and of how many tokens they are.

    Attributes:
        name: in the registry.
        kinds: what the numbers in the column `klass` of its calls stand for.
    """

    name: ClassVar[str] = "programs"
    kinds: ClassVar[tuple[str, ...]] = ("call",)

    @property
    def calls(self) -> float:
        """Mean number of calls of a program."""
        raise NotImplementedError

    def draw(self, m: int, rng: np.random.Generator) -> Calls:
        """Return m independent programs."""
        raise NotImplementedError

    def answers(
        self, programs: Programs, klass: np.ndarray, outputs: np.ndarray, rng: np.random.Generator
    ) -> Answers | None:
        """Return what is true of the answers of calls that this law drew; None where nobody asks.

        Args:
            programs: their table.
            klass: kinds of the calls `(n,)`.
            outputs: tokens `(n,)`.
            rng: the stream that belongs to answers alone.
        """
        return None

    def draw_within(self, m: int, rng: np.random.Generator, most: float = np.inf) -> Calls:
        """Return m independent programs, none of whose calls is too long.

        Args:
            m: programs, at least 1.
            rng: stream of all.
            most: tokens of prompt and output of any call; a program that has a longer one is drawn again, whole.

        Raises:
            BadInput: next to none is so short.
        """
        parts: list[Calls] = []
        left = m
        for _ in range(ROUNDS):
            drawn = self.draw(left, rng)
            good = np.flatnonzero(longest_call(drawn) <= most)
            left -= len(good)
            if len(good):
                parts.append(drawn if len(good) == drawn.program[-1] + 1 else chosen(drawn, good))
            if not left:
                return joined(parts)
        raise BadInput(f"max_tokens={most:g}: next to no program of {self} is so short")

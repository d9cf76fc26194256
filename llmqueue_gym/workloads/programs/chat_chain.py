"""Closed chats: somebody reads an answer before the next message, so that a slow server slows its users down."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from llmqueue_gym.columns import MOST_SECONDS, MOST_TOKENS
from llmqueue_gym.errors import BadInput
from llmqueue_gym.workloads.programs.base import MOST_CALLS, ProgramLaw
from llmqueue_gym.workloads.programs.calls import Calls, chain
from llmqueue_gym.workloads.programs.growing import growing
from llmqueue_gym.workloads.requests.chats import Chats
from llmqueue_gym.workloads.requests.lengths import Lengths, length_law
from llmqueue_gym.workloads.requests.sharing import SharedLengths


@dataclass(frozen=True)
class ChatChain(ProgramLaw):
    """A chat is a program: each message comes some time after the answer to the one before, whenever that was.

    A prompt is a system prompt, which all chats share, all messages and answers so far, and the next message. Think
    times are exponential. The turns of a chat are geometric, or all chats have the same number of them. With all chats
    at once (`rate=inf`) this is a closed system; chats at a rate are open in chats and closed within them, which
    `Chats` are not, whose turns come at their times even if nobody has answered.

    Attributes:
        turn: law of a message and its answer, or its spec, in which a `;` stands for the comma.
        turns: mean number of turns.
        fixed: whether every chat has so many, rounded.
        think: mean time from an answer to the next message, s.
        prefix: tokens of the system prompt.
    """

    name: ClassVar[str] = "chat-chain"
    kinds: ClassVar[tuple[str, ...]] = ("turn",)
    turn: str | Lengths = "lmsys-arena"
    turns: float = 4.0
    fixed: bool = False
    think: float = 30.0
    prefix: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.turn, str):
            object.__setattr__(self, "turn", length_law(self.turn.replace(";", ",")))
        if isinstance(self.turn, (Chats, SharedLengths)):
            raise BadInput(f"{self.name}: turn={self.turn} shares texts itself; choose a law of lengths alone")
        self._check("turns", 1 <= self.turns <= MOST_CALLS, f"be from 1 to {MOST_CALLS:,}")
        self._check("think", 0 <= self.think <= MOST_SECONDS, f"be from 0 to {MOST_SECONDS:g} s")
        self._check("prefix", 0 <= self.prefix <= MOST_TOKENS // 1000, "be from 0 to a million tokens")

    @property
    def calls(self) -> float:
        """Mean number of calls of a program."""
        return float(round(self.turns)) if self.fixed else self.turns

    def draw(self, m: int, rng: np.random.Generator) -> Calls:
        """Return m chats."""
        assert isinstance(self.turn, Lengths)  # set on construction
        number = np.full(m, round(self.turns)) if self.fixed else rng.geometric(1 / self.turns, m)
        program, place, parents, first = chain(number)
        messages, answers = self.turn.sample(len(program), rng)
        gaps = self.think * rng.standard_exponential(len(program))
        gaps[place == 0] = 0.0
        own = messages + np.where(place == 0, self.prefix, 0)
        made = growing(program, place, parents, first, own, answers, gap=gaps)
        return made._replace(kept=np.where(place == 0, self.prefix, made.kept))

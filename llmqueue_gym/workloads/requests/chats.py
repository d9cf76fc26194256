"""Chats: turns whose prompts hold all that was said before, and that come some time after one another."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from llmqueue_gym.columns import MOST_TOKENS
from llmqueue_gym.errors import BadInput
from llmqueue_gym.requests import OUTPUT, SEGMENT, Contexts
from llmqueue_gym.workloads import arrival_process
from llmqueue_gym.workloads.arrivals import ArrivalProcess
from llmqueue_gym.workloads.requests.lengths import Lengths, length_law, sample_within
from llmqueue_gym.workloads.requests.sharing import SharedLengths


@dataclass(frozen=True)
class Chats(Lengths):
    """Turns of chats: a prompt is a system prompt, all messages and answers of the chat so far, and the next message.

    Chats begin as the arrival process says, at a rate at which turns have the wanted one. The number of turns is
    geometric, and the time between two turns exponential. A turn comes at its time even if the one before it is not
    answered yet. Chats that are open at time 0 are as many and as old as they are on average, so there is no warm-up;
    that is exact for Poisson arrivals. A chat ends before a turn that would have more than the most tokens that there
    can be, which lowers the rate.

    Attributes:
        turn: law of a message and its answer, or its spec, in which a `;` stands for the comma.
        turns: mean number of turns.
        think: mean time between two turns of a chat, in mean times between two requests of all; so many requests come
            in between, whatever the load.
        prefix: tokens of the system prompt, which all chats share.
    """

    name: ClassVar[str] = "chats"
    turn: str | Lengths = "lmsys-arena"
    turns: float = 4.0
    think: float = 100.0
    prefix: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.turn, str):
            object.__setattr__(self, "turn", length_law(self.turn.replace(";", ",")))
        if isinstance(self.turn, (Chats, SharedLengths)):
            raise BadInput(f"{self.name}: turn={self.turn} shares texts itself; choose a law of lengths alone")
        self._check("turns", 1 <= self.turns <= 1000, "be from 1 to 1,000")
        self._check("think", 0 <= self.think <= 10**6, "be from 0 to a million")
        self._check("prefix", 0 <= self.prefix <= MOST_TOKENS // 1000, "be from 0 to a million tokens")

    def sample(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return the lengths of n turns that come one after another."""
        _, prompts, outputs, _ = self.turns_of(n, 1.0, arrival_process("poisson"), rng, rng)
        return prompts, outputs

    def turns_of(
        self,
        n: int,
        rate: float,
        arrivals: ArrivalProcess,
        arrival_rng: np.random.Generator,
        rng: np.random.Generator,
        most: float = np.inf,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, Contexts]:
        """Return the first n turns from time 0 on.

        Args:
            n: at least 1.
            rate: turns per s; `inf` lets all come at time 0.
            arrivals: of chats.
            arrival_rng: stream of their beginnings.
            rng: stream of all else.
            most: tokens of prompt and output together.

        Returns:
            arrival times (s), prompts and outputs (tokens), each `(n,)`, and what the prompts consist of.
        """
        assert isinstance(self.turn, Lengths)  # set on construction
        starts = np.zeros(n) if np.isinf(rate) else arrivals.times(n, rate / self.turns, arrival_rng)
        # Open at time 0: as many chats as think at a time, and by the memory of a geometric law as many turns to come.
        waiting = int(rng.poisson((self.turns - 1) / self.turns * self.think))
        past = np.concatenate([rng.geometric(1 / self.turns, waiting), np.zeros(n, np.int64)])
        counts = past + rng.geometric(1 / self.turns, waiting + n)
        chat, first = np.repeat(np.arange(len(counts)), counts), np.cumsum(counts) - counts
        index = np.arange(len(chat)) - first[chat]  # of a turn in its chat
        messages, answers = sample_within(self.turn, len(chat), rng, most - self.prefix)
        gaps = rng.exponential(self.think / rate, len(chat))
        gaps[index < past[chat]] = 0.0
        new = np.arange(waiting, waiting + n)
        gaps[first[new]] = starts  # of the first turn
        times = _sums_within(gaps, first, chat)
        said = _sums_within(messages + answers, first, chat)
        coming = np.flatnonzero((index >= past[chat]) & (self.prefix + said <= most))
        kept = coming[np.argsort(times[coming], kind="stable")][:n]
        contexts = self._contexts(kept, index, chat, first, messages, answers)
        return times[kept], self.prefix + said[kept] - answers[kept], answers[kept], contexts

    def _contexts(
        self,
        kept: np.ndarray,
        index: np.ndarray,
        chat: np.ndarray,
        first: np.ndarray,
        messages: np.ndarray,
        answers: np.ndarray,
    ) -> Contexts:
        """Return the contexts of some turns: messages are pieces of a text of their chat, with the answers between."""
        opening = int(self.prefix > 0)
        ends = np.cumsum(opening + 2 * index[kept] + 1)
        row = np.repeat(np.arange(len(kept)), np.diff(ends, prepend=0))
        piece = np.arange(len(row)) - np.concatenate([[0], ends])[row] - opening
        turn = first[chat[kept]][row] + np.maximum(piece, 0) // 2
        spoken = _sums_within(messages, first, chat) - messages  # of the messages of the chat before this turn
        segments = np.zeros(len(row), SEGMENT)
        asked = piece % 2 == 0
        segments["text"] = np.where(asked, 1 + chat[turn], OUTPUT + turn)
        segments["start"] = np.where(asked, spoken[turn], 0)
        segments["length"] = np.where(asked, messages[turn], answers[turn])
        segments[piece < 0] = (0, 0, self.prefix)
        return Contexts(segments, np.concatenate([[0], ends]), OUTPUT + kept)


def _sums_within(values: np.ndarray, first: np.ndarray, chat: np.ndarray) -> np.ndarray:
    """Return the sum of the values of each chat up to each of its turns, whose first ones are told `(turns,)`."""
    sums = np.cumsum(values)
    return sums - (sums[first] - values[first])[chat]

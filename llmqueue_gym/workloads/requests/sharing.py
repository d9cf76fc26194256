"""Laws of lengths whose prompts begin with texts that others have, too: system prompts, or a task and its examples.

What follows these texts is a request's own. The texts are the same in every run; who has which is drawn from the stream
of the lengths, after what is its own.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from llmqueue_gym.columns import MOST_TOKENS
from llmqueue_gym.errors import BadInput
from llmqueue_gym.requests import OUTPUT, SEGMENT, Contexts
from llmqueue_gym.workloads.requests.lengths import ROUNDS, Lengths, length_law, whole_tokens

MOST_TEXTS = 10**6


@dataclass(frozen=True)
class SharedLengths(Lengths):
    """A law whose prompts begin with shared texts; a subclass says which.

    Attributes:
        own: law of a request's own tokens and of its output, or its spec, in which a `;` stands for the comma.
    """

    own: str | Lengths = "lmsys-arena"

    def __post_init__(self) -> None:
        if isinstance(self.own, str):
            object.__setattr__(self, "own", length_law(self.own.replace(";", ",")))
        if isinstance(self.own, SharedLengths):
            raise BadInput(f"{self.name}: own={self.own} shares texts itself; choose a law of lengths alone")

    def beginnings(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return of n requests the texts that their prompts begin with, and how long these are, tokens `(n, k)`."""
        raise NotImplementedError

    def sample(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return lengths; a prompt is its texts and its own tokens."""
        prompts, outputs, _ = self.shared(n, rng)
        return prompts, outputs

    def shared(self, n: int, rng: np.random.Generator, most: float = np.inf) -> tuple[np.ndarray, np.ndarray, Contexts]:
        """Return lengths, and what the prompts consist of; a request of more than so many tokens is drawn again."""
        own, outputs, texts, lengths = self._draw(n, rng)
        for _ in range(ROUNDS):
            again = np.flatnonzero(own + outputs + lengths.sum(axis=1) > most)
            if not len(again):
                break
            own[again], outputs[again], texts[again], lengths[again] = self._draw(len(again), rng)
        else:
            raise BadInput(f"max_tokens={most:g}: next to no request of {self} is so short")
        segments = np.zeros((n, texts.shape[1] + 1), SEGMENT)
        segments["text"][:, :-1], segments["length"][:, :-1] = texts, lengths
        segments["text"][:, -1], segments["length"][:, -1] = MOST_TEXTS + np.arange(n), own
        used = segments["length"] > 0
        first = np.concatenate([[0], np.cumsum(used.sum(axis=1))])
        return own + lengths.sum(axis=1), outputs, Contexts(segments[used], first, OUTPUT + np.arange(n))

    def _draw(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        assert isinstance(self.own, Lengths)  # set on construction
        return *self.own.sample(n, rng), *self.beginnings(n, rng)


def popular(n: int, kinds: int, zipf: float, rng: np.random.Generator) -> np.ndarray:
    """Return n of the numbers below `kinds` `(n,)`; number k has a probability like (k + 1) ** -zipf."""
    up_to = np.cumsum(np.arange(1.0, kinds + 1) ** -zipf)
    return np.searchsorted(up_to / up_to[-1], rng.random(n), side="right").clip(max=kinds - 1)


@dataclass(frozen=True)
class Prefixes(SharedLengths):
    """Prompts that begin with one of a few system prompts, some of which are more popular than others.

    Attributes:
        texts: how many system prompts there are.
        zipf: exponent of their popularity; 0 makes all alike.
        prefix: mean length of a system prompt, tokens.
        sigma: standard deviation of the logarithm of these lengths, which are log-normal; 0 makes all alike.
    """

    name: ClassVar[str] = "prefixes"
    texts: int = 20
    zipf: float = 1.1
    prefix: float = 1024.0
    sigma: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("texts", 1 <= self.texts <= MOST_TEXTS, f"be from 1 to {MOST_TEXTS:,}")
        self._check("zipf", 0 <= self.zipf <= 100, "be from 0 to 100")
        self._check("prefix", 1 <= self.prefix <= MOST_TOKENS, f"be from 1 to {MOST_TOKENS:,} tokens")
        self._check("sigma", 0 <= self.sigma <= 100, "be from 0 to 100")

    def beginnings(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return the system prompts, one uniform number of `rng` for each request."""
        texts = popular(n, self.texts, self.zipf, rng)
        return texts[:, None], self._lengths[texts, None]

    @cached_property
    def _lengths(self) -> np.ndarray:
        """Tokens of each system prompt."""
        normal = np.random.default_rng(0).standard_normal(self.texts)
        return whole_tokens(self.prefix * np.exp(self.sigma * normal - self.sigma**2 / 2))


@dataclass(frozen=True)
class FewShot(SharedLengths):
    """Prompts that begin with the instruction of a task and a path through a tree of examples.

    Attributes:
        tasks: how many there are.
        zipf: exponent of their popularity; 0 makes all alike.
        instruction: tokens of the text of a task.
        shots: examples in a prompt.
        pool: examples, all alike in popularity, that there are for each place in it.
        example: tokens of each.
    """

    name: ClassVar[str] = "few-shot"
    tasks: int = 5
    zipf: float = 1.1
    instruction: int = 200
    shots: int = 4
    pool: int = 2
    example: int = 150

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("tasks", 1 <= self.tasks <= 1000, "be from 1 to 1,000")
        self._check("zipf", 0 <= self.zipf <= 100, "be from 0 to 100")
        self._check("shots", 0 <= self.shots <= 100, "be from 0 to 100")
        self._check("pool", 1 <= self.pool <= 9, "be from 1 to 9")
        for what in ("instruction", "example"):
            self._check(what, 1 <= getattr(self, what) <= MOST_TOKENS // 1000, "be from 1 to a million tokens")

    def beginnings(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return instruction and examples, a uniform number of `rng` and `shots` whole ones for each request."""
        tasks = popular(n, self.tasks, self.zipf, rng)[:, None]
        place = tasks * self.shots + np.arange(self.shots)
        examples = self.tasks + place * self.pool + rng.integers(self.pool, size=(n, self.shots))
        lengths = np.full((n, 1 + self.shots), self.example)
        lengths[:, 0] = self.instruction
        return np.concatenate([tasks, examples], axis=1), lengths

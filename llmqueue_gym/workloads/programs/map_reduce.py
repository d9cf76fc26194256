"""Map and reduce: a document is cut into pieces, each of which a call reads, and one call reads what they say."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import ndtr

from llmqueue_gym.columns import MOST_TOKENS
from llmqueue_gym.programs import ranges
from llmqueue_gym.workloads.programs.base import ProgramLaw
from llmqueue_gym.workloads.programs.calls import Calls, calls_of
from llmqueue_gym.workloads.programs.draws import tokens

MOST_WIDTH = 1024


@dataclass(frozen=True)
class Documents(ProgramLaw):
    """A law of programs that read a log-normal document in pieces; a subclass says how.

    There are as many pieces as are needed, `width` at most: what a document has beyond that is not read. The last piece
    may be short. Numbers are round, not measured.

    Attributes:
        document: mean tokens of a document.
        sigma: standard deviation of the logarithm of that; 0 makes all alike.
        chunk: tokens of a piece.
        width: most pieces.
        instruction: tokens of the instruction that all prompts of a kind begin with, and all programs share.
        output: mean tokens of what a call says of its piece.
        output_sigma: standard deviation of the logarithm of that.
    """

    document: float = 8000.0
    sigma: float = 0.8
    chunk: int = 1024
    width: int = 64
    instruction: int = 100
    output: float = 100.0
    output_sigma: float = 0.5

    def __post_init__(self) -> None:
        for what in ("document", "output"):
            self._check(what, 1 <= getattr(self, what) <= MOST_TOKENS // 1000, "be from 1 to a million tokens")
        for what in ("sigma", "output_sigma"):
            self._check(what, 0 <= getattr(self, what) <= 10, "be from 0 to 10")
        self._check("chunk", 1 <= self.chunk <= MOST_TOKENS // 1000, "be from 1 to a million tokens")
        self._check("width", 1 <= self.width <= MOST_WIDTH, f"be from 1 to {MOST_WIDTH:,}")
        self._check("instruction", 0 <= self.instruction <= MOST_TOKENS // 1000, "be from 0 to a million tokens")

    def width_law(self) -> np.ndarray:
        """Return P(k) of k = 1 to width pieces `(width,)`."""
        ends = np.arange(1, self.width) * self.chunk + 0.5  # a document is rounded to whole tokens
        if self.sigma == 0:
            up_to = (round(self.document) <= ends).astype(float)
        else:
            up_to = ndtr((np.log(ends / self.document) + self.sigma**2 / 2) / self.sigma)
        return np.diff(np.concatenate([[0.0], up_to, [1.0]]))

    @property
    def pieces(self) -> float:
        """Mean number of pieces."""
        return float(self.width_law() @ np.arange(1, self.width + 1))

    def cut(self, m: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return of m documents how many pieces each has `(m,)`, and the tokens of all pieces one after another."""
        read = np.minimum(tokens(self.document, self.sigma, m, rng), self.width * self.chunk)
        number = -(-read // self.chunk)
        lengths = np.full(int(number.sum()), self.chunk)
        lengths[np.cumsum(number) - 1] = read - (number - 1) * self.chunk
        return number, lengths


@dataclass(frozen=True)
class MapReduce(Documents):
    """All pieces are read at once, and a last call, which waits for all, has what was said of them in its prompt.

    Prompts of the first kind begin with one instruction, and those of the second with another. Source of the shape:
    the map-reduce summary of Parrot (Lin et al., OSDI 2024).

    Attributes:
        final: mean tokens of the last answer; its sigma is that of the others.
    """

    name: ClassVar[str] = "map-reduce"
    kinds: ClassVar[tuple[str, ...]] = ("map", "reduce")
    final: float = 200.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("final", 1 <= self.final <= MOST_TOKENS // 1000, "be from 1 to a million tokens")

    @property
    def calls(self) -> float:
        """Mean number of calls of a program."""
        return self.pieces + 1

    def draw(self, m: int, rng: np.random.Generator) -> Calls:
        """Return m programs."""
        number, lengths = self.cut(m, rng)
        program = np.repeat(np.arange(m), number + 1)
        last = np.cumsum(number + 1) - 1
        reduces = np.zeros(len(program), bool)
        reduces[last] = True
        outputs = tokens(np.where(reduces, self.final, self.output), self.output_sigma, len(program), rng)
        prompts = np.full(len(program), self.instruction)
        prompts[~reduces] += lengths
        prompts[last] += np.bincount(program[~reduces], outputs[~reduces], m).astype(np.int64)
        waits = np.where(reduces, number[program], 0)
        parents = ranges(last - number, number)
        first = np.concatenate([[0], np.cumsum(waits)])
        more = {"kept": self.instruction, "text": reduces.astype(np.int64), "klass": reduces.astype(np.int64)}
        return calls_of(program, parents, first, prompts, outputs, **more)

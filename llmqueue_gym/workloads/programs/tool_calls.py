"""Calls that are interrupted by tools: a chain whose gaps are the tools' times, and whose context grows."""

from dataclasses import dataclass
from functools import cache
from typing import ClassVar, NamedTuple

import numpy as np

from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.workloads.programs.base import ProgramLaw
from llmqueue_gym.workloads.programs.calls import Calls, chain
from llmqueue_gym.workloads.programs.draws import count_law, counts, lognormal, tokens
from llmqueue_gym.workloads.programs.growing import growing


class Augmentation(NamedTuple):
    """A kind of tool, or whoever else is asked.

    Attributes:
        share: of the programs of the mix.
        gap: mean time that one use takes, s.
        gap_deviation: its standard deviation, s.
        uses: mean number of uses in a program.
        uses_deviation: its standard deviation.
        context: mean tokens of the context in the end.
    """

    share: float
    gap: float
    gap_deviation: float
    uses: float
    uses_deviation: float
    context: float


AUGMENTATIONS = {
    "math": Augmentation(0.19, 9e-5, 6e-5, 3.75, 1.3, 1422),
    "qa": Augmentation(0.20, 0.69, 0.17, 2.52, 1.73, 1846),
    "ve": Augmentation(0.04, 0.09, 0.014, 28.18, 15.2, 2185),
    "chatbot": Augmentation(0.19, 28.6, 15.6, 4.45, 1.96, 753),
    "image": Augmentation(0.19, 20.03, 7.8, 6.91, 3.93, 1247),
    "tts": Augmentation(0.19, 17.24, 7.6, 6.91, 3.93, 1251),
}
SEGMENTS = 16  # calls of a program at most


@cache
def uses_law(kind: str) -> np.ndarray:
    """Return P(k) of k = 1 to 15 uses in a program of a kind `(15,)`."""
    told = AUGMENTATIONS[kind]
    return count_law(told.uses, told.uses_deviation, SEGMENTS - 1)


def uses_mean(kind: str) -> float:
    """Return the mean number of uses, the most that there can be taken into account."""
    return float(uses_law(kind) @ np.arange(1, SEGMENTS))


@dataclass(frozen=True)
class ToolCalls(ProgramLaw):
    """A call generates until it needs a tool; when the tool has answered, the next call goes on with what it returned.

    Six kinds of programs, which differ in how long the tool takes and how often it is used, as Table 1 of InferCept
    (Abhyankar et al., ICML 2024) has them: a calculator, Wikipedia, a virtual environment, a person who chats, images
    and speech that are generated. A program has uses + 1 calls, 16 at most, as in InferCept's bundled mix. Uses are a
    rounded gamma number (`draws.count_law`), gaps log-normal, both of the table's means and deviations. The tokens that
    a call generates and that a tool returns have the bundled mix's means, 98 and 24, and are log-normal; first prompts
    are log-normal, too, with such a mean that contexts have the table's mean in the end. Sigmas are round numbers, not
    measured. Programs share nothing.

    The shares of the kinds follow the bundled mix's calls by length, of which 283 are below 1 ms, 234 below 0.1 s, 203
    below 1 s and 1121 longer, over the uses that a program has. That mix has fewer calls in a program and, as its gaps
    vary more, a lower median gap; `tests/test_program_laws.py` holds its figures against this law's.

    Attributes:
        kind: one of the six alone, or `mix`.
        output: mean tokens that a call generates.
        returned: mean tokens that a tool returns.
        sigma: standard deviation of the logarithm of these, and of the first prompt.
        stretch: factor on all gaps.
    """

    name: ClassVar[str] = "tool-calls"
    kinds: ClassVar[tuple[str, ...]] = tuple(AUGMENTATIONS)
    kind: str = "mix"
    output: float = 98.0
    returned: float = 24.0
    sigma: float = 0.5
    stretch: float = 1.0

    def __post_init__(self) -> None:
        known = ("mix", *AUGMENTATIONS)
        if self.kind not in known:
            raise BadInput(f"{self.name}: kind={self.kind!r}; {nearest(self.kind, known)}")
        for what in ("output", "returned"):
            self._check(what, 1 <= getattr(self, what) <= 10**6, "be from 1 to a million tokens")
        self._check("sigma", 0 <= self.sigma <= 10, "be from 0 to 10")
        self._check("stretch", 0 <= self.stretch <= 10**6, "be from 0 to a million")

    @property
    def shares(self) -> np.ndarray:
        """Share of each kind in the programs `(6,)`."""
        if self.kind != "mix":
            return np.array([float(kind == self.kind) for kind in AUGMENTATIONS])
        return np.array([told.share for told in AUGMENTATIONS.values()])

    @property
    def calls(self) -> float:
        """Mean number of calls of a program."""
        return 1 + float(self.shares @ [uses_mean(kind) for kind in AUGMENTATIONS])

    def first_prompt(self, kind: str) -> float:
        """Return the mean of the first prompt of a kind, tokens."""
        uses = uses_mean(kind)
        return max(AUGMENTATIONS[kind].context - (uses + 1) * self.output - uses * self.returned, 1.0)

    def draw(self, m: int, rng: np.random.Generator) -> Calls:
        """Return m chains."""
        up_to = np.cumsum(self.shares)
        kind = np.searchsorted(up_to / up_to[-1], rng.random(m), side="right")
        number, told = np.empty(m, np.int64), list(AUGMENTATIONS.items())
        for k, (name, _) in enumerate(told):
            number[kind == k] = 1 + counts(uses_law(name), int((kind == k).sum()), rng)
        program, place, parents, first = chain(number)
        of, n = kind[program], len(program)
        outputs = tokens(self.output, self.sigma, n, rng)
        opening = tokens(np.array([self.first_prompt(name) for name, _ in told])[kind], self.sigma, m, rng)
        own = tokens(self.returned, self.sigma, n, rng)
        own[place == 0] = opening
        gaps = lognormal(
            np.array([one.gap for _, one in told])[of], np.array([one.gap_deviation for _, one in told])[of], n, rng
        )
        gaps[place == 0] = 0.0
        return growing(program, place, parents, first, own, outputs, gap=self.stretch * gaps, klass=of)

"""Chains of applications that share their prompts: a document is read piece by piece, and carried on as a summary."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from llmqueue_gym.workloads.programs.calls import Calls, calls_of, chain
from llmqueue_gym.workloads.programs.draws import tokens
from llmqueue_gym.workloads.programs.map_reduce import Documents
from llmqueue_gym.workloads.requests.sharing import popular


@dataclass(frozen=True)
class Parrot(Documents):
    """Each call reads the next piece and the summary so far; all calls of an application begin with its instruction.

    A prompt is the instruction, the piece and the answer of the call before, so it goes on from nobody's context, and
    what a cache finds is the instruction alone, which many programs have. Applications are drawn by their popularity.
    Source of the shape: the chain summary and the shared prompts of Parrot (Lin et al., OSDI 2024); its graph of many
    readers is `map-reduce`.

    Attributes:
        apps: applications, each with an instruction of its own.
        zipf: exponent of their popularity; 0 makes all alike.
    """

    name: ClassVar[str] = "parrot"
    kinds: ClassVar[tuple[str, ...]] = ("step",)
    instruction: int = 1000
    apps: int = 4
    zipf: float = 1.1

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("apps", 1 <= self.apps <= 10**6, "be from 1 to a million")
        self._check("zipf", 0 <= self.zipf <= 100, "be from 0 to 100")

    @property
    def calls(self) -> float:
        """Mean number of calls of a program."""
        return self.pieces

    def draw(self, m: int, rng: np.random.Generator) -> Calls:
        """Return m chains."""
        number, lengths = self.cut(m, rng)
        program, place, parents, first = chain(number)
        outputs = tokens(self.output, self.output_sigma, len(program), rng)
        app = popular(m, self.apps, self.zipf, rng)
        summary = np.where(place > 0, np.roll(outputs, 1), 0)
        prompts = self.instruction + lengths + summary
        return calls_of(program, parents, first, prompts, outputs, kept=self.instruction, text=app[program])

"""Lengths of recorded requests, drawn again and again."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.workloads.requests.lengths import Lengths
from llmqueue_gym.workloads.traces import load_lengths


@dataclass(frozen=True)
class FileLengths(Lengths):
    """Prompt and output of a row drawn uniformly from a file, with replacement.

    Rows without output are left out; a prompt of 0 tokens counts as 1.

    Attributes:
        file: csv or csv.gz with the lengths of requests; see `load_lengths`.
        dropped: rows left out.
    """

    name: ClassVar[str] = "file"
    file: str
    dropped: int = field(init=False, compare=False)
    _prompts: np.ndarray = field(init=False, repr=False, compare=False)  # (rows,)
    _outputs: np.ndarray = field(init=False, repr=False, compare=False)  # (rows,)

    def __post_init__(self) -> None:
        lengths = load_lengths(self.file)
        served = lengths.output_tokens > 0
        if not served.any():
            raise BadInput(f"{self.file}: every row has 0 output tokens")
        object.__setattr__(self, "dropped", int((~served).sum()))
        object.__setattr__(self, "_prompts", np.maximum(lengths.prompt_tokens[served], 1))
        object.__setattr__(self, "_outputs", lengths.output_tokens[served])

    def sample(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return the lengths of n rows, one whole number of `rng` for each."""
        rows = rng.integers(len(self._outputs), size=n)
        return self._prompts[rows], self._outputs[rows]

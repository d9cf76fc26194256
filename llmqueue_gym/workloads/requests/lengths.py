"""What every joint law of prompt and output lengths offers, and their names.

To add a law: write its file, add its line to the table here.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from llmqueue_gym.registry import Registry, spec_of

_HERE = "llmqueue_gym.workloads.requests"


@dataclass(frozen=True)
class Lengths:
    """A joint law of the prompt and output lengths of a request.

    Attributes:
        name: in the registry.
    """

    name: ClassVar[str] = "lengths"

    def __str__(self) -> str:
        """Return the form that the registry reads, such as `constant:prompt=512,output=128`."""
        return spec_of(self, self.name)

    def sample(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return prompt and output tokens of n independent requests, both int64 `(n,)` and at least 1."""
        raise NotImplementedError


def whole_tokens(lengths: np.ndarray) -> np.ndarray:
    """Return lengths `(n,)` rounded to whole tokens, int64, at least 1."""
    return np.maximum(np.rint(lengths), 1).astype(np.int64)


LENGTHS = Registry(
    "length law",
    {
        "azure-conv": f"{_HERE}.measured:azure_conv",
        "azure-code": f"{_HERE}.measured:azure_code",
        "mooncake-conv": f"{_HERE}.measured:mooncake_conv",
        "deepseek-r1": f"{_HERE}.measured:deepseek_r1",
        "sharegpt": f"{_HERE}.measured:sharegpt",
        "lmsys-arena": f"{_HERE}.measured:lmsys_arena",
        "lognormal": f"{_HERE}.lognormal:LognormalLengths",
        "constant": f"{_HERE}.constant:ConstantLengths",
        "file": f"{_HERE}.recorded:FileLengths",
    },
    Lengths,
)
length_law = LENGTHS.__call__  # a law from a spec such as `azure-conv`, or the law itself

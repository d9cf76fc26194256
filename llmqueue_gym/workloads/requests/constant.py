"""Equal requests."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.workloads.requests.lengths import Lengths


@dataclass(frozen=True)
class ConstantLengths(Lengths):
    """Every request has the same prompt and output.

    Attributes:
        prompt: tokens, at least 1.
        output: tokens, at least 1.
    """

    name: ClassVar[str] = "constant"
    prompt: int = 512
    output: int = 128

    def __post_init__(self) -> None:
        for what in ("prompt", "output"):
            if getattr(self, what) < 1:
                raise BadInput(f"constant: {what}={getattr(self, what)} must be at least 1 token")

    def sample(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return the two lengths n times; nothing is random."""
        return np.full(n, self.prompt, np.int64), np.full(n, self.output, np.int64)

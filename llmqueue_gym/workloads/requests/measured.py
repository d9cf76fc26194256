"""The measured laws of `tables`, by name."""

from dataclasses import dataclass

import numpy as np

from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.workloads.requests.lengths import Lengths, whole_tokens
from llmqueue_gym.workloads.requests.tables import LEVELS, TABLES


@dataclass(frozen=True)
class Measured(Lengths):
    """A law from a table: the prompt by its quantiles, then the output by those of the eighth that the prompt lies in.

    Attributes:
        table: one of `tables.TABLES`, where source and licence are stated.
    """

    table: str

    def __post_init__(self) -> None:
        if self.table not in TABLES:
            raise BadInput(f"unknown table of lengths {self.table!r}; {nearest(self.table, TABLES)}")

    def __str__(self) -> str:
        """Return the form that the registry reads, the table's name."""
        return self.table

    def sample(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return lengths, two uniform numbers of `rng` for each request."""
        prompt, output = TABLES[self.table]
        u, v = rng.random((2, n))
        row = (u * len(output)).astype(int)
        outputs = np.empty(n)
        for i, quantiles in enumerate(output):
            outputs[row == i] = np.interp(v[row == i], LEVELS, quantiles)
        return whole_tokens(np.interp(u, LEVELS, prompt)), whole_tokens(outputs)


def azure_conv() -> Measured:
    """Return the law of the Azure 2023 conversation trace."""
    return Measured("azure-conv")


def azure_code() -> Measured:
    """Return the law of the Azure 2023 code completion trace."""
    return Measured("azure-code")


def mooncake_conv() -> Measured:
    """Return the law of the Mooncake conversation trace."""
    return Measured("mooncake-conv")


def deepseek_r1() -> Measured:
    """Return the law of requests to DeepSeek-R1, sampled from ServeGen's models."""
    return Measured("deepseek-r1")


def sharegpt() -> Measured:
    """Return the law of ShareGPT turns of at most 8 k tokens."""
    return Measured("sharegpt")


def lmsys_arena() -> Measured:
    """Return the law of 1,500 chats on chat.lmsys.org."""
    return Measured("lmsys-arena")

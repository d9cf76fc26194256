"""The law of measured sizes: samples, or a column of a file."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from llmqueue_gym.columns import read_columns
from llmqueue_gym.distributions.base import ByData
from llmqueue_gym.distributions.discrete import Discrete
from llmqueue_gym.distributions.samples import positive_samples
from llmqueue_gym.registry import text_of


@dataclass(frozen=True, eq=False)
class Empirical(ByData, Discrete):
    """The discrete law that gives each sample the same weight, scaled to the mean.

    Attributes:
        samples: measured sizes `(n,)` in any unit, positive.
        source: what stands after `empirical:` in the printed form.
    """

    name: ClassVar[str] = "empirical"
    samples: np.ndarray
    source: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "samples", positive_samples(self.samples, self.name).copy())

    def _data(self) -> tuple[float | bytes, ...]:
        return self.mean, self.samples.tobytes()

    def __str__(self) -> str:
        mean = "" if self.mean == 1 else f",mean={text_of(self.mean)}"
        return f"{self.name}:{self.source or f'{self.samples.size} samples'}{mean}"

    @classmethod
    def fit(cls, samples: ArrayLike) -> Self:
        """Return the law of the samples as they are, unscaled."""
        array = positive_samples(samples, cls.name)
        return cls(array, mean=float(array.mean()))

    @cached_property
    def _sizes(self) -> np.ndarray:
        return self.samples * (self.mean / self.samples.mean())

    @cached_property
    def _law(self) -> tuple[np.ndarray, np.ndarray]:
        return np.unique(self._sizes, return_counts=True)

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return `n` independent sizes, float64 `(n,)`."""
        return self._sizes[rng.integers(self._sizes.size, size=n)]


def from_file(file: str, column: str = "output_tokens", mean: float = 1.0) -> Empirical:
    """Return the law of one column of a CSV file, which may be compressed (`.csv.gz`).

    Args:
        file: path of a file whose first line names the columns.
        column: the column that holds the sizes.
        mean: the mean that the sizes are scaled to.

    Raises:
        BadInput: no such file or column, no rows, or a cell that is no positive finite number; the message names the
            file, the data row, counted from 1, and the column.
    """
    (sizes,) = read_columns(file, [column])
    return Empirical(sizes.positive(), f"{file},column={column}", mean=mean)

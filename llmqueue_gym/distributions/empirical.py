"""The law of measured sizes: samples, a table of quantiles, or a column of a file."""

import csv
import gzip
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from llmqueue_gym.distributions.discrete import Discrete
from llmqueue_gym.distributions.quantile_table import QuantileTable
from llmqueue_gym.distributions.samples import positive_samples
from llmqueue_gym.errors import BadInput, nearest


@dataclass(frozen=True, eq=False)
class Empirical(Discrete):
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

    def __str__(self) -> str:
        mean = "" if self.mean == 1 else f",mean={self.mean:.17g}"
        return f"{self.name}:{self.source or f'{self.samples.size} samples'}{mean}"

    @classmethod
    def fit(cls, samples: ArrayLike) -> Self:
        """Return the law of the samples as they are, unscaled."""
        array = positive_samples(samples, cls.name)
        return cls(array, mean=float(array.mean()))

    @staticmethod
    def from_quantiles(q: ArrayLike, values: ArrayLike, mean: float = 1.0) -> QuantileTable:
        """Return the continuous law with quantiles `values` `(n,)` at `q` `(n,)`, straight in between.

        Raises:
            BadInput: a table that is not strictly ascending or does not run from q=0 to q=1.
        """
        return QuantileTable(np.asarray(q, float), np.asarray(values, float), mean=mean)

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
    return Empirical(_read_column(Path(file), column), f"{file},column={column}", mean=mean)


def _read_column(file: Path, column: str) -> np.ndarray:
    """Return one column of a CSV file as float64 `(n_rows,)`."""
    try:
        with gzip.open(file, "rt", newline="") if file.suffix == ".gz" else file.open(newline="") as lines:
            rows = csv.reader(lines)
            header = next(rows, [])
            if column not in header:
                hint = nearest(column, header) if header else "the file is empty"
                raise BadInput(f"{file}: no column {column!r}; {hint}")
            place = header.index(column)
            cells = ((i, row[place] if place < len(row) else "") for i, row in enumerate(rows, 1) if row)
            sizes = [_size(text, file, i, column) for i, text in cells]
    except FileNotFoundError:
        raise BadInput(f"{file}: no such file") from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{file}: cannot be read ({error})") from None
    if not sizes:
        raise BadInput(f"{file}: no data rows under column {column!r}")
    return np.array(sizes)


def _size(text: str, file: Path, row: int, column: str) -> float:
    try:
        size = float(text)
    except ValueError:
        raise BadInput(f"{file}: row {row}, column {column!r}: {text!r} is not a number") from None
    if not 0 < size < float("inf"):
        raise BadInput(f"{file}: row {row}, column {column!r}: a size must be positive and finite, not {text!r}")
    return size

"""Reading (true, predicted) length pairs from a csv or csv.gz file."""

import csv
import gzip
import math
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from llmqueue_gym.errors import BadInput, nearest

# Names looked for where the caller gives none: the compact form, SSJF's files, Block's (Vidur's) files.
TRUE = ("output_tokens", "output_token_length", "num_decode_tokens")
PREDICTED = ("predicted_tokens", "predicted_class5", "predicted_length", "num_predicted_decode_tokens")


def read_pairs(file: str, true: str = "", predicted: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Read two columns of lengths.

    Args:
        file: csv, or csv.gz, with a header.
        true: name of the column of true lengths; empty takes the first of `TRUE` that the file has.
        predicted: likewise for predictions, from `PREDICTED`.

    Returns:
        true and predicted lengths, each `(n_pairs,)`, in the file's unit.

    Raises:
        BadInput: the file cannot be read or is empty, a column is missing, or a value is not a number >= 0; it names
            the file, the data row (from 1) and the column.
    """
    try:
        rows = list(_rows(Path(file)))
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        raise BadInput(f"cannot read {file}: {getattr(error, 'strerror', None) or error}") from None
    if len(rows) < 2:
        raise BadInput(f"{file} is empty: no data rows")
    return _lengths(file, rows, true, TRUE), _lengths(file, rows, predicted, PREDICTED)


def _rows(path: Path) -> Iterator[list[str]]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8-sig", newline="") as stream:
        yield from (row for row in csv.reader(stream) if row)


def _lengths(file: str, rows: list[list[str]], wanted: str, known: Sequence[str]) -> np.ndarray:
    """Return the wanted column, or the first known one where none is wanted, float64 `(n_pairs,)`."""
    header = [name.strip() for name in rows[0]]
    name = wanted or next((name for name in known if name in header), known[0])
    if name not in header:
        raise BadInput(f"{file} has no column {name!r}; {nearest(name, header)}")
    column = header.index(name)
    lengths = np.empty(len(rows) - 1)
    for row, cells in enumerate(rows[1:], start=1):
        text = cells[column] if column < len(cells) else ""
        try:
            length = float(text)
        except ValueError:
            length = math.nan
        if not 0 <= length < math.inf:
            what = "negative" if length < 0 else "not a finite number"
            raise BadInput(f"{file}: row {row}, column {name!r}: {text!r} is {what}")
        lengths[row - 1] = length
    return lengths

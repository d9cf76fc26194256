"""Reading columns of text files, with errors that name the file, the data row (from 1) and the column."""

import csv
import gzip
import math
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np

from llmqueue_gym.errors import BadInput, nearest


def text_lines(path: str | os.PathLike[str]) -> Iterator[str]:
    """Yield the lines of a file that are not blank, stripped; a name that ends in .gz is unpacked."""
    try:
        opener = gzip.open if Path(path).suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8-sig") as stream:
            yield from (stripped for line in stream if (stripped := line.strip()))
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise BadInput(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def split_line(line: str) -> list[str]:
    """Return the fields of one line of CSV, stripped."""
    return [field.strip() for field in next(csv.reader([line]))]


def read_columns(path: str | os.PathLike[str], names: Sequence[str]) -> list[list[str]]:
    """Return the text of each named column of a CSV file, each `(rows,)`; other columns are ignored."""
    lines = text_lines(path)
    header = split_line(next(lines, ""))
    if header == [""] or not header:
        raise BadInput(f"{path} is empty")
    for name in names:
        if name not in header:
            raise BadInput(f"{path} has no column {name!r}; {nearest(name, header)}")
    rows = [split_line(line) for line in lines]
    if not rows:
        raise BadInput(f"{path} is empty: a header and no data rows")
    return [[row[i] if i < len(row) else "" for row in rows] for i in map(header.index, names)]


def whole_numbers(path: str | os.PathLike[str], name: str, values: Sequence[object]) -> np.ndarray:
    """Return counts of tokens, int64 `(rows,)`, from text or numbers; a float such as 12.0 is taken for 12."""
    counts = finite_numbers(path, name, values)
    for row in map(int, np.flatnonzero(counts != np.floor(counts))):
        bad_value(path, row, name, f"{values[row]!r} is not a whole number")
    return counts.astype(np.int64)


def finite_numbers(path: str | os.PathLike[str], name: str, values: Sequence[object]) -> np.ndarray:
    """Return numbers that are finite and not negative, float64 `(rows,)`, from text or numbers."""
    numbers = np.empty(len(values))
    for row, value in enumerate(values):
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            bad_value(path, row, name, "the value is missing" if value in ("", None) else f"{value!r} is not a number")
        if not math.isfinite(number):
            bad_value(path, row, name, f"{value!r} is not a finite number")
        if number < 0:
            bad_value(path, row, name, f"{value} is negative")
        numbers[row] = number
    return numbers


def check_sorted(path: str | os.PathLike[str], name: str, times: np.ndarray) -> None:
    """Raise BadInput at the first time `(rows,)` that lies before the one above it."""
    for row in np.flatnonzero(np.diff(times) < 0)[:1]:
        bad_value(path, int(row) + 1, name, "the time lies before that of the row above; sort the file by time")


def bad_value(path: str | os.PathLike[str], row: int, name: str, what: str) -> NoReturn:
    """Raise BadInput for the data row with index `row` (from 0 here, from 1 in the message)."""
    raise BadInput(f"{path}: row {row + 1}, column {name!r}: {what}")

"""Columns of files, plain or packed, with errors that name the file, the data row (from 1) and the column."""

import csv
import gzip
import io
import math
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np

from llmqueue_gym import arrow
from llmqueue_gym.errors import BadInput, nearest

UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}  # s in each
MOST = 1e18  # of a cell: what is larger, or smaller than one over it, is a slip
MOST_SECONDS = 1e11  # three thousand years; a float still tells 20 us apart there
MOST_TOKENS = 10**9  # tables hold 32 bits
MOST_SEATS, MOST_BUDGET = 1024, 65_536  # requests and tokens of an iteration that a policy may ask for
LONGEST_LINE = 2**24  # characters
PACKED, FREE = 20, 2**23  # times as long as its file that a packed table may be, and bytes that it may have anyway


@dataclass(frozen=True, eq=False)
class Column:
    """One column as it was read; its methods raise BadInput at the first cell that is not what they return.

    Attributes:
        path: the file.
        name: of the column.
        cells: `(rows,)`, text, or the values of JSON or Parquet.
    """

    path: str | os.PathLike[str]
    name: str
    cells: Sequence[Any]

    def numbers(self, signed: bool = False) -> np.ndarray:
        """Return numbers from 0 to 1e18, float64 `(rows,)`; one that is not 0 is 1e-18 at least; or negative such."""
        known = self.cells.floats() if isinstance(self.cells, arrow.Cells) else None
        if known is not None and _in_proportion(known, signed):
            return known
        numbers = np.empty(len(self.cells))
        for row, cell in enumerate(self.cells):
            try:
                numbers[row] = number = float(cell)
            except (TypeError, ValueError, OverflowError):
                self.refuse(row, f"{cell!r} is not a number" + ("; it is missing" if cell in ("", None) else ""))
            if not math.isfinite(number):
                self.refuse(row, f"{cell!r} is not a finite number")
            if number < 0 and not signed:
                self.refuse(row, f"{cell!r} is negative")
        size = np.abs(numbers)
        for row in np.flatnonzero((size > MOST) | ((size > 0) & (size < 1 / MOST))).tolist():
            wanted = f"a number from {1 / MOST:g} to {MOST:g} is wanted"
            self.refuse(row, f"{self.cells[row]!r} is out of all proportion: {wanted}")
        return numbers

    def positive(self) -> np.ndarray:
        """Return numbers that are finite and positive, float64 `(rows,)`."""
        numbers = self.numbers()
        for row in np.flatnonzero(numbers == 0).tolist():
            self.refuse(row, f"{self.cells[row]!r} is not positive")
        return numbers

    def counts(self, signed: bool = False) -> np.ndarray:
        """Return whole numbers from 0, or -1e9, to 1e9, int64 `(rows,)`; 12.0 is taken for 12."""
        numbers = self.numbers(signed)
        for row in np.flatnonzero(numbers != np.floor(numbers)).tolist():
            self.refuse(row, f"{self.cells[row]!r} is not a whole number")
        for row in np.flatnonzero(np.abs(numbers) > MOST_TOKENS).tolist():
            self.refuse(row, f"{self.cells[row]!r} is more than {MOST_TOKENS:,}")
        return numbers.astype(np.int64)

    def seconds(self, unit: str = "s") -> np.ndarray:
        """Return times that are told in a unit of `UNITS`, s, float64 `(rows,)`."""
        if unit not in UNITS:
            raise BadInput(f"unknown unit of time {unit!r}; choose from: {', '.join(UNITS)}")
        times = self.numbers() * UNITS[unit]
        for row in np.flatnonzero(times > MOST_SECONDS).tolist():
            self.refuse(row, f"{self.cells[row]!r} {unit} is more than {MOST_SECONDS:g} s")
        return times

    def numbered(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the different cells, sorted, and the number of each row's among them, int64 `(rows,)`."""
        known = self.cells.numbered() if isinstance(self.cells, arrow.Cells) else None
        if known is None and None in self.cells:
            self.refuse(list(self.cells).index(None), "there is nothing")
        names, numbers = known or np.unique(self.names(), return_inverse=True)
        return names, numbers.astype(np.int64)

    def names(self) -> Sequence[Any]:
        """Return the cells `(rows,)`, none of which is a list or an object, so that they can name something."""
        for row, cell in enumerate(self.cells):
            if isinstance(cell, list | dict):
                self.refuse(row, f"{cell!r:.60} is neither a text nor a number")
        return self.cells

    def check_sorted(self, times: np.ndarray) -> None:
        """Raise BadInput where one of this column's times `(rows,)` lies before the one above it."""
        for row in np.flatnonzero(np.diff(times) < 0).tolist():
            self.refuse(row + 1, "the time lies before that of the row above; sort the file by time")

    def refuse(self, row: int, what: str) -> NoReturn:
        """Raise BadInput for the cell with index `row` (from 0 here, from 1 in the message)."""
        raise BadInput(f"{self.path}: row {row + 1}, column {self.name!r}: {what}")


def _in_proportion(numbers: np.ndarray, signed: bool) -> bool:
    size = np.abs(numbers)
    fine = (size <= MOST) & ((size >= 1 / MOST) | (size == 0))  # what is no number is not fine either
    return bool(fine.all() and (signed or numbers.min(initial=0.0) >= 0))


def read_columns(path: str | os.PathLike[str], names: Sequence[str]) -> list[Column]:
    """Return the named columns of a CSV file with a header, or of a Parquet file; other columns are ignored.

    Raises:
        BadInput: the file cannot be read, has no such column, or no data rows.
    """
    header = read_header(path)
    for name in names:
        if name not in header:
            raise BadInput(f"{path} has no column {name!r}; {nearest(name, header)}")
        if header.count(name) > 1:
            raise BadInput(f"{path} has {header.count(name)} columns {name!r}; leave all but one out")
    cells = None
    if arrow.is_parquet(path):
        cells = arrow.parquet_cells(path, names)
        if not len(cells[0]):
            raise BadInput(f"{path} is empty: no data rows under column {names[0]!r}")
    elif arrow.INSTALLED and _header_is_first(path):
        cells = arrow.csv_cells(path, names, header)
    if cells is not None:
        return [Column(path, name, told) for name, told in zip(names, cells, strict=True)]
    places = [header.index(name) for name in names]
    rows = [[row[i].strip() if i < len(row) else "" for i in places] for row in _rows(path)][1:]
    if not rows:
        raise BadInput(f"{path} is empty: no data rows under column {names[0]!r}")
    return [Column(path, name, list(cells)) for name, cells in zip(names, zip(*rows, strict=True), strict=True)]


def read_header(path: str | os.PathLike[str]) -> list[str]:
    """Return the names of the columns of a CSV or Parquet file; BadInput where it cannot be read or is empty."""
    if arrow.is_parquet(path):
        return arrow.names_of(path)
    header = next(_rows(path), None)
    if header is None:
        raise BadInput(f"{path} is empty")
    return [name.strip() for name in header]


def text_lines(path: str | os.PathLike[str]) -> Iterator[str]:
    """Yield the lines of a file that are not blank, stripped; a name that ends in .gz or .zst is unpacked.

    Raises:
        BadInput: it cannot be read, has a line without end, or unpacks to far more than tables do.
    """
    try:
        if Path(path).suffix in arrow.PACKED:
            _refuse_flood(os.fspath(path), os.stat(path))
        with _opened(path) as binary, io.TextIOWrapper(binary, "utf-8-sig") as stream:
            while line := stream.readline(LONGEST_LINE):
                if len(line) == LONGEST_LINE:
                    raise BadInput(f"cannot read {path}: a line has more than {LONGEST_LINE:,} characters")
                if stripped := line.strip():
                    yield stripped
    except BadInput:
        raise
    except (OSError, EOFError, zlib.error, ValueError) as error:  # the last of what is no UTF-8, or a path with a NUL
        raise BadInput(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def _rows(path: str | os.PathLike[str]) -> Iterator[list[str]]:
    try:
        yield from csv.reader(text_lines(path))
    except csv.Error as error:
        raise BadInput(f"cannot read {path}: {error}") from None


def _header_is_first(path: str | os.PathLike[str]) -> bool:
    """Tell whether no blank line stands above the header; pyarrow is told to skip one line."""
    try:
        with _opened(path) as stream:
            first = re.split(rb"[\r\n]", stream.read(2**12), maxsplit=1)[0]
    except (OSError, EOFError, zlib.error):
        return False
    return bool(first.decode("utf-8-sig", "replace").strip())


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a file for its bytes, unpacked."""
    if Path(path).suffix == ".zst":
        arrow.require(path)
        with arrow.unpacked(path) as stream:
            yield stream
    else:
        with (gzip.open if Path(path).suffix == ".gz" else open)(path, "rb") as plain:
            yield plain  # type: ignore[misc]


@cache
def _refuse_flood(path: str, stat: os.stat_result) -> None:
    """Refuse a packed file that holds far more than a table of its size; looked for once in a file as it is."""
    most, read = max(PACKED * stat.st_size, FREE), 0
    with _opened(path) as stream:
        while chunk := stream.read(2**20):
            read += len(chunk)
            if read > most:
                raise BadInput(
                    f"cannot read {path}: it unpacks to more than {PACKED} times its size, which no table does"
                )

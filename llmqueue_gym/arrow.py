"""Tables of millions of rows, read by pyarrow where it is installed: CSV, JSON lines and Parquet, packed or plain.

Whatever pyarrow does not take as it is, such as a row that is too short, is left to the readers in `columns`, which are
twenty times slower and name the row and the column. So are the messages of all errors.
"""

import importlib.util
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from llmqueue_gym.errors import BadInput

INSTALLED = importlib.util.find_spec("pyarrow") is not None
PACKED = {".gz": "gzip", ".zst": "zstd"}
BLOCK = 2**24  # bytes that are parsed at a time; no row is longer
EXACT = 2.0**53  # up to here floats hold each whole number


class Cells(Sequence[Any]):
    """The cells of one column, as text or as they are in the file; they become Python's objects when they are read.

    Attributes:
        values: `pyarrow.ChunkedArray` `(rows,)`.
    """

    def __init__(self, values: Any):
        self.values = values
        self._listed: list[Any] | None = None

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, row: Any) -> Any:
        return self._all()[row]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._all())

    def _all(self) -> list[Any]:
        if self._listed is None:
            try:
                self._listed = self.values.to_pylist()
            except ValueError:  # times whose nanoseconds Python's cannot hold
                import pyarrow as pa
                from pyarrow import compute

                self._listed = compute.cast(self.values, pa.string()).to_pylist()
        return self._listed

    def floats(self) -> np.ndarray | None:
        """Return the numbers `(rows,)`, float64; None where not all cells are numbers."""
        import pyarrow as pa
        from pyarrow import compute

        kind = self.values.type
        numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        if self.values.null_count or not (numeric or pa.types.is_string(kind)):
            return None
        try:
            return np.asarray(compute.cast(self.values, pa.float64(), safe=False).to_numpy())
        except pa.ArrowInvalid:
            return None

    def nanoseconds(self) -> np.ndarray | None:
        """Return the ns since 1970 of dates with times `(rows,)`, int64, UTC unless told; None where not all are."""
        import pyarrow as pa
        from pyarrow import compute

        if self.values.null_count or (pa.types.is_string(self.values.type) and not _all_have(self.values, ":")):
            return None
        for zone in (None, "UTC"):
            try:
                return np.asarray(compute.cast(compute.cast(self.values, pa.timestamp("ns", zone)), pa.int64()))
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                continue
        return None

    def numbered(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the different texts, sorted, and the number of each row's; None where cells are no texts."""
        import pyarrow as pa

        if self.values.null_count or not pa.types.is_string(self.values.type):
            return None
        encoded = self.values.combine_chunks().dictionary_encode()
        names, place = np.unique(np.array(encoded.dictionary.to_pylist(), str), return_inverse=True)
        return names, place[np.asarray(encoded.indices)]


def is_parquet(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file is called Parquet; BadInput where it is and pyarrow is missing."""
    called = Path(path).suffix == ".parquet"
    if called:
        require(path)
    return called


def require(path: str | os.PathLike[str]) -> None:
    """Raise BadInput where a file needs pyarrow and it is missing."""
    if not INSTALLED:
        raise BadInput(f"{path} needs pyarrow: pip install 'llmqueue-gym[traces]'")


@contextmanager
def unpacked(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a packed file, whose name says how it is packed."""
    import pyarrow as pa

    with pa.OSFile(os.fspath(path)) as file, pa.CompressedInputStream(file, PACKED[Path(path).suffix]) as stream:
        yield stream


def names_of(path: str | os.PathLike[str]) -> list[str]:
    """Return the names of the columns of a Parquet file."""
    from pyarrow import parquet

    with _read(path):
        return list(parquet.read_schema(path).names)


def parquet_cells(path: str | os.PathLike[str], names: Sequence[str]) -> list[Cells]:
    """Return columns of a Parquet file, which has them."""
    import pyarrow as pa
    from pyarrow import compute, parquet

    with _read(path):
        table = parquet.read_table(path, columns=list(names))
        columns = [table.column(name) for name in names]
        return [Cells(compute.cast(c, pa.string()) if _is_text(c) else c) for c in columns]


def csv_cells(path: str | os.PathLike[str], names: Sequence[str], header: Sequence[str]) -> list[Cells] | None:
    """Return columns of a CSV file as texts without blanks around them; None where it is left to the slow reader.

    Args:
        path: the file, whose first line is the header.
        names: of the columns.
        header: names of all columns.
    """
    import pyarrow as pa
    from pyarrow import compute, csv

    if len(header) < 2:  # a row that is blank would be a cell that is empty
        return None
    try:
        table = csv.read_csv(
            path,
            csv.ReadOptions(column_names=list(header), skip_rows=1, block_size=BLOCK),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), include_columns=list(names), strings_can_be_null=False
            ),
        )
    except (pa.ArrowException, OSError, ValueError):
        return None
    if not len(table) or len(set(header)) < len(header):
        return None
    return [Cells(compute.utf8_trim_whitespace(table.column(name))) for name in names]


def json_cells(path: str | os.PathLike[str], names: Sequence[str], more: Sequence[str]) -> list[Cells] | None:
    """Return values of JSON lines; None where it is left to the slow reader.

    Args:
        path: the file.
        names: keys that every row has.
        more: keys that rows may lack.
    """
    import pyarrow as pa
    from pyarrow import json

    try:
        table = json.read_json(path, json.ReadOptions(block_size=BLOCK))
    except (pa.ArrowException, OSError, ValueError):
        return None
    there = set(table.column_names)
    if not len(table) or not there.issuperset(names) or any(table.column(name).null_count for name in names):
        return None
    nothing = pa.chunked_array([pa.nulls(len(table))])
    columns = [table.column(name) if name in there else nothing for name in (*names, *more)]
    if any("timestamp" in str(column.type) for column in columns):  # it was text
        return None
    if any(_rounded(column) for column in columns) or not _one_a_line(path, len(table)):
        return None
    return [Cells(column) for column in columns]


def _rounded(column: Any) -> bool:
    """Tell whether whole numbers may have lost digits: those from 2^63 on, in lists too, are read as floats."""
    import pyarrow as pa
    from pyarrow import compute

    kind = column.type
    if pa.types.is_floating(kind):
        return bool(compute.any(compute.greater_equal(compute.abs(column), EXACT)).as_py())
    while pa.types.is_list(kind):
        kind = kind.value_type
    return bool(pa.types.is_floating(kind))


def _one_a_line(path: str | os.PathLike[str], rows: int) -> bool:
    """Tell whether each line has one of so many objects, which pyarrow does not ask for; not where lines are blank.

    That is so where all line breaks but the last stand between two braces, `}` and `{`, where they can be in no object,
    and there is one for each object but the last.
    """
    import pyarrow as pa

    breaks, returns, between, with_return, rest = 0, 0, 0, 0, b""
    with unpacked(path) if Path(path).suffix in PACKED else pa.OSFile(os.fspath(path)) as stream:
        while block := stream.read(BLOCK):
            block = rest + block
            end = max(block.rfind(b"}"), 0)
            rest, block = block[end:], block[:end]
            breaks, returns = breaks + block.count(b"\n"), returns + block.count(b"\r")
            between, with_return = between + block.count(b"}\n{"), with_return + block.count(b"}\r\n{")
    return rest.strip() == b"}" and breaks == between + with_return == rows - 1 and returns == with_return


def _all_have(texts: Any, part: str) -> bool:
    from pyarrow import compute

    return bool(compute.all(compute.match_substring(texts, part)).as_py())


def _is_text(column: Any) -> bool:
    import pyarrow as pa

    kind = column.type
    return pa.types.is_large_string(kind) or pa.types.is_dictionary(kind) or pa.types.is_string_view(kind)


@contextmanager
def _read(path: str | os.PathLike[str]) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        said = str(getattr(error, "strerror", None) or error).splitlines()[0]
        raise BadInput(f"cannot read {path}: {said}") from None

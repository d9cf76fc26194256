"""What every loader returns, and what loaders share: rows of JSON, and rows put in the order of their times."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from llmqueue_gym import arrow
from llmqueue_gym.columns import Column, read_columns, text_lines
from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.requests import Contexts
from llmqueue_gym.storage import parsed
from llmqueue_gym.workloads.contexts import picked


@dataclass(frozen=True, eq=False)
class Trace:
    """A recorded stream of requests.

    Attributes:
        arrival_s: arrival times `(rows,)`, float64, s from the first request, sorted.
        prompt_tokens: `(rows,)`, int64.
        output_tokens: `(rows,)`, int64.
        name: the file's name.
        source: repository and paper, for attribution.
        licence: of the data, as their owner states it.
        dropped: rows of the file left out because the request failed.
        priority: as their senders state it `(rows,)`, int64, lower is more urgent; None where the file does not say.
        klass: number of each one's class `(rows,)`, int64; None where the file does not say.
        tenant: number of who sent each `(rows,)`, int64; None where the file does not say.
        contexts: what the prompts consist of, and so who shares with whom; None where the file says lengths alone.
    """

    arrival_s: np.ndarray
    prompt_tokens: np.ndarray
    output_tokens: np.ndarray
    name: str
    source: str
    licence: str
    dropped: int = 0
    priority: np.ndarray | None = None
    klass: np.ndarray | None = None
    tenant: np.ndarray | None = None
    contexts: Contexts | None = None

    def __len__(self) -> int:
        return len(self.arrival_s)

    @property
    def rate(self) -> float:
        """Mean requests per s; NaN where all come at one time."""
        span = float(self.arrival_s[-1])
        return (len(self) - 1) / span if span > 0 else np.nan


def ordered_trace(
    path: str | os.PathLike[str],
    times: np.ndarray,
    prompts: np.ndarray,
    outputs: np.ndarray,
    source: str,
    licence: str,
    contexts: Contexts | None = None,
    **more: np.ndarray,
) -> Trace:
    """Return the trace of rows in any order, sorted by time: times (s), prompt and output tokens, each `(rows,)`.

    What more there is of them goes by the names of `Trace`.
    """
    order = np.argsort(times, kind="stable")
    times, columns = times[order], {name: column[order] for name, column in more.items()}
    made = Trace(times - times[0], prompts[order], outputs[order], Path(path).name, source, licence)
    if contexts is not None:
        made = replace(made, contexts=picked(contexts, order))
    return replace(made, **columns)  # type: ignore[arg-type]


def sorted_trace(
    path: str | os.PathLike[str], columns: Sequence[Column], unit: str, source: str, licence: str, **more: Any
) -> Trace:
    """Return the trace of a file whose rows are sorted by time: times in a unit, prompt and output tokens."""
    stamps, prompts, outputs = columns
    times = stamps.seconds(unit)
    stamps.check_sorted(times)
    return ordered_trace(path, times, prompts.counts(), outputs.counts(), source, licence, **more)


def read_json_columns(path: str | os.PathLike[str], names: Sequence[str], more: Sequence[str] = ()) -> list[Column]:
    """Return the values under the named keys of a file with one JSON object a line; other keys are ignored.

    Args:
        path: the file.
        names: keys that every row has.
        more: keys that rows may lack, whose values are None there.

    Raises:
        BadInput: the file cannot be read or is empty, a row is not a JSON object, or lacks a key.
    """
    known = _by_arrow(path, names, more)
    if known is not None:
        return known
    columns, optional = ([Column(path, name, []) for name in keys] for keys in (names, more))
    for row, line in enumerate(text_lines(path)):
        record = json_object(line)
        if record is None:
            raise BadInput(f"{path}: row {row + 1} is not a JSON object")
        for column in columns:
            if column.name not in record:
                column.refuse(row, f"there is no such key; {nearest(column.name, record)}")
            column.cells.append(record[column.name])  # type: ignore[attr-defined]
        for column in optional:
            column.cells.append(record.get(column.name))  # type: ignore[attr-defined]
    if columns and not columns[0].cells:
        raise BadInput(f"{path} is empty")
    return columns + optional


def _by_arrow(path: str | os.PathLike[str], names: Sequence[str], more: Sequence[str]) -> list[Column] | None:
    """Return what `read_json_columns` does of a Parquet file, or of one that pyarrow can read; else None."""
    if arrow.is_parquet(path):
        header = arrow.names_of(path)
        there = [name for name in more if name in header]
        told = {column.name: column for column in read_columns(path, [*names, *there])}
        empty = [None] * len(told[names[0]].cells)
        return [told.get(name, Column(path, name, empty)) for name in (*names, *more)]
    cells = arrow.json_cells(path, names, more) if arrow.INSTALLED else None
    if cells is None:
        return None
    return [Column(path, name, values) for name, values in zip((*names, *more), cells, strict=True)]


def is_json(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file seems to have a JSON object a line: its first one begins like one."""
    return not arrow.is_parquet(path) and next(text_lines(path), "").startswith("{")


def json_object(line: str) -> dict[str, Any] | None:
    """Return the JSON object in a line, or None where it holds none."""
    try:
        record = parsed(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None

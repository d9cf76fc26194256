"""What every loader returns, and what loaders share: rows of JSON, and rows put in the order of their times."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmqueue_gym.columns import Column, text_lines
from llmqueue_gym.errors import BadInput, nearest


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
    """

    arrival_s: np.ndarray
    prompt_tokens: np.ndarray
    output_tokens: np.ndarray
    name: str
    source: str
    licence: str
    dropped: int = 0

    def __len__(self) -> int:
        return len(self.arrival_s)


def ordered_trace(
    path: str | os.PathLike[str], times: np.ndarray, prompts: np.ndarray, outputs: np.ndarray, source: str, licence: str
) -> Trace:
    """Return the trace of rows in any order, sorted by time: times (s), prompt and output tokens, each `(rows,)`."""
    order = np.argsort(times, kind="stable")
    times = times[order]
    return Trace(times - times[0], prompts[order], outputs[order], Path(path).name, source, licence)


def sorted_trace(
    path: str | os.PathLike[str], columns: Sequence[Column], source: str, licence: str, unit: float = 1.0
) -> Trace:
    """Return the trace of a file whose rows are sorted by time: times (in `unit` s), prompt and output tokens."""
    stamps, prompts, outputs = columns
    times = stamps.numbers()
    stamps.check_sorted(times)
    return ordered_trace(path, times * unit, prompts.counts(), outputs.counts(), source, licence)


def read_json_columns(path: str | os.PathLike[str], names: Sequence[str]) -> list[Column]:
    """Return the values under the named keys of a file with one JSON object a line; other keys are ignored.

    Raises:
        BadInput: the file cannot be read or is empty, a row is not a JSON object, or lacks a key.
    """
    columns = [Column(path, name, []) for name in names]
    for row, line in enumerate(text_lines(path)):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            raise BadInput(f"{path}: row {row + 1} is not a JSON object")
        for column in columns:
            if column.name not in record:
                column.refuse(row, f"there is no such key; {nearest(column.name, record)}")
            column.cells.append(record[column.name])
    if columns and not columns[0].cells:
        raise BadInput(f"{path} is empty")
    return columns

"""Columns of files with one JSON object a line, plain or gzipped, with errors that name the file, row and key."""

import json
import os
from collections.abc import Sequence

from llmqueue_gym.columns import Column, text_lines
from llmqueue_gym.errors import BadInput, nearest


def read_json_columns(path: str | os.PathLike[str], names: Sequence[str]) -> list[Column]:
    """Return the values under the named keys; other keys are ignored.

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

"""Mooncake: one JSON object a line with `timestamp` (ms), `input_length`, `output_length`, `hash_ids`."""

import json
import os
from pathlib import Path

import numpy as np

from llmqueue_gym.columns import Column, text_lines
from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.workloads.traces.trace import Trace

_KEYS = ("timestamp", "input_length", "output_length")
CELL = 3.0  # s; the release rounds arrival times down to this grid


def load_mooncake(path: str | os.PathLike[str], spread: bool = True, seed: int = 0) -> Trace:
    """Read a Mooncake trace; the prefix blocks `hash_ids` are not kept.

    Arrival times lie on a 3 s grid, about ten requests on each point, which no queue would survive as recorded.

    Args:
        path: a jsonl file.
        spread: whether each time is moved by a uniform draw from [0, 3) s; rows are then sorted by time again.
            A file off the grid, such as the synthetic trace, is left as it is.
        seed: of those draws.

    Raises:
        BadInput: see `load_trace`.
    """
    stamps, prompts, outputs = columns = [Column(path, name, []) for name in _KEYS]
    for row, line in enumerate(text_lines(path)):
        try:
            record = json.loads(line)
        except ValueError:
            raise BadInput(f"{path}: row {row + 1} is not a JSON object") from None
        if not isinstance(record, dict):
            raise BadInput(f"{path}: row {row + 1} is not a JSON object")
        for column in columns:
            if column.name not in record:
                column.refuse(row, f"there is no such key; {nearest(column.name, record)}")
            column.cells.append(record[column.name])
    if not stamps.cells:
        raise BadInput(f"{path} is empty")
    times = stamps.numbers() / 1000
    stamps.check_sorted(times)
    if spread and not np.any(times % CELL):
        times = times + np.random.default_rng(seed).uniform(0, CELL, len(times))
    order = np.argsort(times, kind="stable")
    times = times[order]
    return Trace(
        arrival_s=times - times[0],
        prompt_tokens=prompts.counts()[order],
        output_tokens=outputs.counts()[order],
        name=Path(path).name,
        source="kvcache-ai/Mooncake; Qin et al., Mooncake, FAST 2025",
        licence="Apache-2.0",
    )

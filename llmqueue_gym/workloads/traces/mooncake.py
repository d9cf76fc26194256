"""Mooncake: one JSON object a line with `timestamp` (ms), `input_length`, `output_length`, `hash_ids`."""

import json
import os
from pathlib import Path

import numpy as np

from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.workloads.traces.columns import bad_value, check_sorted, finite_numbers, text_lines, whole_numbers
from llmqueue_gym.workloads.traces.trace import Trace

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
    columns: dict[str, list[object]] = {"timestamp": [], "input_length": [], "output_length": []}
    for row, line in enumerate(text_lines(path)):
        try:
            record = json.loads(line)
        except ValueError:
            raise BadInput(f"{path}: row {row + 1} is not a JSON object") from None
        if not isinstance(record, dict):
            raise BadInput(f"{path}: row {row + 1} is not a JSON object")
        for name, values in columns.items():
            if name not in record:
                bad_value(path, row, name, f"there is no such key; {nearest(name, record)}")
            values.append(record[name])
    if not columns["timestamp"]:
        raise BadInput(f"{path} is empty")
    times = finite_numbers(path, "timestamp", columns["timestamp"]) / 1000
    check_sorted(path, "timestamp", times)
    if spread and not np.any(times % CELL):
        times = times + np.random.default_rng(seed).uniform(0, CELL, len(times))
    order = np.argsort(times, kind="stable")
    times = times[order]
    return Trace(
        arrival_s=times - times[0],
        prompt_tokens=whole_numbers(path, "input_length", columns["input_length"])[order],
        output_tokens=whole_numbers(path, "output_length", columns["output_length"])[order],
        name=Path(path).name,
        source="kvcache-ai/Mooncake; Qin et al., Mooncake, FAST 2025",
        licence="Apache-2.0",
    )

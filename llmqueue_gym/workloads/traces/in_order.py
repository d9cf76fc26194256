"""Traces from columns: of files that are sorted by time, and of files that list one session after another."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from llmqueue_gym.columns import Column
from llmqueue_gym.workloads.traces.trace import Trace


def sorted_trace(
    path: str | os.PathLike[str], columns: Sequence[Column], unit: float, source: str, licence: str
) -> Trace:
    """Return the trace of a file whose rows are sorted by time.

    Args:
        path: the file.
        columns: times, prompt tokens, output tokens.
        unit: of the times, s.
        source: repository and paper.
        licence: of the data.

    Raises:
        BadInput: see `load_trace`.
    """
    stamps, prompts, outputs = columns
    times = stamps.numbers()
    stamps.check_sorted(times)
    return sessions_trace(path, times * unit, prompts.counts(), outputs.counts(), source, licence)


def sessions_trace(
    path: str | os.PathLike[str], times: np.ndarray, prompts: np.ndarray, outputs: np.ndarray, source: str, licence: str
) -> Trace:
    """Return the trace of rows in any order, sorted by time: times (s), prompt and output tokens, each `(rows,)`."""
    order = np.argsort(times, kind="stable")
    times = times[order]
    return Trace(times - times[0], prompts[order], outputs[order], Path(path).name, source, licence)

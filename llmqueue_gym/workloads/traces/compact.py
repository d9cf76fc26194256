"""The compact form `arrival_s,prompt_tokens,output_tokens`: the one to convert your own trace to."""

import os
from pathlib import Path

from llmqueue_gym.workloads.traces.columns import check_sorted, finite_numbers, read_columns, whole_numbers
from llmqueue_gym.workloads.traces.trace import Trace


def load_compact(path: str | os.PathLike[str], source: str = "", licence: str = "") -> Trace:
    """Read a trace in compact form; the file says nothing of its source and licence, so the caller may.

    Raises:
        BadInput: see `load_trace`.
    """
    stamps, prompts, outputs = read_columns(path, ["arrival_s", "prompt_tokens", "output_tokens"])
    times = finite_numbers(path, "arrival_s", stamps)
    check_sorted(path, "arrival_s", times)
    return Trace(
        arrival_s=times - times[0],
        prompt_tokens=whole_numbers(path, "prompt_tokens", prompts),
        output_tokens=whole_numbers(path, "output_tokens", outputs),
        name=Path(path).name,
        source=source,
        licence=licence,
    )

"""The compact form `arrival_s,prompt_tokens,output_tokens`: the one to convert your own trace to."""

import os
from pathlib import Path

from llmqueue_gym.columns import read_columns
from llmqueue_gym.workloads.traces.trace import Trace


def load_compact(path: str | os.PathLike[str], source: str = "", licence: str = "") -> Trace:
    """Read a trace in compact form; the file says nothing of its source and licence, so the caller may.

    Raises:
        BadInput: see `load_trace`.
    """
    stamps, prompts, outputs = read_columns(path, ["arrival_s", "prompt_tokens", "output_tokens"])
    times = stamps.numbers()
    stamps.check_sorted(times)
    return Trace(
        arrival_s=times - times[0],
        prompt_tokens=prompts.counts(),
        output_tokens=outputs.counts(),
        name=Path(path).name,
        source=source,
        licence=licence,
    )

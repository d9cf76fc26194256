"""Vidur's traces: `arrived_at,num_prefill_tokens,num_decode_tokens`, time in s."""

import os

from llmqueue_gym.columns import read_columns
from llmqueue_gym.workloads.traces.in_order import sorted_trace
from llmqueue_gym.workloads.traces.trace import Trace


def load_vidur(path: str | os.PathLike[str], source: str = "", licence: str = "") -> Trace:
    """Read a trace in the form of microsoft/vidur.

    Its files are other people's data converted (`splitwise_conv.csv` is the Azure 2023 trace), so the caller may say
    source and licence. For files without arrivals see `load_lengths`.

    Raises:
        BadInput: see `load_trace`.
    """
    columns = read_columns(path, ["arrived_at", "num_prefill_tokens", "num_decode_tokens"])
    source, licence = source or "in the form of microsoft/vidur", licence or "that of the data it was made from"
    return sorted_trace(path, columns, unit=1.0, source=source, licence=licence)

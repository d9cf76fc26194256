"""LLMServingSim: one JSON object a line with `input_toks`, `output_toks` and the arrival.

That is `arrival_time_ns` in its workloads and `arrival_time` (s) in its records of real vLLM runs.
"""

import json
import os

from llmqueue_gym.columns import text_lines
from llmqueue_gym.workloads.traces.in_order import sorted_trace
from llmqueue_gym.workloads.traces.json_lines import read_json_columns
from llmqueue_gym.workloads.traces.trace import Trace


def load_llmservingsim(path: str | os.PathLike[str]) -> Trace:
    """Read a workload or a record of LLMServingSim; token ids and measured times are not kept.

    Raises:
        BadInput: see `load_trace`.
    """
    try:
        in_seconds = "arrival_time" in json.loads(next(text_lines(path), "{}"))
    except ValueError:
        in_seconds = False
    stamp, unit = ("arrival_time", 1.0) if in_seconds else ("arrival_time_ns", 1e-9)
    columns = read_json_columns(path, [stamp, "input_toks", "output_toks"])
    return sorted_trace(path, columns, unit=unit, source="casys-kaist/LLMServingSim", licence="MIT")

"""Qwen usage traces of Alibaba Bailian: one JSON object a line with `timestamp` (s), `input_length`, `output_length`.

They look like Mooncake's, whose times are in ms; `chat_id` and `turn` tell them apart.
"""

import os

from llmqueue_gym.workloads.traces.in_order import sessions_trace
from llmqueue_gym.workloads.traces.json_lines import read_json_columns
from llmqueue_gym.workloads.traces.trace import Trace


def load_qwen(path: str | os.PathLike[str]) -> Trace:
    """Read a Qwen trace, in any order of rows; chats, types and prefix blocks are not kept.

    Raises:
        BadInput: see `load_trace`.
    """
    stamps, prompts, outputs = read_json_columns(path, ["timestamp", "input_length", "output_length"])
    source, licence = "alibaba-edu/qwen-bailian-usagetraces-anon", "not stated here: see the repository"
    return sessions_trace(path, stamps.numbers(), prompts.counts(), outputs.counts(), source, licence)

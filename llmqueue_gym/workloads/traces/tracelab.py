"""TraceLab: rounds of agent sessions, as a replay table or as recorded rounds.

A round is one call of the model; after it a tool runs, and the next round's prompt holds all that came before.
"""

import os

import numpy as np

from llmqueue_gym.columns import read_columns
from llmqueue_gym.errors import BadInput
from llmqueue_gym.workloads.traces.azure import nanoseconds
from llmqueue_gym.workloads.traces.in_order import sessions_trace
from llmqueue_gym.workloads.traces.json_lines import read_json_columns
from llmqueue_gym.workloads.traces.trace import Trace

_SOURCE = "uw-syfi/TraceLab"
_INPUTS = {"user_message", "tool_result"}  # events that a round waits for


def load_tracelab(path: str | os.PathLike[str], seconds_per_token: float = 0.0) -> Trace:
    """Read `session_id,arrival_time,round_idx,prefix_len,input_len,output_len,tool_wait_after_ms`, times in ms.

    A round arrives when its session does, plus the tools' waits after the earlier rounds, plus the time that the model
    took for those rounds. The file does not have the last; a closed-loop replay would measure it.

    Args:
        path: the replay table.
        seconds_per_token: taken for each output token of the earlier rounds; 0 leaves the model's time out.

    Raises:
        BadInput: see `load_trace`; or a negative time per token.
    """
    if not 0 <= seconds_per_token < np.inf:
        raise BadInput(f"seconds_per_token={seconds_per_token:g} must be finite and not negative")
    names = ["session_id", "arrival_time", "prefix_len", "input_len", "output_len", "tool_wait_after_ms"]
    sessions, stamps, prefixes, inputs, outputs, waits = read_columns(path, names)
    times, output_tokens = stamps.numbers() / 1000, outputs.counts()
    after = waits.numbers() / 1000 + output_tokens * seconds_per_token
    elapsed: dict[str, float] = {}
    for row, session in enumerate(sessions.cells):
        times[row] += elapsed.get(session, 0.0)
        elapsed[session] = elapsed.get(session, 0.0) + after[row]
    return sessions_trace(path, times, prefixes.counts() + inputs.counts(), output_tokens, _SOURCE, "Apache-2.0")


def load_tracelab_rounds(path: str | os.PathLike[str]) -> Trace:
    """Read recorded rounds, one JSON object a line; a round arrives with its last user message or tool result.

    Raises:
        BadInput: see `load_trace`; or a round in which none of these is recorded.
    """
    events, prompts, outputs = read_json_columns(path, ["timing_events", "input_tokens_total", "output_tokens"])
    ticks = np.empty(len(events.cells), np.int64)
    for row, listed in enumerate(events.cells):
        try:
            ticks[row] = max(nanoseconds(e["timestamp"]) for e in listed if e["event_type"] in _INPUTS)
        except (TypeError, KeyError, ValueError):
            events.refuse(row, "no user message or tool result with a time, so it is not known when the round arrived")
    times = (ticks - ticks.min()) / 1e9
    return sessions_trace(path, times, prompts.counts(), outputs.counts(), _SOURCE, "CC-BY-4.0")

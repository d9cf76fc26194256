"""Loaders of agents' calls, recorded session after session. All raise BadInput as `load_trace` says.

A call's prompt holds all that came before it in the session. Replayed, a call comes at its recorded time however long
the simulated server took for the one before it.
"""

import os

import numpy as np

from llmqueue_gym.columns import read_columns
from llmqueue_gym.errors import BadInput
from llmqueue_gym.workloads.traces.requests import nanoseconds
from llmqueue_gym.workloads.traces.trace import Trace, ordered_trace, read_json_columns

_TRACELAB = "uw-syfi/TraceLab"
_INPUTS = {"user_message", "tool_result"}  # events that a round of TraceLab waits for


def load_exgentic(path: str | os.PathLike[str]) -> Trace:
    """Read JSON lines of Exgentic/agent-llm-traces: `start_time_s` on one clock, `input_tokens`, `output_tokens`."""
    stamps, prompts, outputs = read_json_columns(path, ["start_time_s", "input_tokens", "output_tokens"])
    source, licence = "Exgentic/agent-llm-traces", "CDLA-Permissive-2.0"
    return ordered_trace(path, stamps.numbers(), prompts.counts(), outputs.counts(), source, licence)


def load_claude(path: str | os.PathLike[str], gap: float = 0.0) -> Trace:
    """Read JSON lines of semianalysisai/cc-traces-weka-no-subagents, sessions of which have no common clock.

    Args:
        path: a jsonl file with `request_arrival_delta_s` since the session began, `input_tokens`, `output_tokens`.
        gap: s between the beginnings of sessions, in the file's order; the release does not say when they were, so 0
            lets all begin together.

    Raises:
        BadInput: as `load_trace` says; or a negative gap.
    """
    if not 0 <= gap < np.inf:
        raise BadInput(f"gap={gap:g} must be finite and not negative")
    names = ["request_arrival_delta_s", "input_tokens", "output_tokens", "session_id"]
    stamps, prompts, outputs, sessions = read_json_columns(path, names)
    first: dict[str, int] = {}
    begins = np.array([first.setdefault(session, len(first)) for session in sessions.cells]) * gap
    source, licence = "semianalysisai/cc-traces-weka-no-subagents-051226", "Apache-2.0"
    return ordered_trace(path, stamps.numbers() + begins, prompts.counts(), outputs.counts(), source, licence)


def load_tracelab(path: str | os.PathLike[str], seconds_per_token: float = 0.0) -> Trace:
    """Read `session_id,arrival_time,round_idx,prefix_len,input_len,output_len,tool_wait_after_ms`, times in ms.

    A round is one call of the model, after which a tool runs. It arrives when its session does, plus the tools' waits
    after the earlier rounds, plus the time that the model took for those rounds. The file does not have the last; a
    closed-loop replay would measure it.

    Args:
        path: the replay table.
        seconds_per_token: taken for each output token of the earlier rounds; 0 leaves the model's time out.

    Raises:
        BadInput: as `load_trace` says; or a negative time per token.
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
    return ordered_trace(path, times, prefixes.counts() + inputs.counts(), output_tokens, _TRACELAB, "Apache-2.0")


def load_tracelab_rounds(path: str | os.PathLike[str]) -> Trace:
    """Read recorded rounds, one JSON object a line; a round arrives with its last user message or tool result."""
    events, prompts, outputs = read_json_columns(path, ["timing_events", "input_tokens_total", "output_tokens"])
    ticks = np.empty(len(events.cells), np.int64)
    for row, listed in enumerate(events.cells):
        try:
            ticks[row] = max(nanoseconds(e["timestamp"]) for e in listed if e["event_type"] in _INPUTS)
        except (TypeError, KeyError, ValueError):
            events.refuse(row, "no user message or tool result with a time, so it is not known when the round arrived")
    times = (ticks - ticks.min()) / 1e9
    return ordered_trace(path, times, prompts.counts(), outputs.counts(), _TRACELAB, "CC-BY-4.0")

"""Loaders of agents' calls, recorded session after session; for what they raise see `loaders`.

An agent's prompt holds all that came before it in the session. Where a file tells sessions but not what their prompts
share, it is taken to be as `contexts.of_sessions` says. A call comes at its recorded time however long the simulated
server took for the one before.
"""

import os
from typing import Any

import numpy as np

from llmqueue_gym.columns import MOST_SECONDS, Column, read_columns, read_header
from llmqueue_gym.errors import BadInput
from llmqueue_gym.requests import Contexts
from llmqueue_gym.workloads.contexts import of_sessions
from llmqueue_gym.workloads.traces.loaders import nanoseconds
from llmqueue_gym.workloads.traces.trace import Trace, ordered_trace, read_json_columns

INPUTS = {"user_message", "tool_result"}  # events that a round of TraceLab waits for


def load_sessions(
    path: str | os.PathLike[str], unit: str = "s", gap: float = 0.0, source: str = "", licence: str = ""
) -> Trace:
    """Read `session,session_offset_s,prompt_tokens,output_tokens`: calls of sessions that have no common clock.

    `shared_prefix_tokens` tells, where it is there, how much a prompt shares with an earlier one of its session.

    Args:
        path: a csv file.
        unit: of its times.
        gap: as of `load_claude`.
        source: of the data.
        licence: of the data.
    """
    named = [name for name in ("shared_prefix_tokens",) if name in read_header(path)]
    names = ["session_offset_s", "prompt_tokens", "output_tokens", "session"]
    stamps, prompts, outputs, sessions, *shared = read_columns(path, names + named)
    offsets, columns = stamps.seconds(unit), (prompts.counts(), outputs.counts())
    prefixes = shared[0].counts() if shared else None
    contexts = contexts_of(sessions, offsets, *columns, prefixes)
    return ordered_trace(path, offsets + _begins(sessions, gap), *columns, source, licence, contexts)


def load_exgentic(path: str | os.PathLike[str], unit: str = "s") -> Trace:
    """Read JSON lines of Exgentic/agent-llm-traces: `start_time_s` on one clock, `input_tokens`, `output_tokens`.

    `session_id` tells which calls build on one another.
    """
    names = ["start_time_s", "input_tokens", "output_tokens"]
    stamps, prompts, outputs, sessions = read_json_columns(path, names, ["session_id"])
    times, columns = stamps.seconds(unit), (prompts.counts(), outputs.counts())
    contexts = contexts_of(sessions, times, *columns)
    source, licence = "Exgentic/agent-llm-traces", "CDLA-Permissive-2.0"
    return ordered_trace(path, times, *columns, source, licence, contexts)


def load_claude(path: str | os.PathLike[str], unit: str = "s", gap: float = 0.0) -> Trace:
    """Read JSON lines of semianalysisai/cc-traces-weka-no-subagents, sessions of which have no common clock.

    Args:
        path: a jsonl file with `request_arrival_delta_s` since the session began, `input_tokens`, `output_tokens`.
        unit: of its times.
        gap: s between the beginnings of sessions, in the file's order; the release does not say when they were, so 0
            lets all begin together.
    """
    names = ["request_arrival_delta_s", "input_tokens", "output_tokens", "session_id"]
    stamps, prompts, outputs, sessions = read_json_columns(path, names)
    times, columns = stamps.seconds(unit), (prompts.counts(), outputs.counts())
    contexts = contexts_of(sessions, times, *columns)
    source, licence = "semianalysisai/cc-traces-weka-no-subagents-051226", "Apache-2.0"
    return ordered_trace(path, times + _begins(sessions, gap), *columns, source, licence, contexts)


def load_tracelab(path: str | os.PathLike[str], unit: str = "ms", seconds_per_token: float = 0.0) -> Trace:
    """Read `session_id,arrival_time,round_idx,prefix_len,input_len,output_len,tool_wait_after_ms`.

    A round is one call of the model, after which a tool runs. It arrives when its session does, plus the tools' waits
    after the earlier rounds, plus the time that the model took for those rounds. The file does not have the last; a
    closed-loop replay would measure it. The first `prefix_len` tokens of its prompt are the session's context so far.

    Args:
        path: the replay table.
        unit: of its arrival times.
        seconds_per_token: taken for each output token of the earlier rounds; 0 leaves the model's time out.
    """
    if not 0 <= seconds_per_token <= 1e3:
        raise BadInput(f"seconds_per_token={seconds_per_token:g} must lie between 0 and 1000")
    names = ["session_id", "arrival_time", "prefix_len", "input_len", "output_len", "tool_wait_after_ms"]
    sessions, stamps, prefixes, inputs, outputs, waits = read_columns(path, names)
    times, output_tokens = stamps.seconds(unit), outputs.counts()
    after = waits.seconds("ms") + output_tokens * seconds_per_token
    elapsed: dict[str, float] = {}
    for row, session in enumerate(sessions.names()):
        times[row] += elapsed.get(session, 0.0)
        elapsed[session] = elapsed.get(session, 0.0) + after[row]
    shared = prefixes.counts()
    prompts = shared + inputs.counts()
    contexts = of_sessions(sessions.cells, np.arange(len(times)), prompts, output_tokens, shared)
    return ordered_trace(path, times, prompts, output_tokens, "uw-syfi/TraceLab", "Apache-2.0", contexts)


def load_tracelab_rounds(path: str | os.PathLike[str]) -> Trace:
    """Read recorded rounds, one JSON object a line; a round arrives with its last user message or tool result.

    `prefix_tokens` of a round are taken to be tokens of its session; the file does not say with whom the first round of
    a session shares those that it has.
    """
    names, more = ["timing_events", "input_tokens_total", "output_tokens"], ["session_id", "prefix_tokens"]
    events, prompts, outputs, sessions, prefixes = read_json_columns(path, names, more)
    ticks = np.empty(len(events.cells), np.int64)
    for row, listed in enumerate(events.cells):
        try:
            ticks[row] = max(nanoseconds(e["timestamp"]) for e in listed if e["event_type"] in INPUTS)
        except (TypeError, KeyError, ValueError):
            events.refuse(row, "no user message or tool result with a time, so it is not known when the round arrived")
    times = (ticks - ticks.min()) / 1e9
    columns = prompts.counts(), outputs.counts()
    shared = None if None in prefixes.cells else prefixes.counts()
    contexts = contexts_of(sessions, times, *columns, shared)
    return ordered_trace(path, times, *columns, "uw-syfi/TraceLab", "CC-BY-4.0", contexts)


def _begins(sessions: Column, gap: float) -> np.ndarray:
    """Return when the session of each row begins `(rows,)`, s: a gap after the one before it in the file."""
    if not 0 <= gap <= MOST_SECONDS:
        raise BadInput(f"gap={gap:g} must lie between 0 and {MOST_SECONDS:g} s")
    first: dict[str, int] = {}
    return np.array([first.setdefault(str(session), len(first)) for session in sessions.cells]) * gap


def contexts_of(sessions: Column, times: np.ndarray, *columns: Any) -> Contexts | None:
    """Return the contexts of sessions whose calls are in the order of their times; None where no session is told."""
    if not any(session is not None for session in sessions.cells):
        return None
    known = [f"row {row}" if session is None else str(session) for row, session in enumerate(sessions.cells)]
    return of_sessions(known, np.argsort(times, kind="stable"), *columns)

"""Calls of coding agents: normalised JSON lines of two releases, session after session.

| format   | release                                          | time                                  |
|----------|--------------------------------------------------|---------------------------------------|
| exgentic | Exgentic/agent-llm-traces                        | `start_time_s`, one clock for all     |
| claude   | semianalysisai/cc-traces-weka-no-subagents       | `request_arrival_delta_s`, s since the session began |

Both have `input_tokens` (the whole prompt, earlier turns included) and `output_tokens`. Replayed, a call comes at its
recorded time however long the simulated server took for the one before it.
"""

import os

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.workloads.traces.in_order import sessions_trace
from llmqueue_gym.workloads.traces.json_lines import read_json_columns
from llmqueue_gym.workloads.traces.trace import Trace


def load_exgentic(path: str | os.PathLike[str]) -> Trace:
    """Read calls with a common clock.

    Raises:
        BadInput: see `load_trace`.
    """
    stamps, prompts, outputs = read_json_columns(path, ["start_time_s", "input_tokens", "output_tokens"])
    times = stamps.numbers()
    return sessions_trace(
        path, times, prompts.counts(), outputs.counts(), "Exgentic/agent-llm-traces", "CDLA-Permissive-2.0"
    )


def load_claude(path: str | os.PathLike[str], gap: float = 0.0) -> Trace:
    """Read calls that have no common clock.

    Args:
        path: a jsonl file.
        gap: s between the beginnings of sessions, in the file's order; the release does not say when they were, so 0
            lets all begin together.

    Raises:
        BadInput: see `load_trace`; or a negative gap.
    """
    if not 0 <= gap < np.inf:
        raise BadInput(f"gap={gap:g} must be finite and not negative")
    names = ["request_arrival_delta_s", "input_tokens", "output_tokens", "session_id"]
    stamps, prompts, outputs, sessions = read_json_columns(path, names)
    first: dict[str, int] = {}
    begins = np.array([first.setdefault(session, len(first)) for session in sessions.cells]) * gap
    return sessions_trace(
        path,
        stamps.numbers() + begins,
        prompts.counts(),
        outputs.counts(),
        "semianalysisai/cc-traces-weka-no-subagents-051226",
        "Apache-2.0",
    )

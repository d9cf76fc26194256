"""Loaders of programs whose calls were recorded with their times; chains whose gaps are told: `program_chains`.

All raise BadInput as `load_programs` says, or where an option is out of its range. `apart` is s between the beginnings
of sessions, in the file's order, in place of what the file tells of them, if anything.
"""

import os
from typing import Any

import numpy as np

from llmqueue_gym.columns import Column, read_columns
from llmqueue_gym.errors import BadInput
from llmqueue_gym.workloads.traces.agents import INPUTS
from llmqueue_gym.workloads.traces.loaders import nanoseconds
from llmqueue_gym.workloads.traces.program_trace import ProgramTrace, either, in_sessions, names_of
from llmqueue_gym.workloads.traces.trace import read_json_columns

Path = str | os.PathLike[str]


def load_claude(path: Path, apart: float | None = None) -> ProgramTrace:
    """Read sessions of Claude Code (semianalysisai/cc-traces-weka-no-subagents), which have no common clock.

    A call began `request_arrival_delta_s` after its session did and took `api_time_s`. The gap is from there to the
    next call, whoever was busy then, tool, person or a subagent that the release leaves out; its `think_time_s` is
    not used.

    Args:
        path: JSON lines, or a csv file with `session`, `turn`, `session_offset_s`.
        apart: see above.
    """
    names = {"session_id": "session", "turn_index": "turn", "request_arrival_delta_s": "session_offset_s"}
    session, turn, begin, took, prompts, outputs = either(
        path, {**names, "api_time_s": "api_time_s", "input_tokens": "prompt_tokens", "output_tokens": "output_tokens"}
    )
    times = begin.seconds()
    return in_sessions(
        path,
        names_of(session),
        times,
        times + took.seconds(),
        prompts.counts(),
        outputs.counts(),
        "semianalysisai/cc-traces-weka-no-subagents-051226",
        "Apache-2.0",
        index=turn.counts(),
        apart=apart,
        common_clock=False,
    )


def load_exgentic(path: Path, apart: float | None = None) -> ProgramTrace:
    """Read sessions of Exgentic/agent-llm-traces, which have one clock; calls that failed are left out.

    Args:
        path: JSON lines, or a csv file with `session`, `span`, `arrival_s`, `duration_s`, `error`.
        apart: see above.
    """
    names = {"session_id": "session", "span_index": "span", "start_time_s": "arrival_s", "duration_ms": "duration_s"}
    names |= {"input_tokens": "prompt_tokens", "output_tokens": "output_tokens", "is_error": "error"}
    session, span, begin, took, prompts, outputs, error = either(path, names)
    times, unit = begin.seconds(), "ms" if took.name == "duration_ms" else "s"
    return in_sessions(
        path,
        names_of(session),
        times,
        times + _known(took).seconds(unit),
        _known(prompts).counts(),
        _known(outputs).counts(),
        "Exgentic/agent-llm-traces",
        "CDLA-Permissive-2.0",
        index=span.counts(),
        failed=np.array([cell in (True, 1, "1", "true", "True") for cell in error.cells]),
        apart=apart,
    )


def load_lmcache(path: Path, seconds_per_token: float = 0.0, apart: float | None = None) -> ProgramTrace:
    """Read sessions of LMCache/lmcache-agent-trace in the compact form, which tells when calls began, but not ended.

    Args:
        path: a csv file with `agent`, `session`, `session_offset_s`, `shared_prefix_tokens`.
        seconds_per_token: taken for each output token of a call; with 0 the recorded server's time is part of the gaps.
        apart: see above.
    """
    if not 0 <= seconds_per_token <= 1e3:
        raise BadInput(f"seconds_per_token={seconds_per_token:g} must lie between 0 and 1000")
    names = ["agent", "session", "session_offset_s", "prompt_tokens", "output_tokens", "shared_prefix_tokens"]
    agent, session, begin, prompts, outputs, shared = read_columns(path, names)
    times, output_tokens = begin.seconds(), outputs.counts()
    said = f"calls are taken to have lasted {seconds_per_token:g} s an output token; the file does not say"
    return in_sessions(
        path,
        list(zip(agent.cells, session.cells, strict=True)),
        times,
        times + seconds_per_token * output_tokens,
        prompts.counts(),
        output_tokens,
        "LMCache/lmcache-agent-trace",
        "Apache-2.0",
        prefixes=shared.counts(),
        apart=apart,
        common_clock=False,
        notes=(said,),
    )


def load_tracelab_rounds(path: Path, apart: float | None = None) -> ProgramTrace:
    """Read recorded rounds of TraceLab, one JSON object a line.

    A round begins with its last user message or tool result and ends with the last event that the model caused.

    Args:
        path: JSON lines.
        apart: see above.
    """
    names = ["session_id", "round_index", "timing_events", "input_tokens_total", "output_tokens"]
    session, index, events, prompts, outputs, prefix = read_json_columns(path, names, ["prefix_tokens"])
    ticks = np.empty((2, len(events.cells)), np.int64)
    for row, listed in enumerate(events.cells):
        try:
            stamps = [(event["event_type"] in INPUTS, nanoseconds(event["timestamp"])) for event in listed]
            begin = max(stamp for is_input, stamp in stamps if is_input)
        except (TypeError, KeyError, ValueError):
            events.refuse(row, "no user message or tool result with a time, so it is not known when the round arrived")
        ticks[:, row] = begin, max([begin, *(stamp for is_input, stamp in stamps if not is_input)])
    times, ends = (ticks - ticks.min()) / 1e9
    columns = prompts.counts(), outputs.counts()
    prefixes = None if None in prefix.cells else prefix.counts()
    more: dict[str, Any] = {"index": index.counts(), "prefixes": prefixes, "apart": apart}
    return in_sessions(path, names_of(session), times, ends, *columns, "uw-syfi/TraceLab", "CC-BY-4.0", **more)


def _known(column: Column) -> Column:
    """Return a column with 0 for what failed calls lack."""
    return Column(column.path, column.name, [0 if cell in ("", None) else cell for cell in column.cells])

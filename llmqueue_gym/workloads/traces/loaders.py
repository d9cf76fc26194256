"""Loaders, one for each format: of single requests, then of agents' calls, recorded session after session.

All raise BadInput as `load_trace` says, or where an option is out of its range; `unit` is that of the file's times. An
agent's prompt holds all that came before it in the session; a call comes at its recorded time however long the
simulated server took for the one before.
"""

import os
import re
import warnings
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np

from llmqueue_gym.columns import MOST_SECONDS, Column, read_columns, read_header, text_lines
from llmqueue_gym.errors import BadInput
from llmqueue_gym.workloads.traces.trace import Trace, json_object, ordered_trace, read_json_columns, sorted_trace

CELL = 3.0  # s; Mooncake's release rounds arrival times down to this grid
MOST_CLASSES = 2**15  # tables have 16 bits for their numbers
SHOWN_CLASSES = 5  # names that a warning shows
_INPUTS = {"user_message", "tool_result"}  # events that a round of TraceLab waits for
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BEYOND_MICROSECONDS = re.compile(r"\.\d{6}(\d{1,3})")


def load_compact(path: str | os.PathLike[str], unit: str = "s", source: str = "", licence: str = "") -> Trace:
    """Read `arrival_s,prompt_tokens,output_tokens`, the form to convert your own trace to.

    Two columns more are read where they are there: `priority`, whole numbers of which a lower one is more urgent, and
    `class`, whole numbers from 0, or any names, which are numbered in their order, with a warning that says how. The
    file says nothing of its source and licence, so the caller may.
    """
    header, needed = read_header(path), ["arrival_s", "prompt_tokens", "output_tokens"]
    columns = read_columns(path, needed + [name for name in ("priority", "class") if name in header])
    told = {column.name: column for column in columns[len(needed) :]}
    more = {"priority": told["priority"].counts(signed=True)} if "priority" in told else {}
    if "class" in told:
        more["klass"] = _classes(told["class"])
    return sorted_trace(path, columns[: len(needed)], unit, source, licence, **more)


def _classes(column: Column) -> np.ndarray:
    """Return the number of each row's class `(rows,)`, int64."""
    names, numbers = np.unique(column.cells, return_inverse=True)
    if len(names) > MOST_CLASSES:
        raise BadInput(f"{column.path}: column 'class' has {len(names):,} classes; there can be {MOST_CLASSES:,}")
    known = {str(number): number for number in range(MOST_CLASSES)}
    if all(str(name) in known for name in names):
        return np.array([known[str(name)] for name in names])[numbers]
    shown = [f"{name!s:.40} is {number}" for number, name in enumerate(names[:SHOWN_CLASSES])]
    rest = " and so on" if len(names) > SHOWN_CLASSES else ""
    warnings.warn(f"{column.path}: classes are numbered: {', '.join(shown)}{rest}", stacklevel=2)
    return numbers.astype(np.int64)


def load_azure(path: str | os.PathLike[str]) -> Trace:
    """Read an Azure LLM inference trace of 2023, 2024 or 2025, `TIMESTAMP,ContextTokens,GeneratedTokens`.

    The three differ in their timestamps: 7 fractional digits without a zone, which is taken for UTC; microseconds with
    +00:00; ISO form with Z and a further column NumImages, which is not read.
    """
    stamps, prompts, outputs = read_columns(path, ["TIMESTAMP", "ContextTokens", "GeneratedTokens"])
    ticks = np.empty(len(stamps.cells), np.int64)  # ns: a float would lose the last digits of a date
    for row, stamp in enumerate(stamps.cells):
        try:
            ticks[row] = nanoseconds(stamp)
        except ValueError:
            stamps.refuse(row, f"{stamp!r} is not a date and time such as 2023-11-16 18:15:46.6805900")
    stamps.check_sorted(ticks)
    times = (ticks - ticks[0]) / 1e9
    source = (
        "Azure/AzurePublicDataset; Patel et al., Splitwise, ISCA 2024 (2023); "
        "Stojkovic et al., DynamoLLM, HPCA 2025 (2024)"
    )
    return ordered_trace(path, times, prompts.counts(), outputs.counts(), source, "CC-BY-4.0")


def nanoseconds(stamp: str) -> int:
    """Return ns since 1970 of a time in ISO form with up to 9 fractional digits; ValueError where it is none."""
    moment = datetime.fromisoformat(stamp)  # exact to the microsecond, drops further digits
    if ":" not in stamp:
        raise ValueError("a date without a time")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    if not 1700 < moment.year < 2250:
        raise ValueError("ns since 1970 that 64 bits cannot hold")
    beyond = _BEYOND_MICROSECONDS.search(stamp)
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000 + (int(beyond[1].ljust(3, "0")) if beyond else 0)


def load_burstgpt(path: str | os.PathLike[str], unit: str = "s") -> Trace:
    """Read BurstGPT, `Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type`.

    Rows with 0 response tokens are failed requests and are counted in `dropped`.
    """
    stamps, prompts, outputs = read_columns(path, ["Timestamp", "Request tokens", "Response tokens"])
    times = stamps.seconds(unit)
    stamps.check_sorted(times)
    prompt_tokens, output_tokens = prompts.counts(), outputs.counts()
    served = output_tokens > 0
    if not served.any():
        raise BadInput(f"{path} is empty: every row has 0 response tokens, a failed request")
    rows = (times[served], prompt_tokens[served], output_tokens[served])
    trace = ordered_trace(path, *rows, "HPMLL/BurstGPT; Wang et al., BurstGPT, KDD 2025", "CC-BY-4.0")
    return replace(trace, dropped=int((~served).sum()))


def load_mooncake(path: str | os.PathLike[str], unit: str = "ms", spread: bool = True, seed: int = 0) -> Trace:
    """Read Mooncake, one JSON object a line with `timestamp`, `input_length`, `output_length`, `hash_ids`.

    Prefix blocks are not kept. Arrival times lie on a 3 s grid, about ten requests on each point, which no queue would
    survive as recorded.

    Args:
        path: a jsonl file.
        unit: of its times.
        spread: whether each time is moved by a uniform draw from [0, 3) s; rows are then sorted by time again.
            A file off the grid, such as the synthetic trace, is left as it is.
        seed: of those draws.
    """
    stamps, prompts, outputs = read_json_columns(path, ["timestamp", "input_length", "output_length"])
    times = stamps.seconds(unit)
    stamps.check_sorted(times)
    if spread and not np.any(times % CELL):
        times = times + np.random.default_rng(seed).uniform(0, CELL, len(times))
    source = "kvcache-ai/Mooncake; Qin et al., Mooncake, FAST 2025"
    return ordered_trace(path, times, prompts.counts(), outputs.counts(), source, "Apache-2.0")


def load_qwen(path: str | os.PathLike[str], unit: str = "s") -> Trace:
    """Read a Qwen usage trace of Alibaba Bailian, in any order of rows; chats, types and prefix blocks are not kept.

    One JSON object a line with `timestamp`, `input_length`, `output_length`, as Mooncake's, whose times are in ms; its
    own are in s; `chat_id` and `turn` tell them apart.
    """
    stamps, prompts, outputs = read_json_columns(path, ["timestamp", "input_length", "output_length"])
    source, licence = "alibaba-edu/qwen-bailian-usagetraces-anon", "not stated here: see the repository"
    return ordered_trace(path, stamps.seconds(unit), prompts.counts(), outputs.counts(), source, licence)


def load_vidur(path: str | os.PathLike[str], unit: str = "s", source: str = "", licence: str = "") -> Trace:
    """Read a trace in the form of microsoft/vidur, `arrived_at,num_prefill_tokens,num_decode_tokens`.

    Its files are other people's data converted (`splitwise_conv.csv` is the Azure 2023 trace), so the caller may say
    source and licence. For files without arrivals see `load_lengths`.
    """
    columns = read_columns(path, ["arrived_at", "num_prefill_tokens", "num_decode_tokens"])
    source, licence = source or "in the form of microsoft/vidur", licence or "that of the data it was made from"
    return sorted_trace(path, columns, unit, source, licence)


def load_llmservingsim(path: str | os.PathLike[str], unit: str = "") -> Trace:
    """Read LLMServingSim, one JSON object a line; token ids and measured times are not kept.

    The lines have `input_toks`, `output_toks`, and `arrival_time_ns` in its workloads or `arrival_time` (s) in its
    records of real vLLM runs.
    """
    of_runs = "arrival_time" in (json_object(next(text_lines(path), "")) or ())
    stamp, own = ("arrival_time", "s") if of_runs else ("arrival_time_ns", "ns")
    columns = read_json_columns(path, [stamp, "input_toks", "output_toks"])
    return sorted_trace(path, columns, unit or own, "casys-kaist/LLMServingSim", "MIT")


def load_vtc(path: str | os.PathLike[str], unit: str = "s") -> Trace:
    """Read the LMSYS arena trace of VTC, one JSON object a line with `req_time`, `prompt_len`, `output_len`.

    The original is a Python pickle, which can run code when it is opened; convert it to these lines elsewhere. Its
    authors rescaled the times to 600 s, and its clients are not kept.
    """
    columns = read_json_columns(path, ["req_time", "prompt_len", "output_len"])
    source = "Ying1123/VTC-artifact; Sheng et al., Fairness in Serving Large Language Models, OSDI 2024"
    return sorted_trace(path, columns, unit, source, "Apache-2.0")


def load_exgentic(path: str | os.PathLike[str], unit: str = "s") -> Trace:
    """Read JSON lines of Exgentic/agent-llm-traces: `start_time_s` on one clock, `input_tokens`, `output_tokens`."""
    stamps, prompts, outputs = read_json_columns(path, ["start_time_s", "input_tokens", "output_tokens"])
    source, licence = "Exgentic/agent-llm-traces", "CDLA-Permissive-2.0"
    return ordered_trace(path, stamps.seconds(unit), prompts.counts(), outputs.counts(), source, licence)


def load_claude(path: str | os.PathLike[str], unit: str = "s", gap: float = 0.0) -> Trace:
    """Read JSON lines of semianalysisai/cc-traces-weka-no-subagents, sessions of which have no common clock.

    Args:
        path: a jsonl file with `request_arrival_delta_s` since the session began, `input_tokens`, `output_tokens`.
        unit: of its times.
        gap: s between the beginnings of sessions, in the file's order; the release does not say when they were, so 0
            lets all begin together.
    """
    if not 0 <= gap <= MOST_SECONDS:
        raise BadInput(f"gap={gap:g} must lie between 0 and {MOST_SECONDS:g} s")
    names = ["request_arrival_delta_s", "input_tokens", "output_tokens", "session_id"]
    stamps, prompts, outputs, sessions = read_json_columns(path, names)
    first: dict[str, int] = {}
    begins = np.array([first.setdefault(str(session), len(first)) for session in sessions.cells]) * gap
    source, licence = "semianalysisai/cc-traces-weka-no-subagents-051226", "Apache-2.0"
    return ordered_trace(path, stamps.seconds(unit) + begins, prompts.counts(), outputs.counts(), source, licence)


def load_tracelab(path: str | os.PathLike[str], unit: str = "ms", seconds_per_token: float = 0.0) -> Trace:
    """Read `session_id,arrival_time,round_idx,prefix_len,input_len,output_len,tool_wait_after_ms`.

    A round is one call of the model, after which a tool runs. It arrives when its session does, plus the tools' waits
    after the earlier rounds, plus the time that the model took for those rounds. The file does not have the last; a
    closed-loop replay would measure it.

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
    for row, session in enumerate(sessions.cells):
        times[row] += elapsed.get(session, 0.0)
        elapsed[session] = elapsed.get(session, 0.0) + after[row]
    return ordered_trace(
        path, times, prefixes.counts() + inputs.counts(), output_tokens, "uw-syfi/TraceLab", "Apache-2.0"
    )


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
    return ordered_trace(path, times, prompts.counts(), outputs.counts(), "uw-syfi/TraceLab", "CC-BY-4.0")

"""Traces in their native formats. To add one: write its loader, add its line here."""

import inspect
import os

from llmqueue_gym import arrow
from llmqueue_gym.columns import read_header, text_lines
from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.registry import Registry
from llmqueue_gym.workloads.traces.lengths import load_lengths, what_it_is
from llmqueue_gym.workloads.traces.trace import Trace, is_json, json_object

__all__ = ["TRACE_FORMATS", "Trace", "load_lengths", "load_trace"]

_HERE = "llmqueue_gym.workloads.traces"

_JSON = {"mooncake", "qwen", "llmservingsim", "vtc", "exgentic", "claude", "tracelab-rounds"}  # one object a line
_EITHER = {"compact"}  # as CSV, or as that
# What tells a format, read by the loader of its name: the columns of its header, or the keys of its first JSON line.
_FIELDS = {
    "azure": {"TIMESTAMP", "ContextTokens", "GeneratedTokens"},
    "burstgpt": {"Timestamp", "Model", "Request tokens", "Response tokens", "Total tokens", "Log Type"},
    "mooncake": {"timestamp", "input_length", "output_length", "hash_ids"},
    "qwen": {"chat_id", "parent_chat_id", "timestamp", "input_length", "output_length", "turn"},
    "vidur": {"arrived_at", "num_prefill_tokens", "num_decode_tokens"},
    "llmservingsim": {"arrival_time_ns", "arrival_time", "input_toks", "output_toks"},
    "vtc": {"req_time", "prompt_len", "output_len", "adapter_dir"},
    "exgentic": {"start_time_s", "input_tokens", "output_tokens", "span_id", "harness"},
    "claude": {"request_arrival_delta_s", "input_tokens", "output_tokens", "turn_index", "think_time_s"},
    "tracelab": {"arrival_time", "round_idx", "prefix_len", "input_len", "output_len", "tool_wait_after_ms"},
    "tracelab-rounds": {"round_index", "timing_events", "input_tokens_total", "output_tokens", "prefix_tokens"},
    "compact": {"arrival_s", "prompt_tokens", "output_tokens"},
    "sessions": {"session", "session_offset_s", "prompt_tokens", "output_tokens"},
}

_OF_AGENTS = ("exgentic", "claude", "tracelab", "tracelab-rounds", "sessions")

# Each entry is a function load(path, ...) -> Trace; "csv" is the name that people try first for the compact form.
TRACE_FORMATS = Registry(
    "trace format",
    {
        **{
            name: f"{_HERE}.{'agents' if name in _OF_AGENTS else 'loaders'}:load_{name.replace('-', '_')}"
            for name in _FIELDS
        },
        "csv": f"{_HERE}.loaders:load_compact",
    },
)


def load_trace(path: str | os.PathLike[str], format: str = "auto", **options: object) -> Trace:
    """Read a trace file: CSV or JSON lines, plain, gzipped or zstd, or Parquet.

    Args:
        path: the file.
        format: a name in `TRACE_FORMATS`; "auto" takes the one that shares most columns with the file's header.
        options: passed on to the loader of the format, such as `unit="ms"`, in which its times are, for most, or
            `spread=False` for mooncake.

    Raises:
        BadInput: the file cannot be read or is empty, has no known format, or has a wrong column or value, of which the
            message names the file, the data row (from 1) and the column; or the format has no such option.
    """
    name = detect(path) if format == "auto" else format
    load = TRACE_FORMATS.builder(name)
    known = list(inspect.signature(load).parameters)[1:]
    for option, value in options.items():
        if option not in known:
            hint = nearest(option, known) if known else "it has none"
            raise BadInput(f"{path}: trace format {name!r} has no option {option}={value!r}; {hint}")
    return load(path, **options)


def detect(path: str | os.PathLike[str]) -> str:
    """Return the name of the format whose columns the file's first line has most of.

    Raises:
        BadInput: it has none, or the file is one of those that are published beside traces and hold no requests.
    """
    parquet = arrow.is_parquet(path)
    line = ",".join(read_header(path)) if parquet else next(text_lines(path), "")
    if not line:
        raise BadInput(f"{path} is empty")
    objects = is_json(path)
    fields = set(json_object(line) or ()) if objects else set(read_header(path))
    if what := what_it_is(path, fields):
        raise BadInput(f"{path} {what}")
    known = [name for name in _FIELDS if parquet or name in _EITHER or (name in _JSON) == objects]
    shared = {name: len(fields & _FIELDS[name]) for name in known}
    best = max(shared, key=lambda name: shared[name])
    if objects and json_object(line) is None:
        raise BadInput(f"{path}: row 1 is no JSON object, or one that is cut off or nested too deep")
    if not shared[best]:
        raise BadInput(
            f"{path}: the header {line[:60]!r} is of no known trace format ({', '.join(_FIELDS)}); "
            "convert to compact form, with the header arrival_s,prompt_tokens,output_tokens"
        )
    return best

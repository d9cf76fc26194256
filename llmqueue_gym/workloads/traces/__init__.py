"""Traces in their native formats. To add a format: write its file, add its line to each of the two tables here."""

import json
import os

from llmqueue_gym.columns import read_header, text_lines
from llmqueue_gym.errors import BadInput
from llmqueue_gym.registry import Registry
from llmqueue_gym.workloads.traces.trace import Trace

__all__ = ["TRACE_FORMATS", "Trace", "load_trace"]

_HERE = "llmqueue_gym.workloads.traces"

# Each entry is a function load(path, ...) -> Trace.
TRACE_FORMATS = Registry(
    "trace format",
    {
        "azure": f"{_HERE}.azure:load_azure",
        "burstgpt": f"{_HERE}.burstgpt:load_burstgpt",
        "mooncake": f"{_HERE}.mooncake:load_mooncake",
        "compact": f"{_HERE}.compact:load_compact",
    },
)

# What tells a format: the columns of its header, or the keys of its first JSON line.
_FIELDS = {
    "azure": {"TIMESTAMP", "ContextTokens", "GeneratedTokens"},
    "burstgpt": {"Timestamp", "Model", "Request tokens", "Response tokens", "Total tokens", "Log Type"},
    "mooncake": {"timestamp", "input_length", "output_length", "hash_ids"},
    "compact": {"arrival_s", "prompt_tokens", "output_tokens"},
}


def load_trace(path: str | os.PathLike[str], format: str = "auto", **options: object) -> Trace:
    """Read a trace file, plain or gzipped.

    Args:
        path: the file.
        format: a name in `TRACE_FORMATS`; "auto" takes the one that shares most columns with the file's header.
        options: passed on to the loader of the format, such as `spread=False` for mooncake.

    Raises:
        BadInput: the file cannot be read or is empty, has no known format, or has a wrong column or value; the
            message names the file, the data row (from 1) and the column.
    """
    return TRACE_FORMATS.builder(detect(path) if format == "auto" else format)(path, **options)


def detect(path: str | os.PathLike[str]) -> str:
    """Return the name of the format whose columns the file's first line has most of; BadInput where it has none."""
    line = next(text_lines(path), "")
    if not line:
        raise BadInput(f"{path} is empty")
    try:
        fields = set(json.loads(line)) if line.startswith("{") else set(read_header(path))
    except ValueError:
        fields = set()
    shared = {name: len(fields & marks) for name, marks in _FIELDS.items()}
    best = max(shared, key=lambda name: shared[name])
    if not shared[best]:
        raise BadInput(
            f"{path}: the header {line[:60]!r} is of no known trace format ({', '.join(_FIELDS)}); "
            "convert to compact form, with the header arrival_s,prompt_tokens,output_tokens"
        )
    return best

"""Recorded programs by the form of their files. To add one: write its loader, add its line here."""

import inspect
import os

from llmqueue_gym.columns import read_header, text_lines
from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.registry import Registry
from llmqueue_gym.workloads.traces.program_trace import ProgramTrace
from llmqueue_gym.workloads.traces.trace import json_object

__all__ = ["PROGRAM_FORMATS", "ProgramTrace", "load_programs"]

_HERE = "llmqueue_gym.workloads.traces"

# What tells a form: the keys of its JSON lines or the columns of its header, all of which are there.
_MARKS: dict[str, tuple[set[str], ...]] = {
    "claude": (
        {"session_id", "request_arrival_delta_s", "api_time_s"},
        {"session", "session_offset_s", "api_time_s"},
    ),
    "exgentic": ({"session_id", "start_time_s", "duration_ms", "is_error"}, {"session", "arrival_s", "duration_s"}),
    "lmcache": ({"agent", "session", "session_offset_s", "shared_prefix_tokens"},),
    "lmcache-gaps": ({"session_id", "pre_gap_s", "output_tokens"}, {"session", "pre_gap_s", "output_tokens"}),
    "taubench": ({"session", "call", "tool_calls", "prompt_tokens", "output_tokens"},),
    "tracelab": ({"session_id", "round_idx", "prefix_len", "input_len", "output_len", "tool_wait_after_ms"},),
    "tracelab-rounds": ({"session_id", "round_index", "timing_events", "input_tokens_total", "output_tokens"},),
    "calls": ({"program", "call", "after", "start_s", "gap_s", "prompt_tokens", "output_tokens"},),
}

_CSV = {"lmcache", "taubench", "tracelab", "calls"}  # forms that are a csv file alone
_FILES = {"lmcache-gaps": "chains", "taubench": "chains", "tracelab": "chains", "calls": "calls"}

# Each entry is a function load(path, ...) -> ProgramTrace.
PROGRAM_FORMATS = Registry(
    "form of recorded programs",
    {name: f"{_HERE}.program_{_FILES.get(name, 'loaders')}:load_{name.replace('-', '_')}" for name in _MARKS},
)


def load_programs(path: str | os.PathLike[str], format: str = "auto", **options: object) -> ProgramTrace:
    """Read a file of recorded programs, plain or gzipped.

    Args:
        path: the file.
        format: a name in `PROGRAM_FORMATS`, or a spec of it such as `claude:apart=60`; "auto" looks at the file's first
            line, and takes options, too.
        options: passed on to the loader, such as `apart=60`, which most have, or `gap=LAW` of `taubench`.

    Raises:
        BadInput: the file cannot be read or is empty, has no known form, or has a wrong column or value, of which the
            message names the file, the data row (from 1) and the column; or what it lacks is not told; or the form has
            no such option.
    """
    name, colon, told = format.partition(":")
    name = detect_programs(path) if name == "auto" else name
    load = PROGRAM_FORMATS.builder(name)
    if name in _CSV and next(text_lines(path), "").startswith("{"):
        raise BadInput(f"{path}: programs of the form {name!r} are read from a csv file, and this one has JSON lines")
    if told:
        return PROGRAM_FORMATS.make(f"{name}{colon}{told}", path)  # type: ignore[no-any-return]
    known = list(inspect.signature(load).parameters)[1:]
    for option, value in options.items():
        if option not in known:
            raise BadInput(f"{path}: {name!r} has no option {option}={value!r}; {nearest(option, known)}")
    return load(path, **options)


def detect_programs(path: str | os.PathLike[str]) -> str:
    """Return the name of the form that a file has; BadInput where it has none."""
    line = next(text_lines(path), "")
    if not line:
        raise BadInput(f"{path} is empty")
    fields = set(json_object(line) or ()) if line.startswith("{") else set(read_header(path))
    for name, marks in _MARKS.items():
        if any(each <= fields for each in marks):
            return name
    raise BadInput(
        f"{path}: the header {line[:60]!r} is of no known form of programs ({', '.join(_MARKS)}); a file that tells no "
        "sessions holds requests, and is a trace"
    )

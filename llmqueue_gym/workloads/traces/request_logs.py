"""Logs of served requests, to be turned into traces: each line is read, and what is of no use is counted, not refused.

| kind    | written by                                                                                              |
|---------|---------------------------------------------------------------------------------------------------------|
| `proxy` | an exported priority proxy: one JSON object a line                                                      |
| `vllm`  | vLLM, see `vllm_requests`                                                                               |
| `spans` | vLLM's `--otlp-traces-endpoint`, by a collector that writes OTLP as JSON: exact times, and tokens       |

Source: vllm 0.33.0, entrypoints/serve/utils/request_logger.py, v1/engine/output_processor.py (`do_tracing`), logger.py.
"""

import gzip
import math
import os
import re
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from typing import Any

from llmqueue_gym.columns import MOST_TOKENS
from llmqueue_gym.errors import BadInput
from llmqueue_gym.workloads.traces.recording import WRONG, Recording, Served
from llmqueue_gym.workloads.traces.trace import json_object
from llmqueue_gym.workloads.traces.vllm_requests import HOW, is_vllm, read_requests, tells_of_requests, text_of

LONGEST = 2**24  # bytes of a line; longer ones are left out
GONE = 499  # status of a request whose sender went away
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_OF_PROXY = {"arrival", "status", "output_tokens"}
_MORE = ("class", "tenant", "predicted", "sent", "first_token", "end")
_SPAN = "llm_request"
_USAGE, _LATENCY = "gen_ai.usage.", "gen_ai.latency."
UNKNOWN = "of no known log"
NOT_PREDICTED = "requests without a prediction, for which the column predicted_tokens is left out"
BY_LETTERS = "prompts that the engine did not count: their tokens are estimated by their letters"
BY_PIECES = "outputs that the engine did not count: pieces of the stream are, of which one may hold several tokens"


def read_request_log(paths: Sequence[str | os.PathLike[str]]) -> Recording:
    """Read logs, plain or gzipped; several are parts of one, as where it was begun anew at a size.

    Raises:
        BadInput: one cannot be read or is of another kind than the first, or no request was served to its end.
    """
    found = Recording()
    kept: list[tuple[int, str, str]] = []
    begun: set[str | os.PathLike[str]] = set()  # logs of which the kind is known
    for path, line in ((log, line) for log in paths for line in _lines(log)):
        found.lines += 1
        record = json_object(line) if line.startswith("{") else None
        kind = _kind_of(line, record)
        if kind and path not in begun:
            if found.kind not in ("", kind):
                raise BadInput(f"{path} is a log of kind {kind!r}, {paths[0]} of {found.kind!r}; record one at a time")
            begun.add(path)
        found.kind = found.kind or kind
        if not kind or kind != found.kind:
            if found.kind != "vllm" or kind:  # between those of vLLM there may be others
                found.leave_out(f"not of the kind {found.kind!r}" if found.kind else UNKNOWN, found.lines)
        elif kind == "vllm":
            time, text = text_of(line, record)
            found.iterations += "Iteration(" in text and "iteration elapsed time" in text
            if tells_of_requests(text):
                kept.append((found.lines, time, text))
        elif record is not None:
            (_read_proxy if kind == "proxy" else _read_spans)(found, record)
    if found.kind == "vllm":
        found.left_out.pop(UNKNOWN, None)
        read_requests(found, kept)
    if not found.served:
        reasons = ", ".join(f"{n:,} {why}" for why, n in found.left_out.most_common(3)) or f"{found.lines:,} lines"
        hint = f"; {HOW}" if found.kind == "vllm" else ""
        raise BadInput(f"{os.fspath(paths[0])}: no request in it was served to its end ({reasons}){hint}")
    found.served.sort(key=lambda one: one.arrival)
    without = sum(one.predicted is None for one in found.served)
    if 0 < without < len(found.served):
        found.notes[NOT_PREDICTED] = without
    return found


def _lines(path: str | os.PathLike[str]) -> Iterator[str]:
    """Yield the lines of a file that are not blank; for one that is too long, a text that is of no log."""
    try:
        with (gzip.open if os.fspath(path).endswith(".gz") else open)(path, "rb") as stream:
            while data := stream.readline(LONGEST):
                if len(data) == LONGEST and not data.endswith(b"\n"):
                    while (rest := stream.readline(LONGEST)) and not rest.endswith(b"\n"):
                        pass
                    data = b"..."
                if text := _COLOURS.sub("", data.removeprefix(BOM_UTF8).decode("utf-8", "replace")).strip():
                    yield text
    except (OSError, EOFError, ValueError) as error:
        raise BadInput(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def _kind_of(line: str, record: dict[str, Any] | None) -> str:
    """Return the kind of log that a line is of; nothing where it does not tell."""
    if record is not None and set(record) >= _OF_PROXY:
        return "proxy"
    if record is not None and "resourceSpans" in record:
        return "spans"
    return "vllm" if is_vllm(line, record) else ""


def _read_proxy(found: Recording, record: dict[str, Any]) -> None:
    """Take in a line of a proxy's log."""
    arrival, output = _number(record["arrival"]), _count(record["output_tokens"])
    counted = _count(record.get("prompt_tokens"))
    prompt = counted or _count(record.get("prompt"))
    if record["status"] == GONE:
        found.leave_out("cancelled", found.lines)
    elif record["status"] != 200 or record.get("error") is not None:
        found.leave_out("failed", found.lines)
    elif arrival is None or output is None or prompt is None:
        found.leave_out("without arrival or tokens", found.lines)
    elif any(record.get(name) is not None and _number(record[name]) is None for name in _MORE):
        found.leave_out(WRONG, found.lines)
    else:
        klass, client, *others = (_number(record.get(name)) for name in _MORE)
        one = Served(arrival, prompt, output, klass or 0, client or 0, *others)
        if found.take(one, found.lines, f"{record.get('id')} {arrival!r}"):
            for note, true in ((BY_LETTERS, counted is None), (BY_PIECES, record.get("counted") != "engine")):
                found.notes.update([note] * true)


def _read_spans(found: Recording, record: dict[str, Any]) -> None:
    """Take in a batch of spans."""
    for span in _inside(record, "resourceSpans", "scopeSpans", "spans"):
        if span.get("name") != _SPAN:
            continue
        pairs = [(one.get("key"), one.get("value")) for one in _inside(span, "attributes")]
        if not all(isinstance(key, str) for key, _ in pairs):
            found.leave_out(WRONG, found.lines)
            continue
        told = dict(pairs)
        values = {key: next(iter(value.values()), None) for key, value in told.items() if isinstance(value, dict)}
        start = _number(span.get("startTimeUnixNano"))
        prompt, output = (_count(values.get(f"{_USAGE}{what}_tokens")) for what in ("prompt", "completion"))
        if start is None or prompt is None or output is None:
            found.leave_out("spans without start or tokens", found.lines)
            continue
        late = (_number(values.get(_LATENCY + what)) for what in ("time_to_first_token", "e2e"))
        first, end = (None if after is None else start / 1e9 + after for after in late)
        found.take(Served(start / 1e9, prompt, output, first_token=first, end=end), found.lines)


def _inside(record: dict[str, Any], *keys: str) -> Iterator[dict[str, Any]]:
    """Yield the objects in lists under a key, under the next key of each, and so on."""
    listed = record.get(keys[0])
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, dict):
            yield from _inside(one, *keys[1:]) if keys[1:] else (one,)


def _number(value: Any) -> float | None:
    """Return a finite number, which may be a text, or None."""
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _count(value: Any) -> int | None:
    """Return a number of tokens from 1 on, or None."""
    number = _number(value)
    return int(number) if number is not None and 1 <= number <= MOST_TOKENS and number == int(number) else None

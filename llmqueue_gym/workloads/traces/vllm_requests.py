"""Requests as vLLM logs them at the level DEBUG, with `--enable-log-requests --enable-log-outputs`, as text or JSON.

A line tells who came, one the tokens of its prompt, and further ones the tokens that were made for it; they are put
together by the name of the request. vLLM's text has times in whole seconds and no year, its JSON has milliseconds.
"""

import re
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from llmqueue_gym.workloads.traces.recording import Recording, Served

_STAMP = re.compile(r"\b(?:DEBUG|INFO|WARNING|ERROR) (\d\d-\d\d \d\d:\d\d:\d\d) ")
_CAME = re.compile(r"\b(?:Received request|Request) (\S+?)(?: details: prompt: |: params: )")
_MADE = re.compile(r"\bGenerated response (\S+)(?: \(streaming \w+\))? details: output_token_ids: ")
_IDS = "prompt_token_ids: ["
_LEAP_YEAR = "2000-"  # before a month and a day
_EPOCH = datetime(1970, 1, 1)
_YEAR, _HALF = 366 * 86_400.0, 183 * 86_400.0  # s; a time that falls by more than the latter is of the next year
HOW = "vLLM tells tokens with --enable-log-requests --enable-log-outputs and VLLM_LOGGING_LEVEL=DEBUG"
ROUGH = "arrivals known to the second, as vLLM's text has them"


def is_vllm(line: str, record: dict[str, Any] | None) -> bool:
    """Return whether a line is one of vLLM's, by itself or as a JSON object."""
    return {"asctime", "message"} <= set(record) if record is not None else bool(_STAMP.search(line[:200]))


def text_of(line: str, record: dict[str, Any] | None) -> tuple[str, str]:
    """Return the time of a line in ISO form, without one an empty text, and what it says."""
    if record is not None:
        return str(record.get("asctime")).replace(",", "."), str(record.get("message"))
    stamp = _STAMP.search(line[:200])
    return (_LEAP_YEAR + stamp[1], line[stamp.end() :]) if stamp else ("", line)


def tells_of_requests(line: str) -> bool:
    """Return whether a line has to be kept to know the requests."""
    return bool(_CAME.search(line) or _MADE.search(line))


def read_requests(found: Recording, lines: Iterable[tuple[int, str, str]]) -> None:
    """Put lines together.

    Args:
        found: where the requests go.
        lines: number, time and text of each.
    """
    arrivals: dict[str, tuple[float, int]] = {}
    prompts: dict[str, int] = {}
    outputs: Counter[str] = Counter()
    ends: dict[str, float] = {}
    before, years, rough = 0.0, 0.0, False
    for number, stamp, text in lines:
        try:
            time = (datetime.fromisoformat(stamp) - _EPOCH).total_seconds()
        except (ValueError, TypeError):
            found.leave_out("without a time", number)
            continue
        years += _YEAR if time < before - _HALF else 0.0
        before, rough = time, rough or stamp.startswith(_LEAP_YEAR)
        if match := _CAME.search(text):
            arrivals.setdefault(match[1], (time + years, number))
            if (place := text.rfind(_IDS)) >= 0:  # behind the text of the prompt, whatever that is
                prompts[match[1]] = _listed(text[place + len(_IDS) :])
        elif (match := _MADE.search(text)) and text[match.end() : match.end() + 1] in ("[", "("):
            outputs[match[1]] += _listed(text[match.end() + 1 :])
            ends[match[1]] = time + years
    for name, (arrival, number) in arrivals.items():
        whole = name if name in outputs else re.sub(r"-0$", "", name)  # of the first prompt of a completion
        if not prompts.get(name):
            found.leave_out("without prompt tokens", number)
        elif not outputs[whole]:
            found.leave_out("without output tokens", number)
        else:
            found.take(Served(arrival, prompts[name], outputs[whole], end=ends[whole]), number)
    if rough and found.served:
        found.notes[ROUGH] = len(found.served)


def _listed(text: str) -> int:
    """Return how many numbers are in a list or a tuple of which the text begins behind its bracket."""
    inside = re.match(r"[\d, ]*", text)
    return len(re.findall(r"\d+", inside[0])) if inside else 0

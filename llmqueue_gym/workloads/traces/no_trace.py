"""Files that are published beside traces but hold no requests with times: what each is, and what it is good for."""

import os
from itertools import islice

from llmqueue_gym.columns import text_lines
from llmqueue_gym.workloads.traces.lengths import COLUMNS

_LENGTHS = (
    "has lengths but no arrivals; use its lengths with a load or rate of your own: --lengths file:PATH in place of "
    "--trace, in Python RequestWorkload('file:PATH', rate=...)"
)
_JSON_LENGTHS = (
    f"has lengths but no arrivals; convert to csv with the header {','.join(COLUMNS[1])}, and use --lengths file: and "
    "its path with a load or rate of your own"
)
_SSJF = "holds true and predicted output lengths, not requests; use it as the length predictor pairs:PATH"
_CLIENT_LENGTHS = "is ServeGen's length distributions of one client, not requests; sample requests with ServeGen first"
_CLIENT_RATES = (
    "is ServeGen's arrival rates of one client by time window, not requests; sample requests with ServeGen first"
)

# Fields (columns or keys) that tell a file, and what it is. A file with all of them is of that kind.
_KINDS = (
    ({"client", "t", "rate", "cv", "pattern", "shape", "scale"}, _CLIENT_RATES),
    ({"output_token_length", "predicted_length"}, _SSJF),
    ({"output_tokens", "predicted_class5"}, _SSJF),
    (
        {"pre_gap_s", "input_len", "output_tokens"},
        "has gaps within sessions and output lengths, but lost the prompts' lengths (LMCache, normalised)",
    ),
    (
        {"timestamp", "input", "output", "session_id"},
        "holds the texts of prompts and replies, not their lengths (LMCache); count tokens and convert to compact form",
    ),
)
_OF_TIME = ("arriv", "time", "offset")  # in names of columns
_CLIENT_FIELDS = 6  # t,rate,cv,pattern,shape,scale, without a header


def what_it_is(path: str | os.PathLike[str], fields: set[str]) -> str:
    """Return what a file is that holds no trace, given the columns or keys of its first line; "" if not known."""
    head = list(islice(text_lines(path), 3))
    if any(set(pair) <= fields for pair in COLUMNS) and not any(_is_of_time(name) for name in fields):
        return (_JSON_LENGTHS if head[0].startswith("{") else _LENGTHS).replace("PATH", str(path))
    for marks, what in _KINDS:
        if marks <= fields:
            return what.replace("PATH", str(path))
    if head[0] == "{" and any('"input_tokens"' in line for line in head):
        return _CLIENT_LENGTHS
    cells = head[0].split(",")
    if len(cells) == _CLIENT_FIELDS and all(_is_number(cell) for cell in cells[:3] + cells[4:]):
        return _CLIENT_RATES
    return ""


def _is_of_time(name: str) -> bool:
    return any(word in name.lower() for word in _OF_TIME)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True

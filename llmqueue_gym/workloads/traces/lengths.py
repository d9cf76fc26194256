"""Files that have the lengths of requests but not when they came, and others that hold no trace."""

import os
from contextlib import suppress
from itertools import islice

import numpy as np

from llmqueue_gym.arrow import is_parquet
from llmqueue_gym.columns import read_columns, read_header, text_lines
from llmqueue_gym.errors import BadInput

# Names of the two columns: Vidur's files, the compact form, BurstGPT's, Azure's.
COLUMNS = (
    ("num_prefill_tokens", "num_decode_tokens"),
    ("prompt_tokens", "output_tokens"),
    ("Request tokens", "Response tokens"),
    ("ContextTokens", "GeneratedTokens"),
)

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


def load_lengths(path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray]:
    """Read prompt and output tokens, both int64 `(rows,)`, of a CSV file, plain or gzipped; all else is ignored.

    Raises:
        BadInput: the file cannot be read or is empty, has no known pair of columns, or a length that is not a whole
            number.
    """
    header = read_header(path)
    pair = next((pair for pair in COLUMNS if set(pair) <= set(header)), None)
    if pair is None:
        known = " or ".join(",".join(pair) for pair in COLUMNS)
        raise BadInput(f"{path}: no columns {known} in the header {','.join(header)[:60]!r}")
    prompts, outputs = read_columns(path, pair)
    return prompts.counts(), outputs.counts()


def what_it_is(path: str | os.PathLike[str], fields: set[str]) -> str:
    """Return what a file is that holds no trace, given the columns or keys of its first line; "" if not known."""
    head = [",".join(read_header(path))] if is_parquet(path) else list(islice(text_lines(path), 3))
    if any(set(pair) <= fields for pair in COLUMNS) and not any(mark in f.lower() for f in fields for mark in _OF_TIME):
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


def _is_number(cell: str) -> bool:
    with suppress(ValueError):
        float(cell)
        return True
    return False

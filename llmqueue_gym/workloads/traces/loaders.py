"""Loaders of recorded requests, one for each format; those of agents' calls are in `agents`.

All raise BadInput as `load_trace` says, or where an option is out of its range; `unit` is that of the file's times.
"""

import os
import re
import warnings
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from llmqueue_gym.arrow import Cells
from llmqueue_gym.columns import MOST_TOKENS, Column, read_columns, read_header, text_lines
from llmqueue_gym.errors import BadInput
from llmqueue_gym.requests import Contexts
from llmqueue_gym.workloads.contexts import of_blocks, of_sessions
from llmqueue_gym.workloads.traces.trace import (
    Trace,
    is_json,
    json_object,
    ordered_trace,
    read_json_columns,
    sorted_trace,
)

MOONCAKE_BLOCK, QWEN_BLOCK = 512, 16  # tokens
CELL = 3.0  # s; Mooncake's release rounds arrival times down to this grid
MOST_CLASSES = 2**15  # tables have 16 bits for their numbers
SHOWN_CLASSES = 5  # names that a warning shows
_MORE = {"priority": "priority", "class": "klass", "client": "tenant", "hash_ids": "contexts", "session": "contexts"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BEYOND_MICROSECONDS = re.compile(r"\.\d{6}(\d{1,3})")


def load_compact(
    path: str | os.PathLike[str], unit: str = "s", source: str = "", licence: str = "", block: int = 512
) -> Trace:
    """Read `arrival_s,prompt_tokens,output_tokens`, the form to convert your own trace to.

    More columns are read where they are there: `priority`, whole numbers of which a lower one is more urgent; `class`,
    whole numbers from 0, or any names, which are numbered in their order, with a warning that says how; `client`, who
    sent it, likewise; and what tells who shares: `hash_ids`, names of the prompt's blocks with spaces between, or
    `session`. The file says nothing of its source and licence, so the caller may.

    Args:
        path: a CSV file, or one with a JSON object a line, of which each row may lack what is not needed.
        unit: of its times.
        source: of the data.
        licence: of the data.
        block: tokens of a block with a name in `hash_ids`, 512 in Mooncake's.
    """
    needed = ["arrival_s", "prompt_tokens", "output_tokens"]
    if is_json(path):
        columns = read_json_columns(path, needed, list(_MORE))
        columns = [one for one in columns if one.name in needed or any(cell is not None for cell in one.cells)]
    else:
        header = read_header(path)
        columns = read_columns(path, needed + [name for name in _MORE if name in header])
    told = {column.name: column for column in columns[len(needed) :]}
    more: dict[str, Any] = {"priority": told["priority"].counts(signed=True)} if "priority" in told else {}
    more |= {_MORE[name]: _numbered(told[name]) for name in ("class", "client") if name in told}
    stamps, prompts, outputs = columns[: len(needed)]
    if "hash_ids" in told:
        more["contexts"] = _of_blocks(told["hash_ids"], prompts.counts(), block)
    elif "session" in told:
        order = np.argsort(stamps.seconds(unit), kind="stable")
        more["contexts"] = of_sessions(told["session"].names(), order, prompts.counts(), outputs.counts())
    return sorted_trace(path, columns[: len(needed)], unit, source, licence, **more)


def _numbered(column: Column) -> np.ndarray:
    """Return the number of each row's class or client `(rows,)`, int64."""
    names, numbers = column.numbered()
    if len(names) > MOST_CLASSES:
        raise BadInput(
            f"{column.path}: column {column.name!r} has {len(names):,} different values; there can be {MOST_CLASSES:,}"
        )
    known = {str(number): number for number in range(MOST_CLASSES)}
    if all(str(name) in known for name in names):
        return np.array([known[str(name)] for name in names])[numbers]
    shown = [f"{name!s:.40} is {number}" for number, name in enumerate(names[:SHOWN_CLASSES])]
    rest = " and so on" if len(names) > SHOWN_CLASSES else ""
    what = {"class": "classes"}.get(column.name, f"values of {column.name!r}")
    warnings.warn(f"{column.path}: {what} are numbered: {', '.join(shown)}{rest}", stacklevel=2)
    return numbers


def _of_blocks(column: Column, prompts: np.ndarray, block: int) -> Contexts | None:
    """Return the contexts of named blocks, or None where no row has any.

    Args:
        column: of each row the names in a list, or in a text with spaces between, or None.
        prompts: tokens `(rows,)`.
        block: tokens of a block.
    """
    if not 1 <= block <= MOST_TOKENS:
        raise BadInput(f"block={block} must be from 1 to {MOST_TOKENS:,} tokens")
    names = [cell.split() if isinstance(cell, str) else cell or [] for cell in column.cells]
    for row, listed in enumerate(names):
        if not isinstance(listed, list) or not all(isinstance(name, (int, str)) for name in listed):
            column.refuse(row, f"{column.cells[row]!r:.60} is not a list of numbers")
    return of_blocks(names, prompts, block) if any(names) else None


def load_azure(path: str | os.PathLike[str]) -> Trace:
    """Read an Azure LLM inference trace of 2023, 2024 or 2025, `TIMESTAMP,ContextTokens,GeneratedTokens`.

    The three differ in their timestamps: 7 fractional digits without a zone, which is taken for UTC; microseconds with
    +00:00; ISO form with Z and a further column NumImages, which is not read.
    """
    stamps, prompts, outputs = read_columns(path, ["TIMESTAMP", "ContextTokens", "GeneratedTokens"])
    ticks = _instants(stamps)
    stamps.check_sorted(ticks)
    times = (ticks - ticks[0]) / 1e9
    source = (
        "Azure/AzurePublicDataset; Patel et al., Splitwise, ISCA 2024 (2023); "
        "Stojkovic et al., DynamoLLM, HPCA 2025 (2024)"
    )
    return ordered_trace(path, times, prompts.counts(), outputs.counts(), source, "CC-BY-4.0")


def _instants(stamps: Column) -> np.ndarray:
    """Return ns since 1970 `(rows,)`, int64: a float would lose the last digits of a date."""
    known = stamps.cells.nanoseconds() if isinstance(stamps.cells, Cells) else None
    if known is not None:
        return known
    ticks = np.empty(len(stamps.cells), np.int64)
    for row, stamp in enumerate(stamps.cells):
        try:
            ticks[row] = nanoseconds(stamp)
        except (TypeError, ValueError):
            stamps.refuse(row, f"{stamp!r} is not a date and time such as 2023-11-16 18:15:46.6805900")
    return ticks


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

    The last are names of blocks of 512 tokens, which tell who shares a prefix. Arrival times lie on a 3 s grid, about
    ten requests on each point, which no queue would survive as recorded.

    Args:
        path: a jsonl file.
        unit: of its times.
        spread: whether each time is moved by a uniform draw from [0, 3) s; rows are then sorted by time again.
            A file off the grid, such as the synthetic trace, is left as it is.
        seed: of those draws.
    """
    names = ["timestamp", "input_length", "output_length"]
    stamps, prompts, outputs, blocks = read_json_columns(path, names, ["hash_ids"])
    times, prompt_tokens = stamps.seconds(unit), prompts.counts()
    stamps.check_sorted(times)
    if spread and not np.any(times % CELL):
        times = times + np.random.default_rng(seed).uniform(0, CELL, len(times))
    source = "kvcache-ai/Mooncake; Qin et al., Mooncake, FAST 2025"
    contexts = _of_blocks(blocks, prompt_tokens, MOONCAKE_BLOCK)
    return ordered_trace(path, times, prompt_tokens, outputs.counts(), source, "Apache-2.0", contexts)


def load_qwen(path: str | os.PathLike[str], unit: str = "s") -> Trace:
    """Read a Qwen usage trace of Alibaba Bailian, in any order of rows.

    One JSON object a line with `timestamp`, `input_length`, `output_length`, `hash_ids`, as Mooncake's, whose times are
    in ms and whose blocks have 512 tokens; its own are in s, and of 16 tokens; `chat_id` and `turn` tell them apart.
    The blocks say all that is known of who shares, the turns of a chat included. The `type`s, numbered in the order of
    their names, are the classes.
    """
    names = ["timestamp", "input_length", "output_length"]
    stamps, prompts, outputs, blocks, kinds = read_json_columns(path, names, ["hash_ids", "type"])
    prompt_tokens = prompts.counts()
    more: dict[str, Any] = {"contexts": _of_blocks(blocks, prompt_tokens, QWEN_BLOCK)}
    if any(kinds.cells):
        more["klass"] = np.unique([str(kind) for kind in kinds.cells], return_inverse=True)[1]
    source, licence = "alibaba-edu/qwen-bailian-usagetraces-anon", "not stated here: see the repository"
    return ordered_trace(path, stamps.seconds(unit), prompt_tokens, outputs.counts(), source, licence, **more)


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
    authors rescaled the times to 600 s. A request's client is its `adapter_dir`, which ends in the client's number.
    """
    *columns, adapters = read_json_columns(path, ["req_time", "prompt_len", "output_len"], ["adapter_dir"])
    source = "Ying1123/VTC-artifact; Sheng et al., Fairness in Serving Large Language Models, OSDI 2024"
    clients = [str(adapter).rpartition("-")[2] for adapter in adapters.cells]
    more = {"tenant": _numbered(replace(adapters, cells=clients))} if any(adapters.cells) else {}
    return sorted_trace(path, columns, unit, source, "Apache-2.0", **more)

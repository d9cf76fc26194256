"""Iterations as vLLM logs them under `--enable-logging-iteration-details`: its log as it is, or a table of the numbers.

vLLM says how many requests read prompts (context) or decode (generation), how many tokens of each are computed, how
long it took, and which share of the KV cache is in use when the iteration has ended. What decodes read, their context,
it does not say. It is what was in use when the iteration before ended, and the tokens generated now; prompts of which a
part was read before count with it, so it is too much where a prompt takes several iterations.
"""

import os
import re

import numpy as np

from llmqueue_gym.columns import Column, read_columns, read_header, text_lines
from llmqueue_gym.errors import BadInput

_LINE = re.compile(
    r"(?:(?:Engine |EngineCore_DP)(?P<engine>\d+).*?)?\bIteration\(\d+\): (?P<context_requests>\d+) context requests, "
    r"(?P<context_tokens>\d+) context tokens, (?P<generation_requests>\d+) generation requests, "
    r"(?P<generation_tokens>\d+) generation tokens, iteration elapsed time: (?P<elapsed_ms>[\d.]+) ms"
    r"(?: \(dummy\))?(?:, [GC]PU KV cache usage: (?P<kv_usage>[\d.]+%))?"
)
_NAMES = {  # of the numbers, as tables of them have them in simplified spelling
    "context_requests": ("context_requests", "context_reqs"),
    "context_tokens": ("context_tokens",),
    "generation_requests": ("generation_requests", "generation_reqs"),
    "generation_tokens": ("generation_tokens",),
    "elapsed_ms": ("elapsed_ms", "elapsed_time_ms", "iteration_elapsed_ms", "iteration_elapsed_time_ms"),
    "kv_usage": ("kv_usage", "kv_cache_usage", "kv_usage_percent", "kv_cache_usage_percent", "kv_cache_usage_perc"),
}
_CAPACITY = re.compile(r"[GC]PU KV cache size: ([\d,_ ]*\d) tokens")
NOTE = "context derived from the share of the KV cache in use"
SHORTEST = 5e-6  # s; what is logged as 0.00 ms


def vllm_columns(path: str | os.PathLike[str]) -> dict[str, Column] | None:
    """Return the numbers of a log or of a table by the names above; None where the file is neither.

    Raises:
        BadInput: the file cannot be read, or does not say how much of the KV cache is in use.
    """
    header = {
        re.sub(r"^(num|gpu)_", "", re.sub(r"\W+", "_", name.lower()).strip("_")): name for name in read_header(path)
    }
    known = {name: next((header[one] for one in usual if one in header), "") for name, usual in _NAMES.items()}
    if known["context_tokens"] and known["generation_requests"] and known["elapsed_ms"]:
        missing = next((name for name, column in known.items() if not column), None)
        if missing:
            raise BadInput(f"{path} has no column {missing!r}, from which the context of decodes is derived")
        return dict(zip(known, read_columns(path, list(known.values())), strict=True))
    matches = [match for line in text_lines(path) if (match := _LINE.search(line))]
    if not matches:
        return None
    found = {name: Column(path, name, [match[name] for match in matches]) for name in ("engine", *known)}
    if None in found["kv_usage"].cells:
        raise BadInput(f"{path}: vLLM logs no use of the KV cache here, from which context is derived; newer ones do")
    return found


def kv_capacity_told(log: str | os.PathLike[str]) -> int:
    """Return the tokens that the KV cache holds by a log of vLLM, or by a line of one: `GPU KV cache size: N tokens`.

    Each engine of a server tells its own; the least of them counts, as requests go to all alike.

    Raises:
        BadInput: the file cannot be read, or no such line is in it.
    """
    line = _CAPACITY.search(str(log))
    found = [line] if line else [match for text in text_lines(log) if (match := _CAPACITY.search(text))]
    told = [int(re.sub(r"[,_ ]", "", match[1])) for match in found]
    if not told:
        raise BadInput(f"{log} has no line 'GPU KV cache size: N tokens', which vLLM writes when it starts")
    return min(told)


def read_vllm(found: dict[str, Column], kv_tokens: int) -> dict[str, np.ndarray]:
    """Return the columns of `Iterations`, and `prefills`, of iterations that computed something.

    Args:
        found: of `vllm_columns`.
        kv_tokens: that the cache holds.
    """
    told = {name: column.counts().astype(float) for name, column in found.items() if name in tuple(_NAMES)[:4]}
    usage = found["kv_usage"]
    percent = any(str(cell).endswith("%") for cell in usage.cells)
    share = Column(usage.path, usage.name, [str(cell).rstrip("% ") for cell in usage.cells]).numbers()
    share = share / 100 if percent or "perc" in usage.name.lower() or share.max() > 1 else share
    for row in np.flatnonzero(share > 1)[:1].tolist():
        usage.refuse(row, f"{usage.cells[row]!r} is more than the whole cache")
    held = share * kv_tokens
    before = np.maximum(held - told["context_tokens"] - told["generation_tokens"], 0)
    engines = np.array(found["engine"].cells if "engine" in found else [""] * len(held), str)
    for engine in np.unique(engines):  # each has a cache of its own
        rows = np.flatnonzero(engines == engine)
        before[rows[1:]] = held[rows[:-1]]
    decodes = told["generation_requests"]
    columns = {
        "tokens": told["context_tokens"] + told["generation_tokens"],
        "prefill_tokens": told["context_tokens"],
        "decodes": decodes,
        "context": np.where(decodes > 0, np.maximum(before + told["generation_tokens"], decodes), 0.0),
        "seconds": np.maximum(found["elapsed_ms"].seconds("ms"), SHORTEST),
        "prefills": told["context_requests"],
    }
    computed = columns["tokens"] > 0
    return {name: column[computed] for name, column in columns.items()}

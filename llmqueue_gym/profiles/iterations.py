"""Measured iterations: what each computed and how long it took, from a CSV file of one's own engine or a log of vLLM.

| column           | of each iteration                                                                      |
|------------------|----------------------------------------------------------------------------------------|
| `prefill_tokens` | prompt tokens computed                                                                 |
| `decodes`        | requests that decode                                                                   |
| `context`        | keys and values read by those decodes, tokens, the new one included                    |
| `seconds`, `ms`  | time it took; one of the two, or both if they agree                                    |
| `tokens`         | all tokens; prefill_tokens + decodes where the column is absent                        |
| `pairs`          | sum over prompts of new * (cached + new / 2), new and cached tokens of each            |
| `prefills`       | prompts among the requests; for an approximation of absent `pairs`; one where absent   |
| `cached`         | their tokens computed earlier, in all; for the same purpose; none where absent         |

The first four are needed. The header of iteration logs of Vidur reference runs (`num_decode_reqs`, `exec_s`, ...) is
read as well. What vLLM logs is described in `vllm_log`.
"""

import os
from dataclasses import dataclass, replace

import numpy as np

from llmqueue_gym.columns import UNITS, Column, read_columns, read_header
from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.profiles.vllm_log import NOTE, read_vllm, vllm_columns

_ALIASES = {
    "decodes": "num_decode_reqs",
    "context": "decode_kv_tokens",
    "pairs": "prefill_pairs",
    "prefills": "num_prefill_reqs",
    "seconds": "exec_s",
}
_NEEDED = ("prefill_tokens", "decodes", "context")
FAST, SLOW = 1e-4, 2.0  # s; what lies in the middle of a log of iterations is hardly ever beyond these


@dataclass(frozen=True, eq=False)
class Iterations:
    """Measured iterations; all columns float64 `(n,)`.

    Attributes:
        tokens: all tokens of the batch.
        prefill_tokens: prompt tokens among them.
        decodes: requests that decode.
        context: keys and values read by them, tokens.
        pairs: sum over prompts of new * (cached + new / 2).
        seconds: time measured.
        source: the file, for reports.
        notes: what was assumed while reading.
    """

    tokens: np.ndarray
    prefill_tokens: np.ndarray
    decodes: np.ndarray
    context: np.ndarray
    pairs: np.ndarray
    seconds: np.ndarray
    source: str = "measured iterations"
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.seconds)

    def rows(self, chosen: slice | np.ndarray) -> "Iterations":
        """Return some of the iterations."""
        names = ("tokens", "prefill_tokens", "decodes", "context", "pairs", "seconds")
        return replace(self, **{name: getattr(self, name)[chosen] for name in names})

    def kinds(self) -> dict[str, np.ndarray]:
        """Return which iterations only decode, only read prompts, or do both, bool `(n,)`; kinds that occur."""
        prompts, decodes = self.prefill_tokens > 0, self.decodes > 0
        kinds = {"decode": ~prompts, "prefill": prompts & ~decodes, "mixed": prompts & decodes}
        return {kind: mask for kind, mask in kinds.items() if mask.any()}

    def predict(self, numbers: np.ndarray) -> np.ndarray:
        """Return the times `(n,)`, s, by roofline `numbers`; the engine's `iteration_time` for many at once."""
        floor, base, token, pair, context = numbers
        return np.maximum(floor, base + token * self.tokens) + pair * self.pairs + context * self.context


def read_iterations(path: str | os.PathLike[str], kv_tokens: int = 0) -> Iterations:
    """Read a CSV file or a log of vLLM, plain or gzipped.

    Args:
        path: the file.
        kv_tokens: tokens whose keys and values fit in memory, which a log of vLLM cannot be read without.

    Raises:
        BadInput: a needed column is absent, or a cell is not what its column holds; told with row and column.
    """
    logged = vllm_columns(path)
    table = _table(path) if logged is None else _logged(path, logged, kv_tokens)
    middle = float(np.median(table.seconds))
    if middle > SLOW or middle < FAST:
        doubt = f"an iteration takes {middle:.3g} s in the middle: are its times in another unit than the header says?"
        table = replace(table, notes=(*table.notes, doubt))
    return table


def _logged(path: str | os.PathLike[str], logged: dict[str, Column], kv_tokens: int) -> Iterations:
    if kv_tokens < 1:
        raise BadInput(f"{path}: kv_tokens={kv_tokens} must tell how many tokens fit, of which vLLM logs the share")
    columns = read_vllm(logged, kv_tokens)
    pairs, notes = _pairs(columns["prefill_tokens"], columns.pop("prefills"))
    return Iterations(**columns, pairs=pairs, source=os.path.basename(path), notes=(NOTE, *notes))


def _table(path: str | os.PathLike[str]) -> Iterations:
    header = read_header(path)
    names = {name: _ALIASES[name] for name in _ALIASES if name not in header and _ALIASES[name] in header}
    names |= {name: name for name in (*_NEEDED, *_ALIASES, "tokens", "cached", "ms") if name in header}
    for name in _NEEDED:
        if name not in names:
            raise BadInput(f"{path} has no column {name!r}; {nearest(name, header)}")
    if not {"seconds", "ms"} & set(names):
        raise BadInput(f"{path} has no column 'seconds' or 'ms'; {nearest('seconds', header)}")
    found: dict[str, Column] = dict(zip(names, read_columns(path, list(names.values())), strict=True))
    prompts, decodes = (found[name].counts().astype(float) for name in ("prefill_tokens", "decodes"))
    context = found["context"].numbers()
    least = prompts + decodes
    tokens = found["tokens"].counts().astype(float) if "tokens" in found else least
    for row in np.flatnonzero(tokens < least)[:1].tolist():
        found["tokens"].refuse(row, f"{tokens[row]:g} is less than prefill_tokens + decodes = {least[row]:g}")
    for row in np.flatnonzero(least == 0)[:1].tolist():
        found["prefill_tokens"].refuse(row, "neither prompt tokens nor decodes; leave empty iterations out")
    for row in np.flatnonzero((decodes > 0) != (context > 0))[:1].tolist():
        found["context"].refuse(row, f"{context[row]:g} tokens of context do not go with {decodes[row]:g} decodes")
    count = found["prefills"].counts() if "prefills" in found else None
    cached = found["cached"].numbers() if "cached" in found else None
    pairs, notes = (found["pairs"].numbers(), ()) if "pairs" in found else _pairs(prompts, count, cached)
    return Iterations(tokens, prompts, decodes, context, pairs, _seconds(found), os.path.basename(path), notes)


def _seconds(found: dict[str, Column]) -> np.ndarray:
    """Return the times `(n,)`, s; BadInput where two columns of them contradict each other."""
    told = [found[name].positive() * UNITS[unit] for name, unit in (("seconds", "s"), ("ms", "ms")) if name in found]
    if len(told) == 2:
        for row in np.flatnonzero(np.abs(told[0] - told[1]) > np.maximum(0.02 * told[0], 1e-3))[:1].tolist():
            found["ms"].refuse(row, f"{told[1][row]:g} s is not the {told[0][row]:g} s of column 'seconds'; drop one")
    return told[0]


def _pairs(
    prompts: np.ndarray, count: np.ndarray | None = None, cached: np.ndarray | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return an approximation of the column `pairs` `(n,)` from prompt tokens, and notes on it.

    Args:
        prompts: tokens `(n,)`.
        count: prompts `(n,)`; one where they are not told.
        cached: their tokens computed earlier `(n,)`; none where they are not told.
    """
    assumed = "one prompt" if count is None else "equal prompts"
    if cached is None:
        assumed += " with nothing cached"
    each = np.maximum(1 if count is None else count, 1)
    pairs = prompts * ((0 if cached is None else cached) + prompts / 2) / each
    return pairs, (f"no column pairs: {assumed} in each iteration assumed",)

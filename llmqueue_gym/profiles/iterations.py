"""Measured iterations: what each computed and how long it took, from a CSV file of one's own engine.

| column           | of each iteration                                                                      |
|------------------|----------------------------------------------------------------------------------------|
| `prefill_tokens` | prompt tokens computed                                                                 |
| `decodes`        | requests that decode                                                                   |
| `context`        | keys and values read by those decodes, tokens, the new one included                    |
| `seconds`, `ms`  | time it took; one of the two                                                           |
| `tokens`         | all tokens; prefill_tokens + decodes where the column is absent                        |
| `pairs`          | sum over prompts of new * (cached + new / 2), new and cached tokens of each            |
| `prefills`       | prompts among the requests; for an approximation of absent `pairs`; one where absent   |
| `cached`         | their tokens computed earlier, in all; for the same purpose; none where absent         |

The first four are needed. The header of iteration logs of Vidur reference runs (`num_decode_reqs`, `exec_s`, ...) is
read as well.
"""

import os
from dataclasses import dataclass, replace

import numpy as np

from llmqueue_gym.columns import Column, read_columns, read_header
from llmqueue_gym.errors import BadInput, nearest

_ALIASES = {
    "decodes": "num_decode_reqs",
    "context": "decode_kv_tokens",
    "pairs": "prefill_pairs",
    "prefills": "num_prefill_reqs",
    "seconds": "exec_s",
}
_NEEDED = ("prefill_tokens", "decodes", "context")


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


def read_iterations(path: str | os.PathLike[str]) -> Iterations:
    """Read a CSV file, plain or gzipped.

    Raises:
        BadInput: a needed column is absent, or a cell is not what its column holds; told with row and column.
    """
    header = read_header(path)
    names = {name: _ALIASES[name] for name in _ALIASES if name not in header and _ALIASES[name] in header}
    names |= {name: name for name in (*_NEEDED, *_ALIASES, "tokens", "cached", "ms") if name in header}
    for name in _NEEDED:
        if name not in names:
            raise BadInput(f"{path} has no column {name!r}; {nearest(name, header)}")
    time = next((name for name in ("seconds", "ms") if name in names), "")
    if not time:
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
    pairs, notes = _pairs(found, prompts)
    seconds = found[time].positive() * (1e-3 if time == "ms" else 1.0)
    return Iterations(tokens, prompts, decodes, context, pairs, seconds, os.path.basename(path), notes)


def _pairs(found: dict[str, Column], prompts: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the column `pairs` `(n,)`, approximated where it is absent, and notes on that."""
    if "pairs" in found:
        return found["pairs"].numbers(), ()
    count = np.maximum(found["prefills"].counts(), 1) if "prefills" in found else np.ones(len(prompts))
    cached = found["cached"].numbers() if "cached" in found else np.zeros(len(prompts))
    assumed = "equal prompts" if "prefills" in found else "one prompt"
    if "cached" not in found:
        assumed += " with nothing cached"
    return prompts * (cached + prompts / 2) / count, (f"no column pairs: {assumed} in each iteration assumed",)

"""Measured joint laws of prompt and output lengths, as tables of quantiles, so that no file is needed to use them.

They stand in `tables.toml`, with their sources and licences. A table has the quantiles of the prompt, and those of the
output within each eighth of the requests by prompt, so that what ties the two together stays. The numbers were computed
from the published data by `experiments/embed_length_tables.py`; a length v is spread over v - 0.5 to v + 0.5, and
rounding gives whole tokens back. Requests without output are left out.
"""

import tomllib
from pathlib import Path
from typing import NamedTuple

import numpy as np

# Probabilities of the quantiles (33,): every 1/16, finer in the upper tail, which the means hang on.
_TAIL = [0.85, 0.9, 0.92, 0.95, 0.96, 0.97, 0.975, 0.98, 0.985, 0.99, 0.993, 0.995, 0.998, 0.999, 1]
LEVELS = np.unique(np.concatenate([[0, 0.005, 0.02], np.arange(1, 16) / 16, _TAIL]))


class LengthTable(NamedTuple):
    """Quantiles at `LEVELS`, tokens.

    Attributes:
        prompt: `(33,)`.
        output: `(8, 33)`, row i for requests whose prompt lies in the i-th eighth.
    """

    prompt: np.ndarray
    output: np.ndarray


def _tables() -> dict[str, LengthTable]:
    """Return the tables of the file by the name of the law."""
    told = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    return {name: LengthTable(np.array(t["prompt"], float), np.array(t["output"], float)) for name, t in told.items()}


TABLES = _tables()

"""Files that have the lengths of requests but not when they came."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmqueue_gym.columns import read_columns, read_header
from llmqueue_gym.errors import BadInput

# Names of the two columns: Vidur's files, the compact form, BurstGPT's, Azure's.
COLUMNS = (
    ("num_prefill_tokens", "num_decode_tokens"),
    ("prompt_tokens", "output_tokens"),
    ("Request tokens", "Response tokens"),
    ("ContextTokens", "GeneratedTokens"),
)


@dataclass(frozen=True, eq=False)
class RecordedLengths:
    """Prompt and output lengths of recorded requests.

    Attributes:
        prompt_tokens: `(rows,)`, int64.
        output_tokens: `(rows,)`, int64.
        name: the file's name.
    """

    prompt_tokens: np.ndarray
    output_tokens: np.ndarray
    name: str

    def __len__(self) -> int:
        return len(self.prompt_tokens)


def load_lengths(path: str | os.PathLike[str]) -> RecordedLengths:
    """Read the prompt and output lengths of a CSV file, plain or gzipped; arrivals and all else are ignored.

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
    return RecordedLengths(prompts.counts(), outputs.counts(), Path(path).name)

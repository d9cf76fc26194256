"""The Azure LLM inference traces of 2023, 2024 and 2025: `TIMESTAMP,ContextTokens,GeneratedTokens`.

The three differ in their timestamps: 7 fractional digits without a zone; microseconds with +00:00; ISO form with Z and
a further column NumImages, which is not read.
"""

import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from llmqueue_gym.columns import read_columns
from llmqueue_gym.workloads.traces.trace import Trace

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BEYOND_MICROSECONDS = re.compile(r"\.\d{6}(\d{1,3})")


def load_azure(path: str | os.PathLike[str]) -> Trace:
    """Read an Azure trace; a time without a zone is taken for UTC.

    Raises:
        BadInput: see `load_trace`.
    """
    stamps, prompts, outputs = read_columns(path, ["TIMESTAMP", "ContextTokens", "GeneratedTokens"])
    ticks = np.empty(len(stamps.cells), np.int64)  # ns: a float would lose the last digits of a date
    for row, stamp in enumerate(stamps.cells):
        try:
            ticks[row] = nanoseconds(stamp)
        except ValueError:
            stamps.refuse(row, f"{stamp!r} is not a date and time such as 2023-11-16 18:15:46.6805900")
    stamps.check_sorted(ticks)
    return Trace(
        arrival_s=(ticks - ticks[0]) / 1e9,
        prompt_tokens=prompts.counts(),
        output_tokens=outputs.counts(),
        name=Path(path).name,
        source="Azure/AzurePublicDataset; Patel et al., Splitwise, ISCA 2024 (2023); "
        "Stojkovic et al., DynamoLLM, HPCA 2025 (2024)",
        licence="CC-BY-4.0",
    )


def nanoseconds(stamp: str) -> int:
    """Return ns since 1970 of a time in ISO form with up to 9 fractional digits; ValueError where it is none."""
    moment = datetime.fromisoformat(stamp)  # exact to the microsecond, drops further digits
    if ":" not in stamp:
        raise ValueError("a date without a time")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    beyond = _BEYOND_MICROSECONDS.search(stamp)
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000 + (int(beyond[1].ljust(3, "0")) if beyond else 0)

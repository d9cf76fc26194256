"""Results on disk: JSON that says where its numbers come from, written whole or not at all."""

import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from llmqueue_gym.storage import parsed, read_text, write_text

Result = dict[str, Any]  # the numbers, and under "provenance" where they come from


def result(values: dict[str, Any], scenario: Any = None, seeds: Iterable[int] = ()) -> Result:
    """Return values with their provenance.

    Args:
        values: names and numbers; `provenance` is added.
        scenario: the `Scenario` they were measured in, if one.
        seeds: the seeds of the runs.
    """
    told = {} if scenario is None else {"scenario": scenario.to_dict()}
    return {**values, "provenance": {**provenance(), "seeds": list(seeds), **told}}


def provenance() -> dict[str, Any]:
    """Return the versions, the machine, the command line and the time."""
    return {
        "version": metadata.version("llmqueue-gym"),
        "commit": _commit(),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in ("numpy", "numba")},
        "platform": platform.platform(),
        "command": sys.argv,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _commit() -> str | None:
    """Return the commit of the checkout that the package runs from, `-dirty` if changed; None if it is installed."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():  # without this, git would name whatever repository lies around the site-packages
        return None
    describe = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    try:
        return subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def plain(value: Any) -> Any:
    """Return a value in the types of JSON: an infinity as the string "Infinity" or "-Infinity", NaN as null."""
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write a value as JSON (see `plain`); whoever reads the file meets the old one or the new one, never half."""
    write_text(path, json.dumps(plain(value), indent=1, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read what `write_json` wrote: infinities are numbers again, a NaN comes back as None."""
    return _numbers(parsed(read_text(path)))


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _numbers(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_numbers(entry) for entry in value]
    return float(value) if value in ("Infinity", "-Infinity") else value

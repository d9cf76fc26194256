"""Profiles on disk: those that come with the library, in `shipped.toml`, and one's own, in JSON.

A JSON file has the fields of `Profile`, and under "fit" how it was fitted, if it was.
"""

import dataclasses
import json
import math
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.profiles.base import Profile
from llmqueue_gym.profiles.gpus import GPUS
from llmqueue_gym.profiles.local import FULL, localised
from llmqueue_gym.profiles.models import MODELS
from llmqueue_gym.storage import parsed, read_text, write_text

CAPACITY = "kv_tokens computed: 0.9 of the GPUs' memory less bf16 weights, activations not subtracted"


def shipped() -> dict[str, Callable[..., Profile]]:
    """Return what builds each profile of `shipped.toml`, by name."""
    told = tomllib.loads(Path(__file__).with_name("shipped.toml").read_text(encoding="utf-8"))
    sources = told.pop("sources")
    return {name: _builder({"name": name, **sources.get(one.pop("by", ""), {}), **one}) for name, one in told.items()}


def _builder(told: dict[str, Any]) -> Callable[..., Profile]:
    """Return what builds the profile of a table; what is not a field of `Profile` there is turned into fields."""
    what = told.pop("what")
    if "gpus" in told:
        count, gpu, model = told.pop("gpus"), GPUS[told["gpu"]], MODELS[told["model"]]
        told |= {**gpu.replica(count), "kv_bytes_per_token": model.kv_bytes_per_token}
        if "kv_tokens" not in told:
            told["kv_tokens"] = model.kv_tokens_on(gpu, count)
            told["estimated"] = "; ".join(part for part in (told.get("estimated", ""), CAPACITY) if part)
    numbers: dict[str, Callable[..., np.ndarray]] = {"roofline": _roofline, "phases": _phases, "splitwise": _tables}
    told["numbers"] = numbers[told["form"]](**told.pop("ms"))

    def build(
        kv_tokens: int | None = None,
        kv_log: str | None = None,
        price: float | None = None,
        pue: float | None = None,
        grid: float | None = None,
        clock: str = FULL,
    ) -> Profile:
        return localised(Profile.from_dict(told), kv_tokens, kv_log, price, pue, grid, clock)

    build.__doc__ = what
    return build


def _roofline(line: list[float]) -> np.ndarray:
    return np.array(line) / 1000


def _phases(
    prefill: list[float], few: list[float], many: list[float], switch: int, stage: float, host: list[float]
) -> np.ndarray:
    """Return the numbers of the form "phases", of which each line has a slope for tokens of context at place 1.

    The part of the host's time that goes with the context is added to these slopes, because an engine counts only new
    tokens.
    """
    each, token = host
    lines = [[base, slope + token, other] for base, slope, other in (prefill, few, many)]
    lines[0][0] += stage
    return np.insert(np.array([*lines[0], *lines[1], *lines[2], each, 0.0]) / 1000, 3, switch)


def _tables(
    mixed: float,
    tokens: list[int],
    prompts: list[float],
    batches: list[int],
    context: list[int],
    decodes: list[float],
    rise: float,
) -> np.ndarray:
    """Return the tables of the form "splitwise"; `rise` is what one decode takes longer at the longest context."""
    by_context = [(time, time, time + batch * rise) for batch, time in zip(batches, decodes, strict=True)]
    grids = [len(batches), len(context), *batches, *context]
    times = [time / 1000 for row in by_context for time in row]
    return np.array([mixed, len(tokens), *tokens, *(time / 1000 for time in prompts), *grids, *times])


def write_profile(path: str | os.PathLike[str], profile: Profile, fit: dict[str, Any] | None = None) -> None:
    """Write a profile, and the report of its fit as plain types, which `read_profile` does not look at.

    Whoever reads the file meets the old one or the new one, never half.
    """
    told = profile.to_dict() if fit is None else {**profile.to_dict(), "fit": fit}
    write_text(path, json.dumps(_without_nan(told), indent=1, allow_nan=False) + "\n")


def read_profile(
    path: str,
    kv_tokens: int | None = None,
    kv_bytes_per_token: float | None = None,
    kv_log: str | None = None,
    price: float | None = None,
    pue: float | None = None,
    grid: float | None = None,
) -> Profile:
    """Return the profile in a JSON file, as `write_profile` and `llmqueue profile fit` write them.

    What is given stands instead of what the file holds.

    Raises:
        BadInput: the file cannot be read or is no profile.
    """
    try:
        told = parsed(read_text(path))
    except (OSError, ValueError) as error:
        raise BadInput(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    if not isinstance(told, dict):
        raise BadInput(f"{path} is not a profile: it holds no JSON object")
    told.pop("fit", None)
    try:
        made = Profile.from_dict(told)
        if kv_bytes_per_token is not None:
            made = dataclasses.replace(made, kv_bytes_per_token=kv_bytes_per_token)
        return localised(made, kv_tokens, kv_log, price, pue, grid)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None


def _without_nan(value: Any) -> Any:
    """Return a value with null for NaN and infinities, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

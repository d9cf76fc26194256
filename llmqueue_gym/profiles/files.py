"""Profiles on disk: JSON with the fields of `Profile`, and under "fit" how it was fitted, if it was."""

import dataclasses
import json
import math
import os
from pathlib import Path
from typing import Any

from llmqueue_gym.errors import BadInput
from llmqueue_gym.profiles.base import Profile
from llmqueue_gym.storage import write_text


def write_profile(path: str | os.PathLike[str], profile: Profile, fit: dict[str, Any] | None = None) -> None:
    """Write a profile; whoever reads the file meets the old one or the new one, never half.

    Args:
        path: file to write, whole or not at all.
        profile: what is written.
        fit: the report of the fit as plain types; `read_profile` does not look at it.
    """
    told = profile.to_dict() if fit is None else {**profile.to_dict(), "fit": fit}
    write_text(path, json.dumps(_without_nan(told), indent=1, allow_nan=False) + "\n")


def read_profile(path: str, kv_tokens: int | None = None) -> Profile:
    """Return the profile in a JSON file, as `write_profile` and `llmqueue profile fit` write them.

    Args:
        path: file to read.
        kv_tokens: instead of the number in the file.

    Raises:
        BadInput: the file cannot be read or is no profile.
    """
    try:
        told = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadInput(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    if not isinstance(told, dict):
        raise BadInput(f"{path} is not a profile: it holds no JSON object")
    told.pop("fit", None)
    try:
        profile = Profile.from_dict(told)
        return profile if kv_tokens is None else dataclasses.replace(profile, kv_tokens=kv_tokens)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None


def _without_nan(value: Any) -> Any:
    """Return a value with null for NaN and infinities, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""A folder that is written whole or not at all; one that holds an export is replaced, anything else is refused."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmqueue_gym.errors import BadInput
from llmqueue_gym.export.target import CARD
from llmqueue_gym.storage import parsed, read_text


def check_folder(out: str | os.PathLike[str]) -> Path:
    """Return the path of a folder to write, before the work.

    Raises:
        BadInput: something else is there that would be lost, or its own folder is missing.
    """
    out = Path(os.path.realpath(out))
    if not out.parent.is_dir():
        raise BadInput(f"--out {out}: {out.parent}: no such folder")
    if out.exists() and not out.is_dir():
        raise BadInput(f"--out {out}: it is a file; name a folder")
    if out.is_dir() and any(out.iterdir()) and not _is_export(out):
        raise BadInput(f"--out {out}: it holds other files; name an empty folder, or one of an earlier export")
    return out


def write_folder(out: str | os.PathLike[str], files: Mapping[str, str]) -> Path:
    """Write texts by file name to a folder, which takes the place of what is there when all are written."""
    out = check_folder(out)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as made:
        fresh = Path(made, "fresh")
        fresh.mkdir()
        for name, text in files.items():
            (fresh / name).write_text(text, encoding="utf-8")
        if out.exists():
            os.replace(out, Path(made, "before"))
        os.replace(fresh, out)
    return out


def read_card(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the card of an export.

    Raises:
        BadInput: there is none.
    """
    path = Path(folder, CARD)
    try:
        card = parsed(read_text(path))
    except (OSError, ValueError):
        raise BadInput(f"{path}: not the card of an export") from None
    if not isinstance(card, dict) or "llmqueue-gym" not in str(card.get("made_by")):
        raise BadInput(f"{path}: not the card of an export")
    return card


def _is_export(folder: Path) -> bool:
    """Whether a folder holds an export and nothing else."""
    try:
        files = read_card(folder).get("files")
    except BadInput:
        return False
    there = {path.name for path in folder.iterdir()} - {"__pycache__"}
    return isinstance(files, list) and there <= set(map(str, files))

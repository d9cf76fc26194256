"""Where measured data lie, and how a result tells what it took from them.

The files are looked for in a folder. Where one is not found, tables that come with the library stand in for it, and the
result says so.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER_VARIABLE = "LLMQUEUE_DATA"
_FOLDERS = ("../shared/traces/data", "shared/traces/data")


def data_folder(data: str | os.PathLike[str] | None = None) -> Path | None:
    """Return the folder of the measured data: the given one, else that of $LLMQUEUE_DATA, else a place near here."""
    given = data or os.environ.get(FOLDER_VARIABLE)
    folders = [given] if given else _FOLDERS
    return next((Path(folder) for folder in folders if Path(folder).is_dir()), None)


def found(folder: Path | None, name: str) -> Path | None:
    """Return the file of that name, or None where it is not there."""
    return folder / name if folder is not None and (folder / name).is_file() else None


def told(note: Mapping[str, Any]) -> str:
    """Return where the numbers of a measured block come from, in a sentence; see the notes of each track's cases."""
    if note["embedded"]:
        return f"The data file was not found, so this block uses {note['used']}."
    return f"Input: {note['used']} ({note['file']})."

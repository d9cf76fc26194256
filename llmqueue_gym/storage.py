"""Files that are written whole or not at all, and JSON that is read no deeper and no stranger than it may be."""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llmqueue_gym.errors import BadInput

MOST = 2**26  # bytes of a text


@contextmanager
def whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give the path of a file to write, which takes the place of `path` when all went well and is gone otherwise.

    Whoever reads `path` meets what was there before or what is there now. Its folder is made where it is missing.

    Raises:
        OSError: `path` cannot be written; nothing is left of it.
    """
    try:
        path = Path(os.path.realpath(path))
    except ValueError as error:  # a NUL
        raise OSError(errno.EINVAL, str(error), os.fspath(path)) from None
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        if path.exists() and not path.is_file():  # a folder, or a device, which would be replaced as well
            raise OSError(errno.EINVAL, "not a file that can be replaced")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None


def check_place(path: str | os.PathLike[str], what: str | os.PathLike[str] = "") -> None:
    """Refuse a file that is a folder or whose folder there is not, before the work whose result it is to hold.

    Args:
        path: of the file.
        what: it is in the message, where that is more than the path.

    Raises:
        BadInput: there is no such folder, or the path is that of one.
    """
    if os.path.isdir(path):
        raise BadInput(f"{what or path}: it is a folder; name a file")
    if not os.path.isdir(os.path.dirname(os.path.abspath(path))):
        raise BadInput(f"{what or path}: {Path(path).parent}: no such folder")


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write a text file and return its path; see `whole`."""
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def read_text(path: str | os.PathLike[str]) -> str:
    """Return the text of a file of 64 MiB at most, so that a device that never ends is not read for ever.

    A mark of byte order at its beginning is left out.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not UTF-8, or longer.
    """
    with open(path, "rb") as stream:
        data = stream.read(MOST + 1)
    if len(data) > MOST:
        raise ValueError(f"it has more than {MOST:,} bytes")
    return data.decode("utf-8-sig")


def parsed(text: str, **how: Any) -> Any:
    """Return the value of a JSON text; `how` is as of `json.loads`.

    Raises:
        ValueError: it is none, nests too deeply, or holds a text that UTF-8 cannot say (a lone surrogate).
    """
    try:
        value = json.loads(text, **how)
    except RecursionError:
        raise ValueError("it nests too deeply") from None
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode()
    return value

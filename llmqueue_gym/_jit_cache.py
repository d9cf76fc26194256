"""When compiled code on disk is as its sources are, and what happens where it is damaged."""

import hashlib
import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

_FOLDERS: dict[str, frozenset[Path]] = {}  # of the kernels of a module and of all that these call
_DIGEST = hashlib.sha256().digest_size


def _folders_of(function: Any) -> frozenset[Path]:
    """Return the folders of a function and of all kernels that it may call, however far down; kept for its file."""
    name = function.__module__
    if name not in _FOLDERS:
        calls = [value.py_func for value in function.__globals__.values() if hasattr(value, "py_func")]
        deeper = [_folders_of(one) for one in calls if one.__module__ != name]
        _FOLDERS[name] = frozenset({Path(function.__code__.co_filename).parent}.union(*deeper))
    return _FOLDERS[name]


def stamp(cache: Any, function: Callable[..., Any]) -> None:
    """Make the cache of a function depend on how it is compiled and on all of the folders that its kernels are from.

    Those are its own and those of the kernels that its file imports, and theirs. What is damaged is rebuilt, and so is
    what is of other sources or types: where two processes compile at once, one may find the other's list of files
    before the files, and those of the time before. Numba looks at the function's own file alone, and ends with a
    traceback, or worse, at a file that was cut off.
    """
    files = [
        *sorted(Path(__file__).parent.glob("_jit*.py")),
        *sorted(file for folder in _folders_of(function) for file in folder.glob("*.py")),
    ]
    index = cache._cache_file
    index._source_stamp = tuple((stat.st_mtime, stat.st_size) for stat in (file.stat() for file in files))
    mark = hashlib.sha256(repr(index._source_stamp).encode()).digest()
    load_index, save, log = index._load_index, index.save, logging.getLogger(__name__)
    load_overload = cache.load_overload

    def tolerant_load_index() -> dict[Any, Any]:
        try:
            return load_index()
        except (AttributeError, ImportError):  # another version's classes
            return {}
        except Exception as error:  # a damaged pickle raises anything
            log.warning("%s is damaged (%s); its code is compiled anew", index._index_path, error)
            Path(index._index_path).unlink(missing_ok=True)  # said once
            return {}

    def load_data(name: str) -> Any:
        path = index._data_path(name)
        whole = Path(path).read_bytes()
        sources, digest, data = whole[:_DIGEST], whole[_DIGEST : 2 * _DIGEST], whole[2 * _DIGEST :]
        if hashlib.sha256(data).digest() != digest:
            log.warning("%s is damaged; its code is compiled anew", path)
            return None
        return pickle.loads(data) if sources == mark else None

    def save_data(name: str, data: Any) -> None:
        dumped = index._dump(data)
        with index._open_for_write(index._data_path(name)) as file:
            file.write(mark + hashlib.sha256(dumped).digest() + dumped)

    def tolerant_save(key: Any, data: Any) -> None:
        try:
            save(key, data)
        except OSError as error:  # such as a full disk
            log.warning("compiled code cannot be kept: %s", error)

    def load_of_these_types(signature: Any, context: Any) -> Any:
        made = load_overload(signature, context)
        wanted = tuple(getattr(signature, "args", signature))
        return made if made is None or tuple(made.signature.args) == wanted else None

    cache.load_overload = load_of_these_types
    index._load_index, index._load_data = tolerant_load_index, load_data
    index._save_data, index.save = save_data, tolerant_save

"""Which columns of its table a plain function reads, found in its bytecode, so that no policy reads the truth."""

import dis
import itertools
from collections.abc import Callable, Iterable
from typing import Any


def columns_read(function: Callable[..., Any], readable: Iterable[str]) -> set[str]:
    """Return the columns that a function reads of its first argument.

    Args:
        function: plain function whose first argument is a row.
        readable: all columns there are; taken to be read where the whole row goes elsewhere, say into a helper.
    """
    code = function.__code__
    row = code.co_varnames[0] if code.co_argcount else None
    columns: set[str] = set()
    for step, after in itertools.pairwise(list(dis.get_instructions(code))):
        loaded = _loaded(step)
        if row not in loaded:
            continue
        if loaded[-1] == row and after.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            columns.add(after.argval)
        elif loaded[-1] == row and after.opname == "LOAD_CONST" and isinstance(after.argval, str):
            columns.add(after.argval)  # job["size"]
        else:
            columns.update(readable)
    return columns


def _loaded(step: dis.Instruction) -> tuple[Any, ...]:
    """Return the local variables that an instruction loads; newer Pythons load two at once."""
    if not step.opname.startswith("LOAD_FAST"):
        return ()
    return step.argval if isinstance(step.argval, tuple) else (step.argval,)

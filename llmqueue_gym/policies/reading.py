"""What a plain function reads, found in its bytecode: no policy reads the truth, and each is listed as it is told.

A column is read where it is an attribute, or a constant index, of an argument. Where the whole argument goes elsewhere,
into a helper or another name, every attribute that the function or a plain function within its reach names counts.
"""

import dis
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

_OTHERS = ("numpy", "math", "numba", "builtins")  # whose functions see numbers, not rows


def columns_read(function: Callable[..., Any], readable: Iterable[str], position: int = 0) -> set[str]:
    """Return the columns that a function reads of one of its arguments.

    Args:
        function: plain function.
        readable: all columns there are.
        position: of the argument, a row.
    """
    columns, escapes = _columns_named(function.__code__, position)
    return set(columns) | (names_within_reach(function) & set(readable) if escapes else set())


@functools.lru_cache(maxsize=1024)
def _columns_named(code: CodeType, position: int) -> tuple[frozenset[str], bool]:
    """Return the columns of an argument that code names, and whether the whole argument goes elsewhere."""
    if position >= code.co_argcount:
        return frozenset(), False
    row, columns = code.co_varnames[position], set()
    escapes = row in code.co_cellvars
    for step, after in itertools.pairwise(list(dis.get_instructions(code))):
        loaded = _loaded(step)
        if row not in loaded:
            continue
        if loaded[-1] == row and after.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            columns.add(after.argval)
        elif loaded[-1] == row and after.opname == "LOAD_CONST" and isinstance(after.argval, str):
            columns.add(after.argval)  # job["size"]
        else:
            escapes = True
    return frozenset(columns), escapes


def names_within_reach(function: Callable[..., Any]) -> set[str]:
    """Return attributes, global names and text constants of a function and of the plain functions that it can call."""
    names: set[str] = set()
    seen: set[FunctionType] = set()
    ahead: list[Any] = [function]
    while ahead:
        one = ahead.pop()
        if one in seen:
            continue
        seen.add(one)
        for code in _codes(one.__code__):
            names.update(code.co_names)
            names.update(constant for constant in code.co_consts if isinstance(constant, str))
        ahead += _callees(one)
    return names


def constants_of(function: Callable[..., Any]) -> tuple[Any, ...] | None:
    """Return what a function takes from around it, which compiling it fixes; None where that may change unseen.

    They are numbers and texts, and functions with what these take in turn; arrays and modules of the user may change.
    """
    found: list[Any] = []
    ahead, seen = [function], set()
    while ahead:
        one = ahead.pop()
        seen.add(one)
        for thing in _taken(one):
            if isinstance(thing, FunctionType):
                found.append(thing)
                ahead += [thing] if thing not in seen else []
            elif isinstance(thing, (int, float, str, type(None))):
                found += [type(thing), thing]
            elif not isinstance(thing, (ModuleType, BuiltinFunctionType, np.ufunc, type)) or not _of_numbers(thing):
                return None
    return tuple(found)


def _of_numbers(thing: Any) -> bool:
    """Whether a module, or what it defines, is one of those whose functions see numbers, not rows."""
    return (getattr(thing, "__module__", None) or thing.__name__).partition(".")[0] in _OTHERS


def _taken(function: Any) -> list[Any]:
    """Return the globals and captured values that a function names."""
    names = sorted({name for code in _codes(function.__code__) for name in code.co_names})
    captured = [cell.cell_contents for cell in function.__closure__ or ()]
    return [function.__globals__[name] for name in names if name in function.__globals__] + captured


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Yield a code object and those of the functions inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _callees(function: Any) -> Iterator[FunctionType]:
    """Yield the plain functions that a function names: globals, captured ones, and attributes of modules."""
    names = {name for code in _codes(function.__code__) for name in code.co_names}
    for thing in _taken(function):
        found = [getattr(thing, name, None) for name in names] if isinstance(thing, ModuleType) else [thing]
        for one in found:
            if isinstance(one, FunctionType) and one.__module__.partition(".")[0] not in _OTHERS:
                yield one


def _loaded(step: dis.Instruction) -> tuple[Any, ...]:
    """Return the local variables that an instruction loads; newer Pythons load two at once."""
    if not step.opname.startswith("LOAD_FAST"):
        return ()
    return step.argval if isinstance(step.argval, tuple) else (step.argval,)

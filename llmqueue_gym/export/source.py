"""Functions of a policy as plain Python text: what they call and the numbers they take from around them included.

A function is read from its file, as the compiler reads it. What it names is written beside it: helpers as functions,
numbers and texts as literals, functions of `math` and `numpy` as imports. Where two things have one name, as the `rank`
of two files, the second gets a number, and so does what has the name of one of Python's own functions, which whoever
includes the text uses. Comments are lost on the way, docstrings are not.
"""

import ast
import builtins
import importlib
import inspect
import math
import textwrap
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType, MappingProxyType, ModuleType
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.export.names import Names, bound_by, without_hints

MODULES = ("math", "numpy")  # that may be imported


class Source:
    """The text of some functions; `add` one after another, then take `imports` and `text`.

    Args:
        taken: names that the text must not define, as whoever includes it does, and what they are.
    """

    def __init__(self, taken: Mapping[str, Any] = MappingProxyType({})):
        self._names = dict(taken)
        self._imports: set[str] = set()
        self._constants: list[str] = []
        self._functions: list[str] = []

    def add(self, function: Callable[..., Any], name: str, mine: Iterable[str] = ()) -> str:
        """Write a function out under a name, or one near it, and return the name.

        Args:
            function: plain, or compiled by numba.
            name: that it is to have.
            mine: names of the function that calls it.

        Raises:
            BadInput: its source cannot be read, or it takes something that cannot be written out.
        """
        plain: Any = getattr(function, "py_func", function)  # of one that numba has compiled
        name, known = self._named(name, plain, mine)
        if not known:
            node = _parsed(plain)
            own = {one for part in ast.walk(node) for one in bound_by(part)}
            names = Names(lambda one: one if _is_builtin(one, plain) else self._taken(one, plain, own))
            self._functions.append(ast.unparse(names.of_function(_bare(node, name, plain))))
        return name

    @property
    def imports(self) -> str:
        """Lines of the modules that the functions use, but for those that were taken."""
        return "\n".join(sorted(self._imports))

    @property
    def text(self) -> str:
        """Constants and functions, whoever is called before whoever calls it."""
        parts = ["\n".join(self._constants), *self._functions]
        return "\n\n\n".join(part for part in parts if part)

    def _named(self, name: str, thing: Any, mine: Iterable[str] = ()) -> tuple[str, bool]:
        """Return the name under which a thing is written, and whether it is there already.

        Args:
            name: that it has where it is taken from.
            thing: itself.
            mine: names of the function that takes it, of which a numbered one must be none.
        """
        wanted, k = name, 1
        while hasattr(builtins, name) or (k > 1 and name in mine) or not _same(self._names.get(name, thing), thing):
            k += 1
            name = f"{wanted}_{k}"
        known = name in self._names
        self._names[name] = thing
        return name, known

    def _taken(self, name: str, function: FunctionType, mine: Iterable[str]) -> str:
        """Write out what a function takes from around it under a name; returns the name that it has here."""
        thing = _around(name, function)
        line = _import_of(thing)
        if not line and isinstance(getattr(thing, "py_func", thing), FunctionType):
            return self.add(thing, name, mine)
        literal = "" if line else literal_of(thing)
        if not line and not literal:
            raise BadInput(
                f"function {function.__name__!r} takes {name!r} from around it, {_kind(thing)}, which cannot be "
                f"written out: take numbers, plain functions, and functions of {' and '.join(MODULES)}"
            )
        name, known = self._named(name, thing, mine)
        if not known and line:
            self._imports.add(line.format(name).replace(f" {name} as {name}", f" {name}"))
        elif not known:
            if "numpy." in literal:
                self._imports.add("import numpy")
            self._constants.append(f"{name} = {literal}")
        return name


def literal_of(value: Any) -> str:
    """Return the text of a number, a text, or a tuple or an array of numbers; nothing for other things."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (bool, int, float, str, type(None))):
        finite = not isinstance(value, float) or math.isfinite(value)
        return repr(value) if finite else f'float("{value!r}")'
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        nested = repr(value.tolist()).replace("inf", 'float("inf")').replace("nan", 'float("nan")')
        return f"numpy.array({nested})"
    if isinstance(value, (tuple, list)):
        parts = [literal_of(part) for part in value]
        return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})" if all(parts) else ""
    return ""


def _parsed(function: Any) -> ast.FunctionDef:
    name = function.__name__
    try:
        text = textwrap.dedent(inspect.getsource(function))
        node = ast.parse(text).body[0]
    except (OSError, TypeError, SyntaxError):
        raise BadInput(f"the source of function {name!r} cannot be read: define it with def in a file") from None
    if not isinstance(node, ast.FunctionDef):
        raise BadInput(f"function {name!r} is no plain one: define it with def")
    for one in ast.walk(node):
        if isinstance(one, (ast.Global, ast.Nonlocal)):
            raise BadInput(f"function {name!r} changes {one.names[0]!r}, which is not its own; it may only read it")
    return node


def _bare(node: ast.FunctionDef, name: str, function: FunctionType) -> ast.FunctionDef:
    """Drop what a function needs not to run, and write its defaults as literals."""
    node.name = name
    without_hints(node)
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    literals = [literal_of(value) for value in defaults]
    if not all(literals):
        raise BadInput(f"function {function.__name__!r} has a default that is no number")
    nodes = [ast.parse(text, mode="eval").body for text in literals]
    n = len(function.__defaults__ or ())
    node.args.defaults = nodes[:n]
    by_name = dict(zip(function.__kwdefaults__ or {}, nodes[n:], strict=True))
    node.args.kw_defaults = [by_name.get(one.arg) for one in node.args.kwonlyargs]
    return node


def _import_of(thing: Any) -> str:
    """Return the line that imports a thing of `MODULES`, with a place for its name; nothing for other things."""
    if isinstance(thing, ModuleType):
        return f"import {thing.__name__} as {{}}" if _is_known(thing.__name__) else ""
    name, where = getattr(thing, "__name__", None), getattr(thing, "__module__", None)
    if isinstance(thing, np.ufunc):
        where = "numpy"
    if not callable(thing) or not isinstance(name, str) or not isinstance(where, str) or not _is_known(where):
        return ""
    there = getattr(importlib.import_module(where), name, None) is thing
    return f"from {where} import {name} as {{}}" if there else ""


def _is_known(module: str) -> bool:
    return module.partition(".")[0] in MODULES


def _around(name: str, function: FunctionType) -> Any:
    captured = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    try:
        return captured[name].cell_contents if name in captured else function.__globals__[name]
    except (KeyError, ValueError):
        raise BadInput(f"function {function.__name__!r} names {name!r}, which is not defined") from None


def _is_builtin(name: str, function: FunctionType) -> bool:
    taken = name in function.__globals__ or name in function.__code__.co_freevars
    return hasattr(builtins, name) and not taken


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, (bool, int, float, str, type(None))):
        return type(one) is type(other) and repr(one) == repr(other)
    return one is other


def _kind(thing: Any) -> str:
    return f"the module {thing.__name__}" if isinstance(thing, ModuleType) else f"a {type(thing).__name__}"

"""The file `policy.py` of an entry: its text is read, and what it says is made; it is never run as Python.

    from llmqueue_gym.policies import Policy
    LEAST = 0.01

    def rank(job, params):
        return max(job.predicted - params[0] * job.age, LEAST)

    policy = Policy("mine", rank, (0.5,), shape="falling")

A file is imports of `math`, `numpy` and the type of the board's policies, numbers with names, functions in the language
of `boards.language`, and `policy`: one of the functions, or a call of the type with literals, as in `boards.traits`.
"""

import ast
from dataclasses import MISSING, fields, replace
from typing import Any

from llmqueue_gym.boards.language import function
from llmqueue_gym.boards.names import CONSTANTS, FUNCTIONS, Names
from llmqueue_gym.boards.traits import fair_traits
from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.base import BasePolicy

MOST_BYTES = 16_384
_OURS, _TYPE = "llmqueue_gym", "type"


def read_source(text: str, where: str, kind: type[BasePolicy], name: str) -> tuple[BasePolicy, int]:
    """Return the policy of a file, and how many numbers stand in it.

    Args:
        text: of the file.
        where: its path, for messages.
        kind: type of the policies of its board.
        name: of the entry, and of the policy.

    Raises:
        TruthError: it reads true sizes.
        BadInput: it says something else that is not listed above; the message names line and words.
    """
    try:
        names, given = Names(where), None
        for node in ast.parse(text).body:
            given = _statement(node, names, kind, given)
        if given is None and "policy" in names.functions:
            given = ast.Name("policy")
        if given is None:
            raise BadInput(f"{where}: it defines no `policy`, a {kind.__name__} or a plain function")
        return replace(_policy(given, names, kind), name=name), names.count  # type: ignore[type-var]
    except SyntaxError as error:
        raise BadInput(f"{where}: line {error.lineno or 1}: {error.msg}") from None
    except BadInput:
        raise
    except (RecursionError, MemoryError, ValueError) as error:  # what Python's own parser says of a text that is none
        raise BadInput(f"{where}: not the text of a policy ({str(error).partition(' while')[0]})") from None


def _statement(node: ast.stmt, names: Names, kind: type[BasePolicy], given: ast.expr | None) -> ast.expr | None:
    """Take a statement of the file; returns what `policy` is, as far as it is known."""
    match node:
        case ast.Expr(value=ast.Constant(value=str())):
            pass
        case ast.Import(names=imported) if all(one.name in ("math", "numpy") for one in imported):
            for one in imported:
                _import(node, names, one.asname or one.name, (one.name, ""))
        case ast.ImportFrom(module=str() as module, names=imported, level=0):
            for one in imported:
                ours = module.partition(".")[0] == _OURS and one.name == kind.__name__
                if not ours and (module not in FUNCTIONS or one.name not in {**FUNCTIONS[module], **CONSTANTS}):
                    names.refuse(node, f"imports more than numbers, functions of numbers, and {kind.__name__}")
                _import(node, names, one.asname or one.name, (_TYPE if ours else module, one.name))
        case ast.FunctionDef(name=name):
            names.functions[names.new(node, name)] = node
        case ast.Assign(targets=[ast.Name(id="policy")], value=value) if given is None:
            return value
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            names.numbers[names.new(node, name)] = names.number(value)
        case _:
            names.refuse(node)
    return given


def _import(node: ast.stmt, names: Names, name: str, meaning: tuple[str, str]) -> None:
    if names.meanings.get(name) != meaning:
        names.meanings[names.new(node, name)] = meaning


def _policy(given: ast.expr, names: Names, kind: type[BasePolicy]) -> BasePolicy:
    """Return the policy that a function is, or that a call says."""
    if isinstance(given, ast.Name) and given.id in names.functions:
        return kind.from_function(function(names.functions[given.id], names, kind, 0))
    if not isinstance(given, ast.Call) or names.meaning(given.func)[0] != _TYPE:
        names.refuse(given, f"is neither a function of this file nor a call of {kind.__name__}")
    said = _said(given, names, kind)
    for field in ("name", "source"):  # the card says them
        said.pop(field, None)
    params = _literal(said.pop("params", ast.Tuple([])), names)
    if not isinstance(params, tuple):
        names.refuse(given, "has params that are no list of numbers")
    written = {field: said.pop(field) for field in kind.functions if field in said}
    made = {}
    for field, node in written.items():
        if not isinstance(node, ast.Name) or node.id not in names.functions:
            names.refuse(node, f"is no function of this file, for {field}")
        made[field] = function(names.functions[node.id], names, kind, len(params))
    first = kind.functions[0]
    if first not in made and first in _needed(kind):
        names.refuse(given, f"has no {first}")
    traits = fair_traits(kind, {field: _literal(node, names) for field, node in said.items()}, names.where)
    return kind(name="", params=params, **made, **traits)  # type: ignore[call-arg]


def _said(given: ast.Call, names: Names, kind: type[BasePolicy]) -> dict[str, ast.expr]:
    """Return the arguments of a call by field."""
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    pairs = [*zip(known, given.args, strict=False), *((one.arg, one.value) for one in given.keywords)]
    said: dict[str, ast.expr] = {}
    for field, node in pairs:
        if field not in known or field in said:
            names.refuse(node, f"is given as {field!r}, which a {kind.__name__} has not, or has already")
        said[field] = node
    if len(given.args) > len(known):
        names.refuse(given, "has too many arguments")
    return said


def _needed(kind: type[BasePolicy]) -> list[str]:
    return [field.name for field in fields(kind) if field.default is MISSING and field.default_factory is MISSING]  # type: ignore[arg-type]


def _literal(node: ast.expr, names: Names) -> Any:
    """Return a literal: a word, a flag, a number, numbers, or a table of these."""
    match node:
        case ast.Constant(value=bool() | str() | None):
            return node.value
        case ast.Constant(value=int() as whole):
            names.number(node)
            return whole
        case ast.Tuple(elts=parts) | ast.List(elts=parts):
            return tuple(names.number(part) for part in parts)
        case ast.Dict(keys=keys, values=values) if all(isinstance(key, ast.Constant) for key in keys):
            pairs = zip(keys, values, strict=True)
            return {key.value: _literal(value, names) for key, value in pairs}  # type: ignore[union-attr]
    return names.number(node)

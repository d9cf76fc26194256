"""What a function of an entry may say. It is checked piece by piece and written anew; its own text is never run.

    def rank(job, params):
        left = max(job.predicted - job.age, LEAST)
        return left / job.weight if job.klass == 0 else params[1] * left

A function assigns to names of its own, branches by `if`, repeats by `for k in range(NUMBER)` and returns. In it are
numbers, arithmetic, comparisons, columns of the records that it is shown, `params[k]`, `len(params)`, and the functions
of `boards.names`. What is not listed is refused.

What is compiled lies in a namespace of those functions and nothing else. Its numbers are floats, so that none is too
large, and an index that is computed is held in bounds.
"""

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from llmqueue_gym.boards.names import FUNCTIONS, Names
from llmqueue_gym.errors import BadInput, TruthError, nearest
from llmqueue_gym.policies.base import TRUE_COLUMNS, BasePolicy

MOST_REPEATS = 64  # of loops that lie in one another, together
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow)
_SIGNS = (ast.USub, ast.UAdd, ast.Not)
_COMPARISONS = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE)


def _held(x, last):  # type: ignore[no-untyped-def]
    """Return a computed index, held between 0 and the last one; what is no number is 0."""
    if x >= last:
        return last
    return int(x) if x > 0 else 0


_HERE: Mapping[str, Any] = {
    **{"__builtins__": {}, "__name__": "entry", "math": math, "numpy": np, "held": _held},
    **{"abs": abs, "min": min, "max": max, "range": range},
}
_OWN = "own_"  # begins every name that the text gives, so that none is one of these


def function(node: ast.FunctionDef, names: Names, kind: type[BasePolicy], n_params: int) -> Callable[..., float]:
    """Return a function of a file, made of what was found good in it.

    Args:
        node: as it stands there.
        names: what its names stand for.
        kind: type of the policy, which says what the function is shown.
        n_params: length of `params`.

    Raises:
        TruthError: it reads true sizes.
        BadInput: it says what is not of the language.
    """
    space = dict(_HERE)
    text = ast.unparse(ast.fix_missing_locations(ast.Module([_Body(node, names, kind, n_params).written], [])))
    exec(compile(text, names.where, "exec"), space)
    made: Callable[..., float] = space[_OWN + node.name]
    return made


class _Body:
    """Writes a function anew.

    Attributes:
        written: the function.
    """

    def __init__(self, node: ast.FunctionDef, names: Names, kind: type[BasePolicy], n_params: int):
        self._names, self._n_params = names, n_params
        given, shown = node.args, kind.shown
        wanted = ", ".join([*(one.name for one in shown), "params"])
        others = (*given.posonlyargs, *given.kwonlyargs, *given.defaults, given.vararg, given.kwarg)
        if any(others) or len(given.args) != len(shown) + 1 or node.decorator_list or getattr(node, "type_params", []):
            names.refuse(node, f"is not a function of a {kind.kind}, whose arguments are ({wanted}) and nothing else")
        *rows, self._params = arguments = [names.new(node, one.arg) for one in given.args]
        self._rows = dict(zip(rows, shown, strict=True))
        body, goes_on = self._block(node.body, frozenset(), 1)
        if goes_on is not None:
            names.refuse(node, "does not return a number on every way through")
        args = ast.arguments(posonlyargs=[], args=[ast.arg(_OWN + one) for one in arguments], kwonlyargs=[],
                             kw_defaults=[], defaults=[])  # fmt: skip
        self.written = ast.FunctionDef(name=_OWN + node.name, args=args, body=body, decorator_list=[])

    def _block(
        self, body: Sequence[ast.stmt], known: frozenset[str] | None, repeats: int
    ) -> tuple[list[ast.stmt], frozenset[str] | None]:
        """Return statements, and the names that have a value after them; None where they always return."""
        made: list[ast.stmt] = []
        for node in body:
            if known is None:
                self._names.refuse(node, "is never reached")
            match node:
                case ast.Expr(value=ast.Constant(value=str())):
                    continue
                case ast.Pass():
                    made.append(ast.Pass())
                case ast.Return(value=ast.expr() as value):
                    made.append(ast.Return(_float(self._value(value, known))))
                    known = None
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    made.append(ast.Assign([self._own(node, name)], self._value(value, known)))
                    known |= {name}
                case ast.AugAssign(target=ast.Name(id=name), op=op, value=value):
                    before = ast.copy_location(ast.Name(name), node)
                    added = ast.copy_location(ast.BinOp(before, op, value), node)
                    made.append(ast.Assign([self._own(node, name)], self._value(added, known)))
                case ast.If(test=test, body=then, orelse=other):
                    asked = self._value(test, known)
                    (yes, after_yes), (no, after_no) = (self._block(part, known, repeats) for part in (then, other))
                    made.append(ast.If(asked, yes or [ast.Pass()], no))
                    ends = [after for after in (after_yes, after_no) if after is not None]
                    known = frozenset.intersection(*ends) if ends else None
                case ast.For(target=ast.Name(id=name), iter=times, body=inside, orelse=[]):
                    count, own = self._times(times, repeats), self._own(node, name)
                    known |= {name}
                    steps, _ = self._block(inside, known, repeats * count)
                    made.append(ast.For(own, _call("range", ast.Constant(count)), steps or [ast.Pass()], []))
                case _:
                    self._names.refuse(node)
        return made, known

    def _own(self, node: ast.AST, name: str) -> ast.Name:
        if name in self._rows or name == self._params:
            self._names.refuse(node, f"changes {name!r}, which a policy only reads")
        return ast.Name(_OWN + self._names.new(node, name))

    def _times(self, node: ast.expr, repeats: int) -> int:
        """Return how often a loop repeats."""
        match node:
            case ast.Call(func=ast.Name(id="range"), args=[ast.Constant(value=int() as count)], keywords=[]):
                self._names.number(node.args[0])
                if count >= 1 and count * repeats <= MOST_REPEATS:
                    return count
        self._names.refuse(
            node, f"must be range(NUMBER), with at most {MOST_REPEATS} repetitions of all loops together"
        )

    def _value(self, node: ast.expr, known: frozenset[str]) -> ast.expr:
        """Return an expression, written anew."""
        match node:
            case ast.Name(id=name) if name in known:
                return ast.Name(_OWN + name)
            case ast.Constant(value=bool()):
                return ast.Constant(node.value)
            case ast.Attribute(value=ast.Name(id=row), attr=column) if row in self._rows:
                return self._column(node, row, column)
            case ast.Subscript(value=ast.Name(id=row), slice=ast.Constant(value=str() as column)) if row in self._rows:
                return self._column(node, row, column)
            case ast.Subscript(value=ast.Name(id=self._params), slice=at):
                return ast.Subscript(ast.Name(_OWN + self._params), self._index(at, known))
            case ast.UnaryOp(op=op, operand=operand) if isinstance(op, _SIGNS):
                return ast.UnaryOp(op, self._value(operand, known))
            case ast.BinOp(left=left, op=op, right=right) if isinstance(op, _OPERATORS):
                return ast.BinOp(self._value(left, known), op, self._value(right, known))
            case ast.BoolOp(op=op, values=values):
                return ast.BoolOp(op, [self._value(value, known) for value in values])
            case ast.Compare(left=left, ops=ops, comparators=others) if all(isinstance(op, _COMPARISONS) for op in ops):
                return ast.Compare(self._value(left, known), ops, [self._value(other, known) for other in others])
            case ast.IfExp(test=test, body=body, orelse=other):
                return ast.IfExp(*(self._value(part, known) for part in (test, body, other)))
            case ast.Call():
                return self._called(node, known)
        return _number(self._names.number(node))

    def _column(self, node: ast.expr, row: str, column: str) -> ast.expr:
        shown = self._rows[row]
        if column in shown.readable:
            return ast.Attribute(ast.Name(_OWN + row), column)
        where = f"{self._names.where}: line {node.lineno}: {shown.name}.{column}"
        if column in TRUE_COLUMNS:
            raise TruthError(f"{where}: true sizes are hidden from policies")
        raise BadInput(f"{where} does not exist; {nearest(column, shown.readable)}")

    def _index(self, node: ast.expr, known: frozenset[str]) -> ast.expr:
        """Return the place of a parameter: a number in bounds, or one that is computed and held there."""
        if not self._n_params:
            self._names.refuse(node, "is the place of a parameter, of which this policy has none")
        match node:
            case (
                ast.Constant(value=int() as place)
                | ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() as place))
            ):
                self._names.number(node)
                place = place if isinstance(node, ast.Constant) else self._n_params - place
                if not 0 <= place < self._n_params:
                    self._names.refuse(node, f"lies beyond the {self._n_params} parameters of this policy")
                return ast.Constant(place)
        return _call("held", self._value(node, known), ast.Constant(self._n_params - 1))

    def _called(self, node: ast.Call, known: frozenset[str]) -> ast.expr:
        match node:
            case ast.Call(func=ast.Name(id="len"), args=[ast.Name(id=self._params)], keywords=[]):
                return ast.Constant(float(self._n_params))
        module, name = self._names.meaning(node.func)
        if name not in FUNCTIONS.get(module, ()):
            self._names.refuse(node.func, "is no function that entries can use")
        least, most = FUNCTIONS[module][name]
        if node.keywords or not least <= len(node.args) <= most:
            self._names.refuse(
                node, f"gives {name} not {least if least == most else f'{least} to {most}'} plain arguments"
            )
        given = [self._value(one, known) for one in node.args]
        if (module, name) == ("builtins", "float"):
            return _float(*given)
        if name in ("floor", "ceil", "trunc", "int"):  # as floats, which have room for infinity
            module, name = "numpy", name.replace("int", "trunc")
        return _call(name if module == "builtins" else f"{module}.{name}", *given)


def _float(value: ast.expr) -> ast.expr:
    return ast.BinOp(value, ast.Mult(), ast.Constant(1.0))  # of a comparison too, which the compiler's `float` is not


def _number(value: float) -> ast.expr:
    if value < 0:
        return ast.UnaryOp(ast.USub(), _number(-value))
    return ast.Attribute(ast.Name("math"), "inf") if value == math.inf else ast.Constant(value)


def _call(name: str, *given: ast.expr) -> ast.Call:
    module, dot, part = name.partition(".")
    return ast.Call(ast.Attribute(ast.Name(module), part) if dot else ast.Name(name), list(given), [])

"""What the names and the numbers in an entry's `policy.py` stand for: functions that there are, and its own."""

import ast
import math
from typing import NoReturn

from llmqueue_gym.errors import BadInput

MOST_NUMBER = 1e300  # no quantity of a queue lies beyond

# Modules and their functions, each with the least and the most arguments.
BUILT_IN = {"abs": (1, 1), "float": (1, 1), "int": (1, 1), "min": (2, 8), "max": (2, 8)}
_BOTH = dict.fromkeys(("sqrt", "exp", "expm1", "log", "log1p", "log2", "log10", "sin", "cos", "tan"), (1, 1))
_BOTH |= dict.fromkeys(("sinh", "cosh", "tanh", "floor", "ceil", "trunc", "fabs", "isnan", "isinf"), (1, 1))
_BOTH |= {"isfinite": (1, 1), "hypot": (2, 2)}
_MATH = {"erf": (1, 1), "erfc": (1, 1), "atan": (1, 1), "pow": (2, 2)}
_NUMPY = {"abs": (1, 1), "sign": (1, 1), "arctan": (1, 1), "minimum": (2, 2), "maximum": (2, 2)}
FUNCTIONS = {"builtins": BUILT_IN, "math": _BOTH | _MATH, "numpy": _BOTH | _NUMPY}
CONSTANTS = {"pi": math.pi, "e": math.e, "inf": math.inf}  # of both modules


class Names:
    """What the names of a file stand for.

    Args:
        where: path of the file, for messages.

    Attributes:
        meanings: of names from outside: a module, "builtins" or "type", and the name in it; "" is the module itself.
        numbers: with names.
        functions: of the file, as they stand there.
        count: numbers in the text so far.
    """

    def __init__(self, where: str):
        self.where, self.count = where, 0
        self.meanings: dict[str, tuple[str, str]] = {name: ("builtins", name) for name in BUILT_IN}
        self.numbers: dict[str, float] = {}
        self.functions: dict[str, ast.FunctionDef] = {}

    def refuse(self, node: ast.AST, why: str = "is not of the language of entries") -> NoReturn:
        """Refuse a piece of the text."""
        words = ast.unparse(node).partition("\n")[0]
        words = words if len(words) <= 60 else f"{words[:57]}..."
        raise BadInput(f"{self.where}: line {getattr(node, 'lineno', 1)}: {words!r} {why}")

    def new(self, node: ast.AST, name: str) -> str:
        """Return a name that the text gives; refused if it stands for something else already, or is not plain."""
        if not name.isascii() or any(name in table for table in (self.meanings, self.numbers, self.functions)):
            self.refuse(node, f"gives {name!r} another meaning; names are plain ones that mean one thing")
        return name

    def meaning(self, node: ast.expr) -> tuple[str, str]:
        """Return the module and the name in it that a piece of text stands for; "" twice where it is no such."""
        match node:
            case ast.Name(id=name):
                return self.meanings.get(name, ("", ""))
            case ast.Attribute(value=ast.Name(id=name), attr=part):
                module, inside = self.meanings.get(name, ("", "?"))
                return ("", "") if inside else (module, part)
        return ("", "")

    def number(self, node: ast.expr) -> float:
        """Return a number of the text: digits, with a sign or not, a name of one, or a constant of a module."""
        match node:
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self.number(operand)
            case ast.Constant(value=int() | float() as value) if type(value) is not bool:
                self.count += 1
                if abs(value) > MOST_NUMBER:
                    self.refuse(node, f"is beyond {MOST_NUMBER:g}")
                return float(value)
            case ast.Name(id=name) if name in self.numbers:
                return self.numbers[name]
        module, name = self.meaning(node)
        if module not in ("math", "numpy") or name not in CONSTANTS:
            self.refuse(node)
        return CONSTANTS[name]

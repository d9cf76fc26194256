"""Names of a function's text: which of them it binds itself, and those from around it, which can be given other ones.

Each comprehension, and each function inside, is a scope of its own, whatever the version of Python makes of it.
"""

import ast
from collections.abc import Callable, Iterable
from typing import Any

_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


class Names(ast.NodeTransformer):
    """Gives names from around a function those that they have in the text; what it binds itself keeps its name.

    Args:
        renamed: function of a name from around that gives the one in the text.
    """

    def __init__(self, renamed: Callable[[str], str]):
        self._renamed = renamed
        self._local: list[set[str]] = []  # names of the function and of what is inside it, from the outermost on

    def of_function(self, node: ast.FunctionDef) -> ast.FunctionDef:
        """Rename in a whole function, whose defaults are literals."""
        self._inside(node, {*_arguments(node), *_bound(node.body)})
        return node

    def visit_Name(self, node: ast.Name) -> ast.Name:
        """Rename what no scope around it binds."""
        if any(node.id in names for names in self._local):
            return node
        return ast.Name(self._renamed(node.id), node.ctx)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        """Rename in a function inside: its defaults belong to what is around it."""
        without_hints(node)
        node.args = self.visit(node.args)
        self._inside(node, {*_arguments(node), *_bound(node.body)}, but=("args",))
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.Lambda:
        """Likewise."""
        node.args = self.visit(node.args)
        self._inside(node, set(_arguments(node)), but=("args",))
        return node

    def _comprehension(self, node: Any) -> Any:
        """Rename in a comprehension: what its first loop goes over belongs to what is around it."""
        first = node.generators[0]
        over, first.iter = self.visit(first.iter), ast.Constant(None)
        self._inside(node, {name for loop in node.generators for name in _bound([loop.target])})
        first.iter = over
        return node

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension

    def _inside(self, node: ast.AST, names: set[str], but: tuple[str, ...] = ()) -> None:
        """Rename in the parts of a node that binds names."""
        self._local.append(names)
        for field, part in ast.iter_fields(node):
            if field in but:
                continue
            if isinstance(part, ast.AST):
                setattr(node, field, self.visit(part))
            elif isinstance(part, list):
                part[:] = [self.visit(one) if isinstance(one, ast.AST) else one for one in part]
        self._local.pop()


def _bound(nodes: Iterable[ast.AST]) -> set[str]:
    """Return the names that nodes bind in the scope in which they stand, and not in one inside them."""
    names, ahead = set(), list(nodes)
    while ahead:
        node = ahead.pop()
        names.update(bound_by(node))
        if isinstance(node, _COMPREHENSIONS):
            ahead += [one.target for one in ast.walk(node) if isinstance(one, ast.NamedExpr)]
        elif not isinstance(node, (ast.FunctionDef, ast.Lambda)):
            ahead += ast.iter_child_nodes(node)
    return names


def bound_by(node: ast.AST) -> list[str]:
    """Return the names that one node binds by itself, its parts apart."""
    if isinstance(node, ast.Name):
        return [node.id] if isinstance(node.ctx, (ast.Store, ast.Del)) else []
    if isinstance(node, ast.arg):
        return [node.arg]
    if isinstance(node, ast.alias):
        return [node.asname or node.name.partition(".")[0]]
    return [node.name] if isinstance(node, (ast.FunctionDef, ast.ExceptHandler)) and node.name else []


def _arguments(node: ast.FunctionDef | ast.Lambda) -> list[str]:
    return [one.arg for one in ast.walk(node.args) if isinstance(one, ast.arg)]


def without_hints(node: ast.FunctionDef) -> None:
    """Drop decorators and the types of arguments and of what comes back, which mean nothing to the text."""
    node.decorator_list, node.returns = [], None
    for one in ast.walk(node.args):
        if isinstance(one, ast.arg):
            one.annotation = None

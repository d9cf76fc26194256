"""What the file of an entry may use: read in its text, before any of it is run."""

import ast
from pathlib import Path

from llmqueue_gym.errors import BadInput

# Arithmetic, and the types of policies. Files, modules and chance are out of its reach.
_MAY_IMPORT = ("math", "cmath", "numpy")
_TYPES = ("Policy", "DispatchPolicy", "PackingPolicy", "MoldablePolicy", "ServingPolicy")
_CALLS = ("open", "exec", "eval", "compile", "globals", "locals", "vars", "getattr", "setattr", "delattr", "input")
_PARTS = (
    *("random", "load", "loadtxt", "genfromtxt", "fromfile", "memmap", "open_memmap", "DataSource", "save", "savez"),
    *("tofile", "dump", "lib", "ctypeslib", "f2py", "testing", "sys", "os", "modules", "rec", "core", "*"),
)
_ALLOWED = (
    f"hidden sizes, seeds or files could be had by others than {', '.join(_MAY_IMPORT)} and the types "
    "of `llmqueue_gym.policies`"
)


def vet(path: Path) -> None:
    """Refuse a file that could reach hidden sizes, the reporting seeds, files or chance.

    Raises:
        BadInput: it could, or it is not Python; the message names the line.
    """
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise BadInput(f"{path}: line {error.lineno}: {error.msg}") from None
    for node in ast.walk(tree):
        _vet(node, path)


def _vet(node: ast.AST, path: Path) -> None:
    """Refuse a piece of the text."""
    line = f"{path}: line {getattr(node, 'lineno', 0)}"
    if isinstance(node, ast.Import):
        for alias in node.names:
            if alias.name not in _MAY_IMPORT:
                raise BadInput(f"{line}: imports {alias.name!r}; {_ALLOWED}")
    elif isinstance(node, ast.ImportFrom):
        module, names = node.module or "", [alias.name for alias in node.names]
        types = module.startswith("llmqueue_gym.policies") and all(name in _TYPES for name in names)
        if not types and (module not in _MAY_IMPORT or any(name in _PARTS for name in names)):
            raise BadInput(f"{line}: imports {', '.join(names)} from {module!r}; {_ALLOWED}")
    elif isinstance(node, ast.Name) and (node.id in _CALLS or node.id.startswith("__")):
        raise BadInput(f"{line}: {node.id!r} reaches beyond what a policy may see")
    elif isinstance(node, ast.Attribute) and node.attr.startswith("__"):
        raise BadInput(f"{line}: {node.attr!r} reaches beyond what a policy may see")
    elif isinstance(node, ast.Attribute) and node.attr in _PARTS:
        raise BadInput(
            f"{line}: {node.attr!r}: a policy is a fixed function of what it is shown, without chance and files"
        )

"""What the command line says of what there is, and docstrings as Markdown."""

import inspect
import json
import re
from collections.abc import Callable
from functools import cache
from typing import Any

from click.testing import CliRunner

from llmqueue_gym.cli import cli


@cache
def asked(*words: str) -> Any:
    """Return what `llmqueue WORDS --json` prints."""
    done = CliRunner().invoke(cli, [*words, "--json"], catch_exceptions=False)
    if done.exit_code:
        raise RuntimeError(f"llmqueue {' '.join(words)}: {done.output}")
    return json.loads(done.stdout)


def documented(thing: Callable[..., Any]) -> str:
    """Return what is written of what builds a thing: its docstring, or that of its file where it has none."""
    while hasattr(thing, "func"):
        thing = thing.func
    own = thing.__doc__
    return as_markdown(inspect.cleandoc(own) if own else inspect.getdoc(inspect.getmodule(thing)) or "")


def as_markdown(text: str) -> str:
    """Return a docstring in Google's style as Markdown: its sections become lists."""

    def listed(section: re.Match[str]) -> str:
        entries = re.findall(r"^    (\S[^:\n]*): (.*(?:\n     .*)*)", section[2], re.MULTILINE)
        if not entries:
            return f"**{section[1]}** {' '.join(section[2].split())}\n"
        lines = "\n".join(f"- `{name}`: {' '.join(words.split())}" for name, words in entries)
        return f"**{_HEADINGS[section[1]]}**\n\n{lines}\n"

    pattern = rf"^({'|'.join(_HEADINGS)}):\n((?:(?:    .*)?\n)*(?:    .*)?)"
    return re.sub(pattern, listed, text, flags=re.MULTILINE)


_HEADINGS = {"Args": "Parameters", "Attributes": "Parameters", "Raises": "Errors", "Returns": "Returned"}


def source_of(function: Callable[..., Any]) -> tuple[str, str]:
    """Return the code of a function, and its file within the package."""
    function = getattr(function, "py_func", function)
    code = inspect.getsource(function)
    path = inspect.getsourcefile(function) or ""
    return inspect.cleandoc(code) if code[0] == " " else code.rstrip(), path[path.rfind("llmqueue_gym/") :]

"""What the commands print: one JSON object, or tables."""

import contextlib
import importlib.util
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from llmqueue_gym.errors import BadInput
from llmqueue_gym.storage import check_place


def print_json(value: Any) -> None:
    """Print one JSON object; infinities and NaN as in stored results."""
    from llmqueue_gym.evaluation.results import plain

    click.echo(json.dumps(plain(value), indent=2, allow_nan=False))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows under a title."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold", show_header=any(columns))
    for column in columns:  # names, which stand first, are to be copied
        table.add_column(column, overflow="fold", no_wrap=bool(column) and column is columns[0])
    for row in rows:
        table.add_row(*(Text(_text(cell)) for cell in row))
    Console().print(table)


def print_result(title: str, result: Mapping[str, Any]) -> None:
    """Print a result as a table of its numbers, and one more table for each list of rows in it."""
    lists = {key: value for key, value in result.items() if isinstance(value, list) and value}
    lists = {key: value for key, value in lists.items() if all(isinstance(row, Mapping) for row in value)}
    scalars = [(key, value) for key, value in result.items() if key not in lists and key != "provenance"]
    if scalars:
        print_table(title, ("", ""), scalars)
    for key, rows in lists.items():
        columns = list(dict.fromkeys(column for row in rows for column in row))
        print_table(key, columns, [[row.get(column, "") for column in columns] for row in rows])


def _text(cell: Any) -> str:
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 1e5 else f"{cell:.5g}"
    if isinstance(cell, int) and not isinstance(cell, bool):
        return f"{cell:,}"
    if isinstance(cell, (list, tuple)):
        return ", ".join(_text(entry) for entry in cell)
    return "" if cell is None else str(cell)


def check_picture(path: str) -> None:
    """Refuse a picture that could not be drawn or written, before the minutes of work and not after them."""
    kinds = (".png", ".svg", ".pdf")
    if Path(path).suffix not in kinds:
        raise BadInput(f"--plot {path}: end the name in one of {', '.join(kinds)}")
    check_place(path, f"--plot {path}")
    if not importlib.util.find_spec("matplotlib"):
        raise BadInput(f"--plot {path} needs matplotlib; pip install matplotlib")


@contextlib.contextmanager
def progress_bar(words: str, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Show a bar on stderr, gone when done; yields what moves it, called with (done, total)."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(words, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)

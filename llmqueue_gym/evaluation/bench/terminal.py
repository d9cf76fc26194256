"""What all tracks show on a terminal: the ranking."""

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from llmqueue_gym.evaluation.bench.information import TRUTH

Row = Mapping[str, Any]


def show_ranking(found: Row, console: Console, name: str, last: str) -> None:
    """Print the ranking, those that are told the truth below the others.

    Args:
        found: numbers of a track.
        console: where to.
        name: title of the table.
        last: the kind of cases whose score has the last column; a key of `score_in`.
    """
    table = new_table(name)
    for column, justify in (("", "right"), ("policy", "left"), ("told", "left"), ("score", "right"), ("95%", "left")):
        table.add_column(column, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("p99", justify="right", no_wrap=True)
    table.add_column(last, justify="right", no_wrap=True)
    for apart in (False, True):
        place = 0
        for row in found["ranking"]:
            if (row["sees"] == TRUTH) == apart:
                place += 1
                score, tail = row["score"], row["p99_ratio"]
                low, mean, high = (_short(score[end]) for end in ("low", "mean", "high"))
                numbers = mean, f"{low} to {high}", f"{tail['mean']:.2f}"
                within = row["score_in"].get(last)
                end = "" if within is None else _short(within)
                table.add_row("" if apart else str(place), row["policy"], row["sees"], *numbers, end)
        table.add_section()
    console.print(table)


def _short(score: float) -> str:
    return f"{score:.3f}" if score >= 0 else f"{score:.2f}" if score > -1 else f"{score:.1f}"


def new_table(name: str) -> Table:
    """Return an empty table."""
    style = {"title_justify": "left", "title_style": "bold", "header_style": "bold", "box": SIMPLE}
    return Table(title=name, pad_edge=False, collapse_padding=True, **style)  # type: ignore[arg-type]

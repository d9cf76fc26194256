"""What a terminal shows of boards: rankings, winners, and how theory and simulation agree."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from llmqueue_gym.boards.board import Board
from llmqueue_gym.boards.words import ahead
from llmqueue_gym.policies import TRUTH

Row = Mapping[str, Any]
_TOLD = {"nothing": "-", "prediction": "pred.", "truth": "truth"}


def show_ranking(on: Board, rows: Sequence[Row], console: Console, mark: str = "") -> None:
    """Print a ranking; who is trained has a star, who is told the truth no place.

    Args:
        on: the board.
        rows: of `standings.ranking`.
        console: where to.
        mark: name of a policy that stands out.
    """
    table = new_table(f"{on.title} (board {on.name})")
    for column in ("", "policy", "told", "score", "95 %", "p99", "better"):
        table.add_column(column, justify="left" if column in ("policy", "told", "95 %") else "right", no_wrap=True)
    for place, row in enumerate(rows, 1):
        score, name = row["score"], row["policy"] + (" *" if row["learned"] else "")
        interval = f"{score['low']:.3f} {score['high']:.3f}"
        better = "" if row["policy"] == row["best_by_hand"] else f"{row['better']:.2f}"
        numbers = (f"{score['mean']:.3f}", interval, f"{row['p99_ratio']:.2f}", better)
        where = "" if row["told"] == TRUTH else str(place)
        table.add_row(where, name, _TOLD[row["told"]], *numbers, style="bold" if row["policy"] == mark else None)
    console.print(table)
    best = rows[0]["best_by_hand"]
    console.print(f"p99: over that of {on.base}. Better: how often it has less cost than {best}.\n", highlight=False)


def show_winners(won: Sequence[Row], console: Console) -> None:
    """Print who has the least cost in each scenario."""
    table = new_table("Who wins where")
    for column in ("scenario", "least cost", "cost", "p99", "ahead of the next by, 95 %"):
        table.add_column(column, overflow="fold", justify="right" if column in ("cost", "p99") else "left")
    for row in won:
        same = f" (+{len(row['same'])} alike)" if row["same"] else ""
        ratios = (f"{row['cost_over_base']:.2f}", f"{row['p99_over_base']:.2f}")
        table.add_row(row["scenario"], row["policy"] + same, *ratios, ahead(row))
    console.print(table)


def new_table(name: str) -> Table:
    """Return an empty table."""
    style: Any = {"title_justify": "left", "title_style": "bold", "header_style": "bold", "box": SIMPLE}
    return Table(title=name, pad_edge=False, collapse_padding=True, **style)

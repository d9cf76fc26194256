"""The blocks of HTML that the pages of all tracks share: the ranking, and the table of all numbers."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from llmqueue_gym.evaluation.bench.parts import heads, ranking_figure, ranking_row

Row = Mapping[str, Any]


def ranking(
    rows: Sequence[Row], kinds: Mapping[str, str], bound: str, more: str = "", base: str = "FCFS", caption: str = ""
) -> str:
    """Return the ranking as a figure and a table.

    Args:
        rows: of the ranking, best first.
        kinds: kinds of cases that have a column of scores, and its head.
        bound: who has score 1.
        more: a sentence at the end of the note.
        base: who has score 0, in a word.
        caption: what the score is; the usual words unless told otherwise.
    """
    return _template("ranking").substitute(
        figure=ranking_figure(rows, bound, base, caption),
        head=heads(("policy", "told", "score", "95%", *kinds.values(), f"p99 / {base}"), first_words=2),
        rows="".join(ranking_row(row, list(kinds)) for row in rows),
        base=base,
        more=f" {more}" if more else "",
    )


def numbers(names: Sequence[str], rows: Iterable[str], units: str, example: str) -> str:
    """Return the section with all numbers.

    Args:
        names: heads of the columns; the first five are words.
        rows: of the table, in HTML.
        units: a sentence on them.
        example: of what one may look for.
    """
    return _template("numbers").substitute(
        units=units, example=example, head=heads(names, first_words=5), rows="".join(rows)
    )


def _template(name: str) -> Template:
    return Template(Path(__file__).with_name(f"{name}.html").read_text(encoding="utf-8").rstrip("\n"))

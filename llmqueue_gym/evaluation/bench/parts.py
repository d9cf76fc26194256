"""What the pages of all tracks have: table cells, the ranking as a figure and as a table, warnings."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from llmqueue_gym.evaluation.bench import drawing
from llmqueue_gym.evaluation.bench.data import told
from llmqueue_gym.evaluation.bench.information import TRUTH

Row = Mapping[str, Any]
WORST = -1.0  # left end of the figure of scores


def heads(names: Sequence[str], first_words: int) -> str:
    """Return the heads of a table that can be sorted; the first columns are words, the others numbers."""
    return "".join(
        f'<th class="{"" if i < first_words else "n"}"><button type="button">{escape(name)}</button></th>'
        for i, name in enumerate(names)
    )


def tr(cells: Sequence[str], look: str = "") -> str:
    """Return a row of cells."""
    return f'<tr class="{look}">{"".join(cells)}</tr>'


def word(text: str, look: str = "") -> str:
    """Return a cell with words."""
    return f'<td class="{look}">{escape(text)}</td>' if look else f"<td>{escape(text)}</td>"


def number(value: float | None, form: str, text: str | None = None) -> str:
    """Return a cell with a number, which may be shown as another text; None leaves it empty."""
    if value is None:
        return '<td class="n" data-v=""></td>'
    return f'<td class="n" data-v="{value:.6g}">{escape(format(value, form) if text is None else text)}</td>'


def warnings(found: Row, blocks: Mapping[str, str]) -> str:
    """Return a warning for each block that was played without its data file."""
    played = {case["block"] for case in found["cases"]}
    notes = [(b, note) for b, note in found["data"].items() if b in played and note["embedded"]]
    return "".join(
        f'<p class="warn"><strong>{escape(blocks[b])}.</strong> {escape(told(note))}</p>' for b, note in notes
    )


def ranking_figure(ranking: Sequence[Row], bound: str, base: str = "FCFS", caption: str = "") -> str:
    """Return the scores with their intervals; those that are told the truth stand apart.

    Args:
        ranking: rows, best first.
        bound: who has score 1.
        base: who has score 0, in a word.
        caption: what the score is; the usual words unless told otherwise.
    """
    low = max(WORST, min(0.0, min(row["score"]["low"] for row in ranking)))
    scale, ticks = drawing.linear(low, 1.0), [tick for tick in (-1.0, -0.5, 0.0, 0.25, 0.5, 0.75, 1.0) if tick >= low]
    parts = []
    for apart in (False, True):
        group = [row for row in ranking if (row["sees"] == TRUTH) == apart]
        if apart and group:
            parts.append('<p class="apart">told the truth</p>')
        for place, row in enumerate(group):
            score, look = row["score"], row["sees"]
            words = f"{row['policy']}: {score['mean']:.3f} ({score['low']:.3f} to {score['high']:.3f})"
            marks = [drawing.bar(scale(score["low"]), scale(score["high"]), look)]
            marks.append(drawing.dot(scale(score["mean"]), look, words))
            best = "best" if place == 0 and not apart else ""
            value = f"{score['mean']:.3f}" if score["mean"] > -10 else f"{score['mean']:.0f}"
            parts.append(drawing.row(row["policy"], drawing.track(marks, ticks, scale), value, f"{look} {best}"))
    labels = [(0.0, base), (0.5, "0.5"), (1.0, bound)] + ([(WORST, f"{WORST:g}")] if low == WORST else [])
    beyond = f" What is worse than {WORST:g} stands at the edge." if low == WORST else ""
    usual = f"Score: the share of {base}'s excess over {bound} that a policy removes, all cases, with 95% intervals."
    return "".join(parts) + drawing.axis(labels, scale, (caption or usual) + beyond)


def ranking_row(row: Row, kinds: Sequence[str]) -> str:
    """Return a policy's row in the table of the ranking; `kinds` are the columns of scores within kinds of cases."""
    score = row["score"]
    cells = [word(row["policy"]), word(row["sees"]), number(score["mean"], ".3f")]
    cells.append(number(score["low"], ".3f", f"{score['low']:.3f} to {score['high']:.3f}"))
    cells += [number(row["score_in"].get(kind), ".3f") for kind in kinds]
    cells.append(number(row["p99_ratio"]["mean"], ".2f"))
    return tr(cells, row["sees"])

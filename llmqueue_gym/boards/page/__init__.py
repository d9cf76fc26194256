"""Boards as one web page that needs nothing else: no network, no library, no font.

`page` is a pure function of what was found, be it stored or just played, and the same version of the library writes the
same bytes. Tables and words are in the HTML, so they are there without a script; the rest is drawn from the page's data
by the scripts beside this file.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from llmqueue_gym.boards.page.parts import joined
from llmqueue_gym.boards.page.sections import HERE, filled, section
from llmqueue_gym.boards.ranked import Ranked
from llmqueue_gym.boards.words import markdown
from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.results import plain
from llmqueue_gym.storage import write_text

__all__ = ["page", "put_tables", "write"]

SCRIPTS = ("table.js", "plots.js", "recording.js", "player.js", "boards.js")
_BLOCK = re.compile(r"<!-- leaderboard -->.*?<!-- /leaderboard -->", re.DOTALL)


def page(
    found: Sequence[Ranked],
    title: str,
    lede: str,
    provenance: Mapping[str, Sequence[str]],
    more: Markup = Markup(""),  # noqa: B008
) -> str:
    """Return the page.

    Args:
        found: the boards.
        title: of the page, in two words.
        lede: a sentence below it.
        provenance: where the numbers come from, lines by heading.
        more: HTML of the footer.
    """
    data = {ranked.on.name: _data(ranked) for ranked in found}
    text = json.dumps(_short(plain(data)), separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return filled(
        "index",
        title=title,
        lede=lede,
        style=_own("style.css"),
        tabs=_tabs(found),
        boards=joined((section(ranked, shown=ranked is found[0]) for ranked in found), "\n"),
        data=Markup(text.replace("<", "\\u003c")),  # neither "</script" nor "<!--" may stand in a script
        script=joined(map(_own, SCRIPTS), "\n"),
        provenance=joined(_told(key, values) for key, values in provenance.items()),
        more=more,
    )


def put_tables(readme: Path, found: Sequence[Ranked]) -> None:
    """Replace what stands in a README between `<!-- leaderboard -->` and `<!-- /leaderboard -->` with the tables.

    Raises:
        BadInput: there is no such file, or no such place in it.
    """
    try:
        text = readme.read_text(encoding="utf-8")
    except (OSError, ValueError):
        raise BadInput(f"{readme}: no such text file") from None
    tables = "\n\n".join(markdown(ranked.on, ranked.rows) for ranked in found)
    block = f"<!-- leaderboard -->\n{tables}\n<!-- /leaderboard -->"
    new, count = _BLOCK.subn(lambda _: block, text)
    if count != 1:
        raise BadInput(
            f"{readme}: {count} places for the tables; mark one by <!-- leaderboard --> and <!-- /leaderboard -->"
        )
    write_text(readme, new)


def _own(name: str) -> Markup:
    """Return a file of this folder as it is."""
    return Markup((HERE / name).read_text(encoding="utf-8"))


def _told(key: str, values: Sequence[str]) -> Markup:
    return Markup("<dt>{}</dt>{}").format(key, joined(Markup("<dd>{}</dd>").format(value) for value in values))


def _tabs(found: Sequence[Ranked]) -> Markup:
    groups: dict[str, list[Markup]] = {}
    for ranked in found:
        link = Markup('<a href="#{}">{}</a>').format(ranked.on.name, ranked.on.short)
        groups.setdefault(ranked.on.heading, []).append(link)
    group = Markup('<span class="group"><span class="track-name">{}</span>{}</span>')
    return joined(group.format(heading, joined(links)) for heading, links in groups.items())


def _data(ranked: Ranked) -> dict[str, Any]:
    """Return what the scripts draw of a board."""
    on = ranked.on
    keys = ("policy", "told", "learned", "description", "command", "score")
    rows = []
    for row in ranked.rows:
        numbers = [
            [
                *at["cost"].values(),
                at["score"],
                at["p99_ratio"],
                *at["ahead_of_best"].values(),
                *at["shown"].values(),
            ]
            for at in row["scenarios"]
        ]
        rows.append({**{key: row[key] for key in keys}, "scenarios": numbers})
    about = {"title": on.title, "cost": on.cost, "base": on.base, "best": ranked.rows[0]["best_by_hand"]}
    drawn = ("scenario", "policy", "value", "mean", "low", "high", "inside")
    exact = [{key: check[key] for key in drawn} for check in ranked.checks if "inside" in check]
    more = {"exact": exact, "curves": ranked.curves, "episode": ranked.episode}
    return {**about, "scenarios": list(on.fields), "shown": list(ranked.rows[0]["shown"]), "rows": rows, **more}


def _short(value: Any) -> Any:
    """Return a value whose numbers have no more digits than a plot can show."""
    if isinstance(value, dict):
        return {key: _short(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_short(entry) for entry in value]
    return float(f"{value:.6g}") if isinstance(value, float) and np.isfinite(value) else value

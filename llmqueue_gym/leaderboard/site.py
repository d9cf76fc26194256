"""The leaderboard as one web page that needs nothing else: no network, no library, no font.

`gather` reads what is stored and records the episodes, `page` is a pure function of what it found, and the same version
of the library writes the same bytes. Tables and headlines are in the HTML, so they are there without a script; the rest
is drawn from the page's data by the scripts in `page/`.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib import metadata
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.bench import drawing
from llmqueue_gym.evaluation.bench.parts import number, tr, word
from llmqueue_gym.evaluation.results import plain
from llmqueue_gym.evaluation.statistics import Estimate, stratified_bootstrap
from llmqueue_gym.leaderboard.boards import BOARDS, TRACKS, Board
from llmqueue_gym.leaderboard.entries import CARD, TRUTH, registered
from llmqueue_gym.leaderboard.episodes import EPISODES, record
from llmqueue_gym.leaderboard.run import BOUND, folders, stored
from llmqueue_gym.leaderboard.table import costs, markdown, table
from llmqueue_gym.policies.learned import zoo_folder

Row = dict[str, Any]
PAGE = Path(__file__).with_name("page")
SCRIPTS = ("table.js", "plots.js", "recording.js", "player.js", "boards.js")
SHORT = {
    "mg1": "One server",
    "central": "Shared queue",
    "dispatch": "Dispatching",
    "impatient": "Impatient jobs",
    "packing": "Packing",
    "llm": "One GPU",
}
_BLOCK = re.compile(r"<!-- leaderboard -->.*?<!-- /leaderboard -->", re.DOTALL)


@dataclass(frozen=True)
class Ranked:
    """What the page shows of a board.

    Attributes:
        on: the board.
        rows: its table.
        headline: who leads, in a sentence.
        curves: of its trained policies.
        episode: recorded runs, or None.
    """

    on: Board
    rows: list[Row]
    headline: str
    curves: list[Row] = field(default_factory=list)
    episode: Row | None = None


# Reading what is stored.


def gather(folder: Path) -> tuple[list[Ranked], list[str]]:
    """Return the boards that have results, and for each of the others a line.

    Raises:
        BadInput: a result or a card is not what it should be.
    """
    found, notes, told = [], [], cards(folder)
    for on in BOARDS.values():
        results = stored(folder, on)
        missing = [name for name in (on.base, BOUND) if name not in results]
        if missing:
            notes.append(f"board {on.name!r} is left out: no result of {' and of '.join(map(repr, missing))}")
            continue
        rows, episode = table(on, results), None
        if on.name in EPISODES:
            players = [player for player in (*registered(on), *folders(folder, on)) if player.name in results]
            made = record(EPISODES[on.name], players)
            episode = made if made["runs"] else None
        curves = [curve(row["policy"], told[row["policy"]]) for row in rows if row["policy"] in told]
        found.append(Ranked(on, rows, headline(on, rows, results), [c for c in curves if c["points"]], episode))
    return found, notes


def cards(folder: Path) -> dict[str, Row]:
    """Return the cards with a learning curve, of the zoo and of added entries, by name."""
    found = {}
    for path in (*sorted(zoo_folder().glob(f"*/*/{CARD}")), *sorted((folder / "entries").glob(f"*/*/{CARD}"))):
        try:
            card = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise BadInput(f"{path}: not JSON ({error})") from None
        if card.get("curve"):
            found[card["name"]] = card
    return found


def curve(name: str, card: Mapping[str, Any]) -> Row:
    """Return a learning curve: its points, and in words what is across and what is up.

    A row of the curve begins with a cost so far and ends with the score. A card does not say which of its costs it is,
    so it is the one that the last row reaches.

    Raises:
        BadInput: a row is something else.
    """
    try:
        rows = [(float(row[0]), float(row[-1])) for row in card["curve"]]
    except (TypeError, ValueError, IndexError, KeyError):
        raise BadInput(f"the card of {name!r}: curve must be rows of (cost so far, score so far)") from None
    points = [[x, y] for x, y in rows if np.isfinite(x) and np.isfinite(y)]
    spent = points[-1][0] if points else 0.0
    units = [key for key, total in card["cost"].items() if _near(total, spent)]
    score = card.get("score")
    up = next(iter(score)) if isinstance(score, Mapping) and score else "score"
    return {"policy": name, "across": units[0] if units else "cost so far", "up": up, "points": points}


def _near(total: Any, spent: float) -> bool:
    return isinstance(total, (int, float)) and abs(total - spent) <= 0.05 * max(spent, 1e-12)


# The headline.


def headline(on: Board, rows: Sequence[Row], results: Mapping[str, Row]) -> str:
    """Return who leads and by how much, in a sentence; who is told the truth does not count."""
    honest = [row for row in rows if row["sees"] != TRUTH]
    first, hand = honest[0]["policy"], honest[0]["best_by_hand"]
    if first != hand:
        return _sentence(on, lead(on, results, first, hand), first, hand, "the best made by hand")
    if len(honest) == 1:
        return f"{first} is alone so far."
    return _sentence(on, lead(on, results, first, honest[1]["policy"]), first, honest[1]["policy"], "the next")


def lead(on: Board, results: Mapping[str, Row], ahead: str, behind: str) -> Estimate:
    """Return by what share the cost of one policy is less than another's on the same jobs, with a 95 % interval.

    It is the interquartile mean over all scenarios and seeds, with the interval of the bootstrap within scenarios.
    """
    a, b = costs(on, results[ahead]), costs(on, results[behind])
    share = np.divide(a, b, out=np.ones_like(a), where=(a != b) & np.isfinite(b) & (b != 0))
    return stratified_bootstrap(np.maximum(1 - share, -1.0))


def _sentence(on: Board, by: Estimate, first: str, other: str, who: str) -> str:
    interval = f"95 % interval {_percent(by.low)} to {_percent(by.high)}"
    if by.low <= 0 <= by.high:
        return f"{first} and {other}, {who}, are tied: the lead is {_percent(by.mean)} ({interval})."
    what = on.cost.partition(",")[0]
    more = "less" if by.mean > 0 else "more"
    return f"{first} leads: its {what} is {_percent(abs(by.mean))} {more} than that of {other}, {who} ({interval})."


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %".replace("-0.0", "0.0").replace("-", "\N{MINUS SIGN}")


# The page.


def page(found: Sequence[Ranked], notes: Sequence[str] = ()) -> str:
    """Return the page."""
    tabs = []
    for track, title in TRACKS.items():
        links = [
            f'<a href="#{r.on.name}">{SHORT.get(r.on.name, escape(r.on.name))}</a>'
            for r in found
            if r.on.track == track
        ]
        if links:
            tabs.append(f'<span class="group"><span class="track-name">{escape(title)}</span>{"".join(links)}</span>')
    data = {r.on.name: _data(r) for r in found}
    text = json.dumps(_short(plain(data)), separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return Template((PAGE / "index.html").read_text(encoding="utf-8")).substitute(
        style=(PAGE / "style.css").read_text(encoding="utf-8"),
        tabs="".join(tabs),
        boards="\n".join(_section(r, shown=r is found[0]) for r in found),
        data=text.replace("<", "\\u003c"),  # neither "</script" nor "<!--" may stand in a script
        script="\n".join((PAGE / name).read_text(encoding="utf-8") for name in SCRIPTS),
        provenance=_provenance(found, notes),
    )


def _section(ranked: Ranked, shown: bool) -> str:
    on, rows = ranked.on, ranked.rows
    low = max(-1.0, min(0.0, *(row["score"]["low"] for row in rows)))
    heads = {"": "n", "policy": "", "told": "told", "score": "n", "in a plot": "plot", "95 %": "n wide"}
    heads |= {f"p99 / {on.base}": "n", f"beats {rows[0]['best_by_hand']}": "n"}
    return Template((PAGE / "board.html").read_text(encoding="utf-8")).substitute(
        name=on.name,
        hidden="" if shown else " hidden",
        headline=escape(ranked.headline),
        title=escape(on.title),
        cost=escape(on.cost),
        base=escape(on.base),
        best=escape(rows[0]["best_by_hand"]),
        scenarios=len(on.arenas),
        seeds=len(on.seeds),
        heads="".join(
            f'<th scope="col" class="{look}">'
            + (f'<button type="button">{escape(name)}</button></th>' if name else "</th>")
            for name, look in heads.items()
        ),
        rows="".join(_tr(place, row, low) for place, row in enumerate(rows, 1)),
        curves='<section class="curves"></section>' if ranked.curves else "",
        player='<section class="player"></section>' if ranked.episode else "",
    )


def _tr(place: int, row: Row, low: float) -> str:
    score, truth = row["score"], row["sees"] == TRUTH
    scale = drawing.linear(low, 1.0)
    marks = [drawing.bar(scale(score["low"]), scale(score["high"]), row["sees"])]
    marks.append(drawing.dot(scale(score["mean"]), row["sees"]))
    trained = ' <span class="trained">trained</span>' if row["learned"] else ""
    name = f'<button type="button" class="open" data-policy="{escape(row["policy"])}">{escape(row["policy"])}</button>'
    cells = [
        '<td class="n place" data-v=""></td>' if truth else f'<td class="n place" data-v="{place}">{place}</td>',
        f'<td class="name" data-v="{escape(row["policy"])}">{name}{trained}</td>',
        word(row["sees"], "told"),
        number(score["mean"], ".3f"),
        f'<td class="plot" data-v="{score["low"]:.6g}">{drawing.track(marks, (0.0, 0.5, 1.0), scale)}</td>',
        number(score["high"] - score["low"], ".3f", f"{score['low']:.3f} to {score['high']:.3f}").replace(
            'class="n"', 'class="n wide"'
        ),
        number(row["p99_ratio"], ".2f") if np.isfinite(row["p99_ratio"]) else number(None, ""),
        number(row["better"], ".2f") if row["policy"] != row["best_by_hand"] else number(0.5, "", "\N{EM DASH}"),
    ]
    return tr(cells, row["sees"])


def _data(ranked: Ranked) -> Row:
    """Return what the scripts draw of a board."""
    on = ranked.on
    keys = ("policy", "sees", "learned", "description", "command", "score", "arenas")
    rows = [{key: row[key] for key in keys} for row in ranked.rows]
    for row in rows:
        row["arenas"] = [
            [*arena["cost"].values(), arena["score"], arena["p99_ratio"], *arena["ahead_of_best"].values()]
            for arena in row["arenas"]
        ]
    about = {"title": on.title, "cost": on.cost, "base": on.base, "best": ranked.rows[0]["best_by_hand"]}
    names = [arena.name for arena in on.arenas]
    return {**about, "arenas": names, "rows": rows, "curves": ranked.curves, "episode": ranked.episode}


def _short(value: Any) -> Any:
    """Return a value whose numbers have no more digits than a plot can show."""
    if isinstance(value, dict):
        return {key: _short(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_short(entry) for entry in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _provenance(found: Sequence[Ranked], notes: Sequence[str]) -> str:
    boards = [
        f"{r.on.name} version {r.on.version}, {len(r.on.arenas)} scenarios, seeds {r.on.seeds[0]} to {r.on.seeds[-1]}, "
        f"{len(r.rows)} policies"
        for r in found
    ]
    words = {
        "Software": [f"llmqueue-gym {metadata.version('llmqueue-gym')}"],
        "Boards": boards,
        **({"Left out": notes} if notes else {}),
    }
    return "".join(
        f"<dt>{escape(key)}</dt>" + "".join(f"<dd>{escape(value)}</dd>" for value in values)
        for key, values in words.items()
    )


# Writing.


def write(path: Path, text: str) -> None:
    """Write a file; whoever reads it meets the old one or the new one, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def put_tables(readme: Path, found: Sequence[Ranked]) -> None:
    """Replace what stands in a README between `<!-- leaderboard -->` and `<!-- /leaderboard -->` with the tables.

    Raises:
        BadInput: there is no such file, or no such place in it.
    """
    try:
        text = readme.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadInput(f"{readme}: no such file") from None
    tables = "\n\n".join(markdown(r.on, r.rows) for r in found)
    block = f"<!-- leaderboard -->\n{tables}\n<!-- /leaderboard -->"
    new, count = _BLOCK.subn(lambda _: block, text)
    if count != 1:
        raise BadInput(
            f"{readme}: {count} places for the tables; mark one by <!-- leaderboard --> and <!-- /leaderboard -->"
        )
    write(readme, new)

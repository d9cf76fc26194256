"""The section of a board: its ranking, who wins where, policies side by side, and what theory says."""

from html import escape
from pathlib import Path
from string import Template
from typing import Any

from llmqueue_gym.boards.page import parts
from llmqueue_gym.boards.page.parts import number, tr, word
from llmqueue_gym.boards.ranked import Ranked
from llmqueue_gym.boards.words import ahead
from llmqueue_gym.policies import TRUTH

Row = dict[str, Any]
HERE = Path(__file__).parent


def template(name: str) -> Template:
    """Return a file of this folder with places for what goes in."""
    return Template((HERE / f"{name}.html").read_text(encoding="utf-8"))


def section(ranked: Ranked, shown: bool) -> str:
    """Return the section of a board; all but one are hidden at first."""
    on, rows = ranked.on, ranked.rows
    low = max(-1.0, min(0.0, *(row["score"]["low"] for row in rows)))
    heads = {"": "n", "policy": "", "told": "told", "score": "n", "in a plot": "plot", "95 %": "n wide"}
    heads |= {f"p99 / {on.base}": "n", f"beats {rows[0]['best_by_hand']}": "n"}
    return template("board").substitute(
        name=on.name,
        hidden="" if shown else " hidden",
        headline=escape(ranked.headline),
        title=escape(on.title),
        cost=escape(on.cost),
        base=escape(on.base),
        best=escape(rows[0]["best_by_hand"]),
        scenarios=len(on.fields),
        seeds=len(on.seeds),
        warnings="".join(f'<p class="warn">{escape(words)}</p>\n' for words in ranked.warnings),
        found=parts.items(ranked.sentences),
        heads=parts.heads(heads, buttons=True),
        rows="".join(_tr(place, row, low) for place, row in enumerate(rows, 1)),
        winners=_winners(ranked),
        beside=_beside(ranked) if on.beside else "",
        theory=_theory(ranked) if ranked.checks else "",
        curves='<section class="curves"></section>' if ranked.curves else "",
        player='<section class="player"></section>' if ranked.episode else "",
    )


def _tr(place: int, row: Row, low: float) -> str:
    score, truth = row["score"], row["told"] == TRUTH
    trained = ' <span class="trained">trained</span>' if row["learned"] else ""
    name = f'<button type="button" class="open" data-policy="{escape(row["policy"])}">{escape(row["policy"])}</button>'
    cells = [
        '<td class="n place" data-v=""></td>' if truth else f'<td class="n place" data-v="{place}">{place}</td>',
        f'<td class="name" data-v="{escape(row["policy"])}">{name}{trained}</td>',
        word(row["told"], "told"),
        number(score["mean"], ".3f"),
        f'<td class="plot" data-v="{score["low"]:.6g}">{parts.interval(score, low, row["told"])}</td>',
        number(score["high"] - score["low"], ".3f", f"{score['low']:.3f} to {score['high']:.3f}", "wide"),
        number(row["p99_ratio"], ".2f"),
        number(row["better"], ".2f") if row["policy"] != row["best_by_hand"] else number(0.5, "", "\N{EM DASH}"),
    ]
    return tr(cells, row["told"])


def _winners(ranked: Ranked) -> str:
    base, some = ranked.on.base, parts.has(ranked.results, "preemptions_per_job")
    heads = {"scenario": "first", "least cost": "", "cost": "n", "p99": "n"}
    heads |= {"preemptions": "n"} if some else {}
    heads |= {"ahead of the next by, 95 %": "", "least p99": ""}
    rows = []
    for won in ranked.winners:
        same = f" (same: {', '.join(won['same'])})" if won["same"] else ""
        cells = [word(won["scenario"], "first"), word(won["policy"] + same)]
        cells += [number(won["cost_over_base"], ".2f"), number(won["p99_over_base"], ".2f")]
        if some:
            both = [parts.per_100(ranked.results[name], won["scenario"]) for name in (won["policy"], base)]
            cells.append(number(both[0], ".0f", f"{both[0]:.0f} / {both[1]:.0f}"))
        least = f"{won['least_p99']}, {won['least_p99_over_base']:.2f}"
        rows.append(tr([*cells, word(ahead(won), "loose"), word(least, "loose")]))
    more = f" Preemptions per 100 jobs, of the winner / of {escape(base)}." if some else ""
    return template("winners").substitute(heads=parts.heads(heads), rows="".join(rows), base=escape(base), more=more)


def _beside(ranked: Ranked) -> str:
    names, base = [name for name in ranked.on.beside if name in ranked.results], ranked.results[ranked.on.base]
    rows = []
    for scenario in ranked.on.fields:
        ratios = [parts.over(ranked.results[name], base, scenario, "cost") for name in names]
        cells = [word(scenario)]
        for name, ratio in zip(names, ratios, strict=True):
            tail = parts.over(ranked.results[name], base, scenario, "p99")
            words = f"{ratio:.2f}, {tail:.2f}, {parts.per_100(ranked.results[name], scenario):.0f}"
            cells.append(number(ratio, ".2f", words, "strong" if ratio == min(ratios) else ""))
        rows.append(tr(cells))
    heads = {"scenario": "", **dict.fromkeys(names, "n")}
    return template("beside").substitute(heads=parts.heads(heads), rows="".join(rows), base=escape(ranked.on.base))


def _theory(ranked: Ranked) -> str:
    heads = {"scenario": "", "policy": "", "what": "", "theory": "n", "simulated": "n", "95 %": "wide", "off by": "n"}
    heads |= {"inside": "", "rests on": ""}
    rows = []
    for check in sorted(ranked.checks, key=lambda check: "inside" not in check):
        inside = {True: "yes", False: "no", None: ""}[check.get("inside")]
        kind = "" if check["kind"] == "exact" else f" ({check['kind']})"
        cells = [word(check["scenario"]), word(check["policy"]), word(check["metric"].replace("_", " ") + kind)]
        cells += [number(check["value"], ".4g"), number(check["mean"], ".4g")]
        cells.append(word(f"{check['low']:.4g} to {check['high']:.4g}", "wide"))
        cells.append(number(check["mean"] / check["value"] - 1, "+.1%"))
        rows.append(tr([*cells, word(inside, "out" if inside == "no" else ""), word(check["source"])]))
    return template("theory").substitute(
        heads=parts.heads(heads | {"rests on": ""}),
        rows="".join(rows),
    )

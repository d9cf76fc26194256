"""The section of a board: its ranking, who wins where, policies side by side, and what theory says."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from llmqueue_gym.boards.page import parts
from llmqueue_gym.boards.page.parts import joined, number, td, tr
from llmqueue_gym.boards.ranked import Ranked
from llmqueue_gym.boards.words import ahead
from llmqueue_gym.policies import TRUTH

Row = dict[str, Any]
HERE = Path(__file__).parent
_TEMPLATES = Environment(
    loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
)


def filled(file: str, **given: Any) -> Markup:
    """Return a file of this folder with what is given in its places, escaped unless it is `Markup`."""
    return Markup(_TEMPLATES.get_template(f"{file}.html").render(given))


def section(ranked: Ranked, shown: bool) -> Markup:
    """Return the section of a board; all but one are hidden at first."""
    on, rows = ranked.on, ranked.rows
    low = max(-1.0, min(0.0, *(row["score"]["low"] for row in rows)))
    heads = {"": "n", "policy": "", "told": "told", "score": "n", "in a plot": "plot", "95 %": "n wide"}
    heads |= {f"p99 / {on.base}": "n", f"beats {rows[0]['best_by_hand']}": "n"}
    return filled(
        "board",
        name=on.name,
        hidden="" if shown else Markup(" hidden"),
        headline=ranked.headline,
        title=on.title,
        cost=on.cost,
        base=on.base,
        best=rows[0]["best_by_hand"],
        scenarios=len(on.fields),
        seeds=len(on.seeds),
        warnings=joined(Markup('<p class="warn">{}</p>\n').format(words) for words in ranked.warnings),
        found=parts.items(ranked.sentences),
        heads=parts.heads(heads, buttons=True),
        rows=joined(_tr(place, row, low) for place, row in enumerate(rows, 1)),
        measured=_measured(ranked) if rows[0]["shown"] else "",
        winners=_winners(ranked),
        beside=_beside(ranked) if on.beside else "",
        theory=_theory(ranked) if ranked.checks else "",
        curves=Markup('<section class="curves"></section>') if ranked.curves else "",
        player=Markup('<section class="player"></section>') if ranked.episode else "",
    )


def _tr(place: int, row: Row, low: float) -> Markup:
    score, truth, policy = row["score"], row["told"] == TRUTH, row["policy"]
    button = Markup('<button type="button" class="open" data-policy="{}">{}</button>').format(policy, policy)
    cells = [
        td("" if truth else str(place), "n place", "" if truth else str(place)),
        td(button + (Markup(' <span class="trained">trained</span>') if row["learned"] else ""), "name", policy),
        td(row["told"], "told"),
        number(score["mean"], ".3f"),
        td(parts.interval(score, low, row["told"]), "plot", f"{score['low']:.6g}"),
        number(score["high"] - score["low"], ".3f", f"{score['low']:.3f} to {score['high']:.3f}", "wide"),
        number(row["p99_ratio"], ".2f"),
        number(row["better"], ".2f") if policy != row["best_by_hand"] else number(0.5, "", "\N{EM DASH}"),
    ]
    return tr(cells, row["told"])


def _measured(ranked: Ranked) -> Markup:
    """Return what was measured of each policy beside the cost."""
    heads = {"policy": "", **dict.fromkeys(ranked.rows[0]["shown"], "n")}
    rows = [
        tr([td(row["policy"], "name"), *(number(value, ".2f") for value in row["shown"].values())], row["told"])
        for row in ranked.rows
    ]
    return filled("measured", heads=parts.heads(heads, buttons=True), rows=joined(rows), base=ranked.on.base)


def _winners(ranked: Ranked) -> Markup:
    base, some = ranked.on.base, parts.has(ranked.results, "preemptions_per_job")
    heads = {"scenario": "first", "least cost": "", "cost": "n", "p99": "n"}
    heads |= {"preemptions": "n"} if some else {}
    heads |= {"ahead of the next by, 95 %": "", "least p99": ""}
    rows = []
    for won in ranked.winners:
        same = f" (same: {', '.join(won['same'])})" if won["same"] else ""
        cells = [td(won["scenario"], "first"), td(won["policy"] + same)]
        cells += [number(won["cost_over_base"], ".2f"), number(won["p99_over_base"], ".2f")]
        if some:
            both = [parts.per_100(ranked.results[name], won["scenario"]) for name in (won["policy"], base)]
            cells.append(number(both[0], ".0f", f"{both[0]:.0f} / {both[1]:.0f}"))
        least = f"{won['least_p99']}, {won['least_p99_over_base']:.2f}"
        rows.append(tr([*cells, td(ahead(won), "loose"), td(least, "loose")]))
    more = f" Preemptions per 100 jobs, of the winner / of {base}." if some else ""
    return filled("winners", heads=parts.heads(heads), rows=joined(rows), base=base, more=more)


def _beside(ranked: Ranked) -> Markup:
    names, base = [name for name in ranked.on.beside if name in ranked.results], ranked.results[ranked.on.base]
    rows = []
    for scenario in ranked.on.fields:
        ratios = [parts.over(ranked.results[name], base, scenario, "cost") for name in names]
        cells = [td(scenario)]
        for name, ratio in zip(names, ratios, strict=True):
            tail = parts.over(ranked.results[name], base, scenario, "p99")
            words = f"{ratio:.2f}, {tail:.2f}, {parts.per_100(ranked.results[name], scenario):.0f}"
            cells.append(number(ratio, ".2f", words, "strong" if ratio == min(ratios) else ""))
        rows.append(tr(cells))
    heads = {"scenario": "", **dict.fromkeys(names, "n")}
    return filled("beside", heads=parts.heads(heads), rows=joined(rows), base=ranked.on.base)


def _theory(ranked: Ranked) -> Markup:
    heads = {"scenario": "", "policy": "", "what": "", "theory": "n", "simulated": "n", "95 %": "wide", "off by": "n"}
    heads |= {"inside": "", "rests on": ""}
    rows = []
    for check in sorted(ranked.checks, key=lambda check: "inside" not in check):
        inside = {True: "yes", False: "no", None: ""}[check.get("inside")]
        kind = "" if check["kind"] == "exact" else f" ({check['kind']})"
        cells = [td(check["scenario"]), td(check["policy"]), td(check["metric"].replace("_", " ") + kind)]
        cells += [number(check["value"], ".4g"), number(check["mean"], ".4g")]
        cells.append(td(f"{check['low']:.4g} to {check['high']:.4g}", "wide"))
        cells.append(number(check["mean"] / check["value"] - 1, "+.1%"))
        rows.append(tr([*cells, td(inside, "out" if inside == "no" else ""), td(check["source"])]))
    return filled("theory", heads=parts.heads(heads), rows=joined(rows))

"""A plan as one web page that needs nothing else: no network, no library, no font, no script."""

import math
import os
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from llmqueue_gym.boards.page.parts import heads, joined, td, tr
from llmqueue_gym.boards.page.sections import HERE as STYLE
from llmqueue_gym.evaluation.results import provenance
from llmqueue_gym.planning.plot import LEAST, kind_of, named, outside
from llmqueue_gym.planning.words import COLUMNS, cells, conclusion, how, reasons
from llmqueue_gym.storage import write_text

HERE = Path(__file__).parent
HEIGHT, TOP, LOW = 340, 16, 26  # px of the picture, and of what is above and below its axes
_TEMPLATES = Environment(
    loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
)
_NUMBERS = ("USD/h", "within limits", "worst window")


def write_page(path: str | os.PathLike[str], found: dict[str, Any]) -> None:
    """Write the page of what `plan` returned."""
    write_text(path, page(found))


def page(found: dict[str, Any]) -> str:
    """Return the page."""
    cheaper = found["next_cheaper"]
    said = reasons(found)
    return _TEMPLATES.get_template("page.html").render(
        style=Markup((STYLE / "style.css").read_text(encoding="utf-8")),
        found=found,
        conclusion=conclusion(found),
        picture=picture(found),
        front=table(found["front"], found),
        played=table(found["played"], found),
        reason=said[0],
        sentences=[] if cheaper is None else cheaper["sentences"],
        out=list(found["out"].values()),
        parts=Markup("") if cheaper is None else bars([1 - share for share in cheaper["course"]], found),
        strips=[(row["fleet"], bars([1 - share for share in row["shares"]], found)) for row in _both(found)],
        how=how(found),
        provenance=joined(Markup("<dt>{}</dt><dd>{}</dd>").format(k, _text(v)) for k, v in provenance().items()),
    )


def table(rows: list[dict[str, Any]], found: dict[str, Any]) -> Markup:
    """Return a table of fleets."""
    head = heads({name: "n" if name in _NUMBERS else "" for name in COLUMNS})
    body = joined(
        tr(
            (td(text, "n" if name in _NUMBERS else "") for name, text in zip(COLUMNS, cells(row, found), strict=True)),
            kind_of(row, found),
        )
        for row in rows
    )
    return Markup('<div class="scroll"><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>').format(
        head, body
    )


def picture(found: dict[str, Any]) -> Markup:
    """Return cost against requests outside the limits as a drawing; places across are percentages of its width."""
    prices = [row["price"] for row in found["played"]]
    wide = max(max(prices) - min(prices), 1e-9) if len(set(prices)) > 1 else 2 * max(prices)
    first = min(prices) if len(set(prices)) > 1 else 0.0

    def x(price: float) -> str:
        return f"{7 + 78 * (price - first) / wide:.2f}%"

    drawn = []
    for tick in (1.0, 0.1, 0.01, 0.001, LEAST):
        words = "all" if tick == 1 else "none" if tick == LEAST else f"{100 * tick:.3g} %"
        drawn.append(Markup('<line class="grid" x1="0" x2="100%" y1="{0}" y2="{0}"/>').format(_y(tick)))
        drawn.append(Markup('<text class="tick" x="0" y="{}">{}</text>').format(_y(tick) - 4, words))
    allowed = 1 - found["objective"]["share"]
    drawn.append(Markup('<line class="most" x1="0" x2="100%" y1="{0}" y2="{0}"/>').format(_y(max(allowed, LEAST))))
    drawn.append(
        Markup('<text class="tick" x="100%" y="{}" text-anchor="end">{} may be outside</text>').format(
            _y(max(allowed, LEAST)) - 5, f"{100 * allowed:.3g} %"
        )
    )
    for row in found["played"]:
        place, look = x(row["price"]), kind_of(row, found)
        top, low = _y(outside(row["worst"])), _y(outside(row["share"]))
        drawn.append(
            Markup('<line class="bar {}" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(look, place, place, top, low)
        )
        drawn.append(
            Markup('<circle class="{}" cx="{}" cy="{}" r="{}"><title>{}: {}</title></circle>').format(
                look, place, low, 4 if look == "other" else 6, row["fleet"], f"{row['share']:.2%}"
            )
        )
    for row, above in named(found):
        drawn.append(
            Markup('<text class="label" x="{}" y="{}" dx="9">{}</text>').format(
                x(row["price"]), _y(outside(row["share"])) + (-6 if above else 16), row["fleet"]
            )
        )
    for price in sorted({row["price"] for row, _ in named(found)}):
        drawn.append(
            Markup('<text class="tick" x="{}" y="{}" text-anchor="middle">{}</text>').format(
                x(price), HEIGHT - 6, f"{price:.2f}"
            )
        )
    return Markup(
        '<svg class="plane" height="{}" role="img" aria-label="Cost against requests outside">{}</svg>'
    ).format(HEIGHT, joined(drawn))


def bars(shares: list[float], found: dict[str, Any]) -> Markup:
    """Return shares of requests outside the limits as bars beside one another, with a line at what may be outside."""
    height, most = 64, max(*shares, 2 * (1 - found["objective"]["share"]), 1e-9)
    each, allowed = 100 / len(shares), 1 - found["objective"]["share"]
    drawn = []
    for k, share in enumerate(shares):
        tall = height * share / most
        look = "above" if share > allowed + 1e-12 else "below"
        drawn.append(
            Markup('<rect class="{}" x="{}%" width="{}%" y="{}" height="{}"><title>{}</title></rect>').format(
                look, f"{k * each:.3f}", f"{0.86 * each:.3f}", f"{height - tall:.1f}", f"{tall:.1f}", f"{share:.2%}"
            )
        )
    line = height * (1 - allowed / most)
    drawn.append(Markup('<line class="most" x1="0" x2="100%" y1="{0}" y2="{0}"/>').format(f"{line:.1f}"))
    return Markup('<svg class="strip" height="{}" aria-hidden="true">{}</svg>').format(height, joined(drawn))


def _y(share: float) -> float:
    """Return the place of a share on the logarithmic axis, px."""
    return round(TOP + (HEIGHT - TOP - LOW) * math.log(share) / math.log(LEAST), 1)


def _both(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in (found["plan"], found["next_cheaper"]) if row is not None]


def _text(value: Any) -> str:
    return ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)

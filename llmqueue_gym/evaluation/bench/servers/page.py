"""The track's part of the page."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from llmqueue_gym.evaluation.bench import drawing
from llmqueue_gym.evaluation.bench.blocks import numbers, ranking
from llmqueue_gym.evaluation.bench.information import TRUTH
from llmqueue_gym.evaluation.bench.parts import number, tr, word
from llmqueue_gym.evaluation.bench.servers.cases import BLOCKS, DISPATCH, IMPATIENCE, NEEDS
from llmqueue_gym.evaluation.bench.servers.play import KEPT, WARMUP
from llmqueue_gym.evaluation.bench.servers.report import named, title
from llmqueue_gym.evaluation.bench.servers.standing import LEFT, MANY

Row = Mapping[str, Any]
TICKS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.4, 2.0, 5.0, 10.0)
EDGE = 5.0  # of the panels, over the base
_ABOUT = {
    "central": "All servers take from one queue; a policy with preemption runs those that come first in its order.",
    DISPATCH: "Each arrival joins a queue at once and stays there. A contestant is a dispatcher and the order in the "
    "queues; random and round-robin look at one queue, join-shortest-queue, join-idle-queue, size-interval and those "
    "“of all” at all queues, the others at two. Score 0 is what needs no prediction: the shorter of two queues, first "
    "come first served.",
    IMPATIENCE: "More work comes than can be done, and a job leaves when its patience ends before it begins. What "
    "counts is the share of the jobs that is served: more is better. Nobody preempts; edf is told when patience ends.",
    NEEDS: "A job occupies 1, 2, 4 or 8 servers at once. Score 0 is server-filling, which serves in order of arrival "
    "and wastes no server; first come first served as such is overloaded long before load one.",
}


def section(found: Row) -> str:
    """Return the sections of a result."""
    template = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    rows = [_all_row(case, row) for case in found["cases"] for row in case["policies"]]
    units = (
        "Times are in mean sizes, of jobs that are served; the value is the mean response time, for impatient jobs the "
        "share that is served, and base is who has score 0."
    )
    return template.substitute(
        lede=escape(_lede(found)),
        blocks="".join(_block(found, block) for block in found["ranking"]),
        check_words=escape(found["sentences"].get("check", "No case of this run has exact values.")),
        check_rows="".join(_check_rows(found)),
        numbers=numbers(_ALL, rows, units, "dispatch 0.9 sprpt"),
        runs=found["seeds"],
        warmup=f"{WARMUP:.0%}",
        last=f"{1 - KEPT.stop:.0%}",
        left=f"{LEFT:.1%}",
        many=MANY,
    )


def _lede(found: Row) -> str:
    players = sum(len(rows) for rows in found["ranking"].values())
    return (
        f"{players} contestants in {len(found['ranking'])} kinds of systems with several servers, "
        f"{len(found['cases'])} cases, {found['jobs_played'] / 1e6:.1f} million jobs. The kinds have contestants and "
        "scores of their own, so each has its own ranking, and the percentages above, the share of the way from a "
        "base to a bound that nobody can beat, do not compare across them."
    )


# A block.


def _block(found: Row, block: str) -> str:
    kind, rows = BLOCKS[block], found["ranking"][block]
    cases = [case for case in found["cases"] if case["block"] == block]
    kinds = {name: _short(name) for name in rows[0]["score_in"]}
    what = f"Score: the share of the way from {kind.base} to {kind.bound} that a policy goes, all cases of this block"
    base = kind.base if len(kind.base) < 8 else "the base"  # a long name would cover its neighbours
    drawn = ranking(rows, kinds, kind.bound, base=base, caption=f"{what}, with 95% intervals.")
    long = " long" if max(len(row["policy"]) for row in rows) > 20 else ""
    winners = "".join(_winner_row(case, "winner") for case in cases)
    few = "".join(_winner_row(case, "winner_of_two") for case in cases if "winner_of_two" in case)
    head = "".join(f"<th>{name}</th>" for name in ("servers", "sizes", "predictions"))
    head += '<th class="n">load</th><th>winner</th><th>next</th><th class="n">ahead by</th><th>95%</th>'
    two = f"<h3>Of those that look at no more than two queues</h3>{_table(head, few)}" if few else ""
    return (
        f'<section class="block{long}">\n<h2>{escape(kind.title)}</h2>\n<p>{escape(found["sentences"][block])}</p>\n'
        f'<p class="note">{escape(_ABOUT[block])}</p>\n{drawn}\n'
        f"<h3>Who wins where</h3>\n{_table(head, winners)}\n{two}\n"
        f'<details><summary>Case by case</summary>\n<p class="note">{_PANELS[kind.measure]}</p>\n'
        f'<div class="panels">{"".join(_panels(cases, rows))}</div></details>\n</section>\n'
    )


_DOTS = (
    "Each row is a policy, each dot a load (larger dots are higher loads). The axis, on a log scale, is the {} over "
    "that of the policy with score 0: {} is better. What lies beyond {:g} stands at the edge."
)
_PANELS = {
    "time": _DOTS.format("mean response time", "left", EDGE),
    "served": _DOTS.format("share of the jobs that is served", "right", EDGE),
}


def _short(kind: str) -> str:
    return kind.replace("lognormal:sigma=", "log-normal ").replace("exponential", "exp.")


def _table(head: str, rows: str) -> str:
    return f'<div class="scroll"><table class="tight"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _winner_row(case: Row, key: str) -> str:
    won, lead = case[key], case[key]["lead"]
    range_ = f"{lead['low']:+.1%} to {lead['high']:+.1%}"
    if won["ties"]:
        range_ += f" (ties with {len(won['ties'])})"
    cells = [word(str(case["servers"])), word(case["size"]), word(case["predictor"]), number(case["load"], "g")]
    return tr([*cells, word(named(won)), word(won["second"]), number(lead["mean"], ".1%"), word(range_)])


def _panels(cases: Sequence[Row], order: Sequence[Row]) -> list[str]:
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for case in cases:
        groups.setdefault((case["servers"], case["size"], case["predictor"]), []).append(case)
    ratios = [row["over_base"]["mean"] for case in cases for row in case["policies"]]
    low, high = min(*ratios, 0.9) / 1.05, min(max(*ratios, 1.1), EDGE) * 1.05
    scale = drawing.logarithmic(low, high)
    ticks = [tick for tick in TICKS if low <= tick <= high]
    return [_panel(some, [row["policy"] for row in order], ticks, scale) for some in groups.values()]


def _panel(cases: Sequence[Row], order: Sequence[str], ticks: Sequence[float], scale: drawing.Scale) -> str:
    loads, rows = sorted(case["load"] for case in cases), []
    for name in order:
        marks, places, look = [], [], ""
        for case in cases:
            row = next(row for row in case["policies"] if row["policy"] == name)
            ratio, look = row["over_base"]["mean"], row["sees"]
            places.append(scale(ratio))
            radius = 2.2 + 1.4 * loads.index(case["load"])
            marks.append(drawing.dot(places[-1], look, f"{name} at load {case['load']:g}: {ratio:.3f}", radius, 9))
        marks.insert(0, drawing.bar(min(places), max(places), f"{look} thin", 9))
        rows.append(drawing.row(name, drawing.track(marks, ticks, scale, 18), "", look))
    bottom = drawing.axis([(tick, f"{tick:g}") for tick in ticks], scale)
    case = cases[0]
    heading, words = f"{case['servers']} servers, {case['size']}", f"{case['predictor']} predictions"
    label = escape(f"By policy, over the one with score 0; {heading}, {words}")
    caption = f'<h3>{escape(heading)}<br><span class="caption">{escape(words)}</span></h3>'
    return f'<div role="img" aria-label="{label}">{caption}{"".join(rows)}{bottom}</div>'


# Theory.


def _check_rows(found: Row) -> list[str]:
    rows, seen = [], set()
    for exact in (True, False):
        for case in found["cases"]:
            for row in case["policies"]:
                known = row.get("theory")
                if known is None or known["exact"] != exact:
                    continue
                key = case["block"], case["servers"], case["size"], case["load"], row["policy"], known["value"]
                if key not in seen:  # a policy that is told nothing stands in several cases
                    seen.add(key)
                    rows.append(_check_row(case, row))
    return rows


def _check_row(case: Row, row: Row) -> str:
    known, value = row["theory"], row["value"]
    inside = "" if not known["exact"] else "yes" if known["inside"] else "no"
    cells = [word(f"{BLOCKS[case['block']].title}: {row['policy']}"), word(title(case)), word(known["source"])]
    cells += [number(known["value"], ".4g"), number(value["mean"], ".4g")]
    cells += [word(f"{value['low']:.4g} to {value['high']:.4g}"), number(value["mean"] / known["value"] - 1, "+.1%")]
    return tr([*cells, word(inside, "out" if inside == "no" else "")])


# All numbers.

_ALL = (
    "block", "sizes", "predictions", "policy", "told", "servers", "load", "value", "95%", "/ base", "95%", "score",
    "bound", "p99", "p99 / base", "preemptions / job", "overloaded", "better ones",
)  # fmt: skip


def _all_row(case: Row, row: Row) -> str:
    value, ratio = row["value"], row["over_base"]
    half = 0.5 * (value["high"] - value["low"])
    cells = [word(text) for text in (case["block"], case["size"], case["predictor"], row["policy"], row["sees"])]
    cells += [number(case["servers"], "d"), number(case["load"], "g"), number(value["mean"], ".4g")]
    cells += [number(half, ".2g", f"± {half:.2g}"), number(ratio["mean"], ".3f")]
    cells.append(number(ratio["low"], ".3f", f"{ratio['low']:.3f} to {ratio['high']:.3f}"))
    cells += [number(row["score"], ".3f"), number(case["bound"], ".4g"), number(row["p99"], ".4g")]
    cells += [number(row["p99_over_base"]["mean"], ".2f"), number(row["preemptions_per_job"], ".2f")]
    cells += [word("yes" if row["overloaded"] else ""), number(len(row["beaten_by"]), "d")]
    return tr(cells, "truth" if row["sees"] == TRUTH else "")

"""The benchmark as one web page that needs nothing else: no network, no library, no font."""

import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from llmqueue_gym.evaluation.bench import drawing
from llmqueue_gym.evaluation.bench.cases import BLOCKS
from llmqueue_gym.evaluation.bench.contestants import TRUTH
from llmqueue_gym.evaluation.bench.report import outside, source, title

Row = Mapping[str, Any]
_LOOK = {"nothing": "nothing", "prediction": "prediction", TRUTH: "truth"}


def write_page(path: Path, found: Row) -> None:
    """Write the page; whoever reads the file meets the old one or the new one, never half."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(page(found), encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def page(found: Row) -> str:
    """Return the page of a result."""
    template = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    loads = sorted({case["load"] for case in found["cases"]})
    ranking = found["ranking"]
    return template.substitute(
        headline=_headline(ranking),
        lede=escape(_lede(found)),
        meta=escape(_meta(found)),
        warnings="".join(_warnings(found)),
        ranking_words=escape(found["sentences"].get("synthetic", "")),
        ranking_figure=_ranking_figure(ranking),
        ranking_head=_heads(("policy", "told", "score", "95%", *_KINDS.values(), "p99 / FCFS"), first_words=2),
        ranking_rows="".join(_ranking_row(row) for row in ranking),
        loads=f"{loads[0]:g} to {loads[-1]:g}",
        panels="".join(_panels(found)),
        measured_words="".join(
            f"<p>{escape(words)}</p>" for b, words in found["sentences"].items() if b in found["data"]
        ),
        winner_rows="".join(_winner_row(case) for case in found["cases"] if case["block"] != "synthetic"),
        check_words=escape(found["sentences"].get("check", "No case of this run has exact values.")),
        check_figure=_check_figure(found),
        missed=_missed(found),
        all_head=_heads(_ALL, first_words=5),
        all_rows="".join(_all_row(case, row) for case in found["cases"] for row in case["policies"]),
        units=f"{found['seeds']} seeds",
        seeds=found["seeds"],
        provenance=_provenance(found),
    )


# Words.


def _headline(ranking: Sequence[Row]) -> str:
    best = next(row for row in ranking if row["sees"] != TRUTH)
    blind = next(row for row in ranking if row["sees"] == "nothing")
    return escape(
        f"{best['policy'].capitalize()} gains {best['score']['mean']:.0%} of what there is to gain over first come "
        f"first served; without predictions the best gains {blind['score']['mean']:.0%}"
    )


def _lede(found: Row) -> str:
    best = next(row for row in found["ranking"] if row["sees"] != TRUTH)
    noisy, told = best["score_in"].get("noisy"), sum(row["sees"] == TRUTH for row in found["ranking"])
    alone = "" if noisy is None else f" Where predictions are wrong at times, {best['policy']} gains {noisy:.0%}."
    return (
        f"{len(found['ranking'])} scheduling policies for one server, {told} of them told the true sizes, in "
        f"{len(found['cases'])} cases: synthetic laws with exact results beside the simulation, a recorded hour of LLM "
        f"requests, and a real length predictor.{alone}"
    )


def _meta(found: Row) -> str:
    made = found["provenance"]
    kind = "A quick run, whose numbers are rough. " if found["quick"] else ""
    size = f"{found['jobs_played'] / 1e6:.1f} million jobs, {found['seeds']} seeds"
    return f"{kind}{size}, {made['time'][:10]}, version {made['version']}."


def _warnings(found: Row) -> list[str]:
    played = {case["block"] for case in found["cases"]}
    notes = [(b, note) for b, note in found["data"].items() if b in played and note["embedded"]]
    return [f'<p class="warn"><strong>{escape(BLOCKS[b])}.</strong> {escape(source(note))}</p>' for b, note in notes]


# The ranking.

_KINDS = {"synthetic": "synthetic", "azure": "Azure", "ssjf": "SSJF", "noisy": "noisy", "exact": "exact"}  # of cases


def _ranking_figure(ranking: Sequence[Row]) -> str:
    low = min(0.0, min(row["score"]["low"] for row in ranking))
    scale, ticks = drawing.linear(low, 1.0), [0.0, 0.25, 0.5, 0.75, 1.0]
    parts = []
    for apart in (False, True):
        if apart:
            parts.append('<p class="apart">told the true size</p>')
        group = [row for row in ranking if (row["sees"] == TRUTH) == apart]
        for place, row in enumerate(group):
            score, look = row["score"], _LOOK[row["sees"]]
            words = f"{row['policy']}: {score['mean']:.3f} ({score['low']:.3f} to {score['high']:.3f})"
            marks = [drawing.bar(scale(score["low"]), scale(score["high"]), look)]
            marks.append(drawing.dot(scale(score["mean"]), look, words))
            best = "best" if place == 0 and not apart else ""
            value = f"{score['mean']:.3f}"
            parts.append(drawing.row(row["policy"], drawing.track(marks, ticks, scale), value, f"{look} {best}"))
    labels = [(0.0, "FCFS"), (0.5, "0.5"), (1.0, "SRPT")]
    caption = "Score: the share of FCFS's excess over SRPT that a policy removes, over all cases, with 95% intervals."
    return "".join(parts) + drawing.axis(labels, scale, caption)


def _ranking_row(row: Row) -> str:
    score = row["score"]
    cells = [_word(row["policy"]), _word(row["sees"]), _number(score["mean"], ".3f")]
    cells.append(_number(score["low"], ".3f", f"{score['low']:.3f} to {score['high']:.3f}"))
    cells += [_number(row["score_in"].get(kind), ".3f") for kind in _KINDS]
    cells.append(_number(row["p99_ratio"]["mean"], ".2f"))
    return _tr(cells, row["sees"])


# The cases.


def _panels(found: Row) -> list[str]:
    order = [row["policy"] for row in found["ranking"]]
    groups: dict[tuple[str, ...], list[Row]] = {}
    for case in found["cases"]:
        groups.setdefault((case["block"], case["size"], case["predictor"]), []).append(case)
    ratios = [row["relative_to_fcfs"] for case in found["cases"] for row in case["policies"]]
    low, high = min(*ratios, 0.5) / 1.05, max(*ratios, 1.0) * 1.05
    scale = drawing.logarithmic(low, high)
    ticks = [tick for tick in (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0) if low <= tick <= high]
    return [_panel(key, cases, order, ticks, scale) for key, cases in groups.items()]


def _panel(
    key: tuple[str, ...], cases: Sequence[Row], order: Sequence[str], ticks: Sequence[float], scale: drawing.Scale
) -> str:
    block, size, predictor = key
    heading = f"{BLOCKS[block]}: {size}" if block != "synthetic" else f"{size[0].upper()}{size[1:]} sizes"
    rows = []
    for name in order:
        marks, places = [], []
        for case in cases:
            row = next(row for row in case["policies"] if row["policy"] == name)
            ratio = row["relative_to_fcfs"]
            places.append(scale(ratio))
            words = f"{name} at load {case['load']:g}: {ratio:.3f} of FCFS"
            marks.append(drawing.dot(places[-1], _LOOK[row["sees"]], words, 2.2 + 6 * max(case["load"] - 0.5, 0), 9))
        look = _LOOK[row["sees"]]
        marks.insert(0, drawing.bar(min(places), max(places), f"{look} thin", 9))
        rows.append(drawing.row(name, drawing.track(marks, ticks, scale, 18), "", look))
    bottom = drawing.axis([(tick, f"{tick:g}") for tick in ticks], scale)
    words = f"{predictor} predictions" if block != "ssjf" else f"the predictor's {predictor}"
    label = f"Mean response time over FCFS by policy; {heading}, {words}"
    return (
        f'<div role="img" aria-label="{escape(label)}"><h3>{escape(heading)}<br>'
        f'<span class="caption">{escape(words)}</span></h3>{"".join(rows)}{bottom}</div>'
    )


def _winner_row(case: Row) -> str:
    won, lead = case["winner"], case["winner"]["lead"]
    name = won["policy"] + (f" (same: {', '.join(won['same'])})" if won["same"] else "")
    range_ = f"{lead['low']:+.1%} to {lead['high']:+.1%}" + ("" if won["clear"] else " (a tie)")
    cells = [_word(case["block"]), _word(case["predictor"]), _number(case["load"], "g"), _word(name)]
    return _tr([*cells, _word(won["second"]), _number(lead["mean"], ".1%"), _word(range_)])


# Exact and simulated.


def _check_figure(found: Row) -> str:
    points, seen = [], set()
    for case in found["cases"]:
        for row in case["policies"]:
            key = case["size"], case["load"], row["policy"], row.get("exact")
            if "exact" not in row or key in seen:
                continue
            seen.add(key)
            exact, checked = row["exact"], row["mean_response_time"]
            y, low, high = (checked[end] / exact - 1 for end in ("mean", "low", "high"))
            words = f"{row['policy']}, {title(case)}: exact {exact:.4g}, simulated {checked['mean']:.4g} ({y:+.2%})"
            points.append((exact, y, low, high, not row["exact_inside"], words))
    if not points:
        return ""
    least, most = min(point[0] for point in points) / 1.1, max(point[0] for point in points) * 1.1
    # FCFS has no control, so its intervals are wide; the edge of the figure is set by what the rest needs.
    reach = max(0.01, sorted(max(-point[2], point[3]) for point in points)[int(0.97 * (len(points) - 1))])
    scale = drawing.logarithmic(least, most)
    ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100) if least <= tick <= most]
    texts = "".join(f'<text x="{scale(t):.2f}%" y="12" text-anchor="middle">{t:g}</text>' for t in ticks)
    caption = (
        f"Simulated over exact, minus 1, with 95% intervals; the box reaches from {-reach:+.1%} to {reach:+.1%}. "
        "Across: the exact mean response time in mean sizes, log scale. Stressed: the interval misses the exact value."
    )
    return (
        f'<div class="figure">{drawing.cloud(points, scale, reach, 260)}'
        f'<svg class="axis" height="16" aria-hidden="true">{texts}</svg></div><p class="note">{escape(caption)}</p>'
    )


def _missed(found: Row) -> str:
    missed = outside(found)
    if not missed:
        return ""
    lines = []
    for case, row in missed:
        checked = row["mean_response_time"]
        lines.append(
            f"{row['policy']}, {title(case)}: exact {row['exact']:.4g}, simulated {checked['mean']:.4g} "
            f"({checked['low']:.4g} to {checked['high']:.4g})"
        )
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<details class="note"><summary>The {len(missed)} that lie outside</summary><ul>{items}</ul></details>'


# All numbers.

_ALL = (
    "jobs", "sizes", "predictions", "policy", "told", "load", "mean", "95%", "exact", "inside", "/ FCFS", "score",
    "p99", "p99 / FCFS", "behind best", "95%", "best",
)  # fmt: skip


def _all_row(case: Row, row: Row) -> str:
    mean, behind = row["mean_response_time"], row["behind_best"]
    half = 0.5 * (mean["high"] - mean["low"])
    inside = {None: "", True: "yes", False: "no"}[row.get("exact_inside")]
    cells = [_word(word) for word in (case["block"], case["size"], case["predictor"], row["policy"], row["sees"])]
    cells += [_number(case["load"], "g"), _number(mean["mean"], ".4g"), _number(half, ".2g", f"\u00b1 {half:.2g}")]
    cells += [_number(row.get("exact"), ".4g"), _word(inside, "out" if inside == "no" else "")]
    cells += [_number(row["relative_to_fcfs"], ".3f"), _number(row["score"], ".3f"), _number(row["p99"], ".4g")]
    cells += [_number(row["p99_ratio"], ".2f"), _number(behind["mean"], ".3g")]
    cells.append(_number(behind["low"], ".3g", f"{behind['low']:.3g} to {behind['high']:.3g}"))
    cells.append(_word(row["best_with_same_information"]))
    return _tr(cells, row["sees"])


def _heads(names: Sequence[str], first_words: int) -> str:
    return "".join(
        f'<th class="{"" if i < first_words else "n"}"><button type="button">{escape(name)}</button></th>'
        for i, name in enumerate(names)
    )


def _tr(cells: Sequence[str], sees: str = "") -> str:
    return f'<tr class="{_LOOK.get(sees, "")}">{"".join(cells)}</tr>'


def _word(text: str, look: str = "") -> str:
    return f'<td class="{look}">{escape(text)}</td>' if look else f"<td>{escape(text)}</td>"


def _number(value: float | None, form: str, text: str | None = None) -> str:
    if value is None:
        return '<td class="n" data-v=""></td>'
    return f'<td class="n" data-v="{value:.6g}">{escape(format(value, form) if text is None else text)}</td>'


def _provenance(found: Row) -> str:
    made = found["provenance"]
    told = {
        "Software": f"llmqueue-gym {made['version']}" + (f", commit {made['commit']}" if made["commit"] else ""),
        "Runs with": f"Python {made['python']}, NumPy {made['numpy']}, Numba {made['numba']}",
        "Machine": made["platform"],
        "Time": f"{made['time']}, {found['seconds']:.0f} s",
        "Seeds": f"0 to {found['seeds'] - 1}; {found['jobs']:,} jobs in a run at load 0.8",
    }
    for block, note in found["data"].items():
        told[BLOCKS[block]] = f"{source(note)} {note['source']}. Licence: {note['licence']}."
    return "".join(f"<dt>{escape(key)}</dt><dd>{escape(str(value))}</dd>" for key, value in told.items())

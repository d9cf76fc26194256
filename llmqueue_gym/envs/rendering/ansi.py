"""A scene as plain text of at most 24 lines of 80 letters."""

from itertools import zip_longest

from llmqueue_gym.systems.scene import Bar, Meter, Panel, Scene, shares

LINES, WIDTH = 24, 80
_COLUMN, _NAME, _BAR = 39, 7, 12
_NOTE = _COLUMN - _NAME - _BAR - 2
_GLYPHS = {"known": "▒", "done": "█", "beyond": "▓", "predicted": "░", "due": "!", "truth": "■"}
_WAS_PREDICTED = "|"  # across the bar of a true size


def ansi(scene: Scene) -> str:
    """Return the text."""
    facts = "  ".join(f"{name} {value}" for name, value in scene.facts)
    head = [f"{scene.title}  {scene.state}", facts]
    if scene.meter is not None:
        head.append(_meter(scene.meter))
    legend = dict(scene.legend)
    if "truth" in legend:
        legend["truth"] += f", {_WAS_PREDICTED} predicted"
    foot = "  ".join(f"{_GLYPHS[kind]} {words}" for kind, words in legend.items())
    rows = LINES - len(head) - 2
    columns = zip_longest(_column(scene.left, rows), _column(scene.right, rows), fillvalue="")
    body = [f"{a:<{_COLUMN}}  {b}" for a, b in columns]
    return "\n".join(line[:WIDTH].rstrip() for line in [*head, "", *body, foot])


def _column(panels: tuple[Panel, ...], rows: int) -> list[str]:
    """Return the lines of a column."""
    lines: list[str] = []
    for panel, shown in zip(panels, shares(panels, rows), strict=True):
        if lines:
            lines.append("")
        lines.append(panel.heading(shown)[:_COLUMN])
        lines += [_row(bar, panel.reach) for bar in panel.bars[:shown]]
    return lines


def _row(bar: Bar, reach: float) -> str:
    """Return the line of a bar."""
    cells = [" "] * _BAR

    def place(value: float) -> int:
        return min(round(value / reach * _BAR), _BAR)

    if bar.truth is not None:
        n = max(place(bar.truth), 1)
        cells[:n] = [_GLYPHS["truth"]] * n
        cells[max(place(bar.predicted) - 1, 0)] = _WAS_PREDICTED
    else:
        for kind, begin, end in bar.spans():
            cells[place(begin) : place(end)] = [_GLYPHS[kind]] * (place(end) - place(begin))
        if bar.due is not None:
            cells[max(place(bar.known + bar.due) - 1, 0)] = _GLYPHS["due"]
    name = (">" if bar.active else " ") + bar.name
    return f"{name[:_NAME]:<{_NAME}} {''.join(cells)} {bar.note[:_NOTE]}"


def _meter(meter: Meter) -> str:
    """Return the line of a meter; shares side by side take turns in their look."""
    room = WIDTH - len(meter.title) - len(meter.note) - 4
    cells, begin = ["·"] * room, 0.0
    for k, (amount, _) in enumerate(meter.parts):
        a, b = (round(at / meter.total * room) for at in (begin, begin + amount))
        cells[a:b] = ["█▒"[k % 2]] * (b - a)
        begin += amount
    return f"{meter.title} [{''.join(cells)}] {meter.note}"

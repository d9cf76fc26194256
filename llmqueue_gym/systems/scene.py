"""What a frame shows, as plain lists of bars and words: families of environments make it, `ansi` and `picture` draw it.

The truth of a job is a field of its own, which is filled in after the job has left.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

NO_HUE = -1


@dataclass(frozen=True)
class Bar:
    """A row: a job, a server with its job, a queue or a request.

    Lengths are in the unit of the panel.

    Attributes:
        name: what stands before it, 6 letters at most.
        predicted: its length by prediction; 0 where there is none.
        done: how much of it is done.
        known: a length that is known and comes before the rest, such as a prompt.
        truth: its true length, of a job that has left; None of any other.
        due: where on the bar it would be at its deadline if it ran from now on; None without a deadline.
        active: whether it is in service.
        hue: number of its colour, by which it is found again elsewhere in the frame.
        note: what stands behind it, 18 letters at most.
    """

    name: str
    predicted: float = 0.0
    done: float = 0.0
    known: float = 0.0
    truth: float | None = None
    due: float | None = None
    active: bool = False
    hue: int = NO_HUE
    note: str = ""

    @property
    def end(self) -> float:
        """The rightmost point that is drawn."""
        return self.known + max(self.predicted, self.done, self.truth or 0.0, self.due or 0.0)

    def spans(self) -> Iterator[tuple[str, float, float]]:
        """Return kind, begin and end of each stretch: "known", "done", "beyond" the prediction, "predicted" to come."""
        within = min(self.done, self.predicted) if self.predicted > 0 else self.done
        marks = {"known": self.known, "done": within, "beyond": self.done - within}
        marks["predicted"] = max(self.predicted - self.done, 0.0)
        begin = 0.0
        for kind, length in marks.items():
            if length > 0:
                yield kind, begin, begin + length
                begin += length


@dataclass(frozen=True)
class Panel:
    """Bars below one another, on one scale.

    Attributes:
        title: what they are.
        bars: the first ones are drawn where there is no room for all.
        total: how many there are, where that is worth telling.
    """

    title: str
    bars: tuple[Bar, ...]
    total: int | None = None

    @property
    def reach(self) -> float:
        """The end of the scale: 1, 2 or 5 times a power of ten, so that it seldom changes between frames."""
        longest = max((bar.end for bar in self.bars), default=0.0)
        if longest <= 0:
            return 1.0
        power = 10.0 ** math.floor(math.log10(longest))
        return next((step * power for step in (1, 2, 5) if step * power >= longest), 10 * power)

    def heading(self, shown: int) -> str:
        """Return the title, with the number there is and how many of them are shown."""
        if self.total is None:
            return self.title
        return f"{self.title}: {self.total}" + (f", first {shown}" if shown < self.total else "")


@dataclass(frozen=True)
class Meter:
    """A store that is shared out, such as memory.

    Attributes:
        title: what it is.
        total: how much there is.
        parts: amount and hue of each share.
        note: what stands behind it.
    """

    title: str
    total: float
    parts: tuple[tuple[float, int], ...]
    note: str


@dataclass(frozen=True)
class Scene:
    """A frame.

    Attributes:
        title: of the environment.
        facts: name and value of each figure, such as ("time", "3.1 s").
        left: panels of the left column.
        right: panels of the right column.
        state: what is asked, or how the episode ended.
        meter: above both.
        legend: kind and meaning of the stretches of bars; the kinds are those of `Bar.spans`, "due" and "truth".
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    left: tuple[Panel, ...]
    right: tuple[Panel, ...]
    state: str = ""
    meter: Meter | None = None
    legend: tuple[tuple[str, str], ...] = ()


def shares(panels: Sequence[Panel], rows: int) -> list[int]:
    """Return how many bars of each panel of a column are shown, where each has a row for its heading and a gap."""
    room, shown = max(rows - 2 * len(panels) + 1, 0), [0] * len(panels)
    for left, k in zip(
        range(len(panels), 0, -1), sorted(range(len(panels)), key=lambda k: len(panels[k].bars)), strict=True
    ):
        shown[k] = min(len(panels[k].bars), room // left)
        room -= shown[k]
    return shown


def short(value: float) -> str:
    """Return a number in at most 5 letters, if it is below 100,000."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"

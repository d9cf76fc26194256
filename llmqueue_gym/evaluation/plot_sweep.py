"""A picture of a sweep: means over that of the base, against the load."""

import os
from pathlib import Path
from typing import Any

from llmqueue_gym.figures import blank, save

WORST = 1.3  # times the base, above which a line leaves the picture
COLOURS = ("#0072b2", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#e69f00", "#7f3c8d", "#4c4c4c", "#a0a000", "#008695")


def plot_sweep(found: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Draw the sweep of what `llmqueue compare --preset` found, to a file whose name says the format.

    Raises:
        BadInput: matplotlib is missing, or it does not know the format.
    """
    over, base = found["sweep"], found["base"]
    figure = blank(8.6, 5.4)
    axes = figure.subplots()
    loads, ends = over["loads"], []
    names = [row["policy"] for row in found["policies"] if row["policy"] != base]
    step = 0.006 * (loads[-1] - loads[0])  # between points of one load, so that their bars are told apart
    for k, (colour, name) in enumerate(zip(COLOURS * 3, names, strict=False)):
        known = [(load, row) for load, row in zip(loads, over["ratios"][name], strict=True) if row is not None]
        if not known:
            continue
        at = [load + step * (k - len(names) / 2) for load, _ in known]
        mean, low, high = ([row[key] for _, row in known] for key in ("mean", "low", "high"))
        axes.plot(at, mean, "-o", ms=3.5, lw=1.5, color=colour)
        axes.vlines(at, low, high, color=colour, alpha=0.4, lw=1.2)
        ends.append((mean[-1], at[-1], name, colour))
    near = [end[0] for end in ends if end[0] <= WORST]
    low, high = min([1 - over["matters"], *near]) - 0.06, max([1.0, *near]) + 0.06
    axes.set_ylim(low, high)
    axes.axhline(1, color="#000000", lw=1)
    axes.axhline(1 - over["matters"], color="#333333", lw=1, ls="--")
    _label(axes, [end for end in ends if end[0] <= high], (high - low) / 26)
    axes.set(xlabel="load, share of what first come first served sustains", ylabel=f"mean over that of {base}")
    axes.set_xlim(loads[0] - 0.02, loads[-1] + 0.36 * (loads[-1] - loads[0]))
    axes.set_xticks(loads)
    axes.grid(color="#dddddd", lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    first = "for none of them" if over["first"] is None else f"from load {over['first']:g} on"
    where = f"{found['requests']:,} requests of {Path(found['workload']).name}, {found['profile']}, {found['rules']}"
    axes.set_title(f"Who is served first matters {first}\n{where}", fontsize=10, loc="left")
    gone = [name for name in names if name not in {end[2] for end in ends if end[0] <= high}]
    note = f"bars: 95 % intervals on the same requests; dashed: {100 * over['matters']:.3g} % below {base}"
    figure.supxlabel(
        note + (f"; beyond: {', '.join(gone)}" if gone else ""), fontsize=8, color="#555555", x=0.01, ha="left"
    )
    save(figure, path)


def _label(axes: Any, ends: list[tuple[float, float, str, str]], apart: float) -> None:
    """Write names beside the ends of lines, none over another."""
    place = float("-inf")
    for mean, load, name, colour in sorted(ends):
        place = max(mean, place + apart)
        axes.annotate(
            name,
            (load, mean),
            xytext=(load + 0.04, place),
            fontsize=8.5,
            color=colour,
            va="center",
            arrowprops={"arrowstyle": "-", "lw": 0.5, "color": colour, "shrinkA": 0, "relpos": (0, 0.5)},
        )

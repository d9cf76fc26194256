"""A picture of a fit: predicted against measured times, and the error by batch size."""

import os
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.figures import blank, save
from llmqueue_gym.profiles.base import Profile
from llmqueue_gym.profiles.iterations import Iterations

MOST_POINTS = 4000  # of each kind; more only make the picture slow
FARTHEST = 3  # errors beyond so many times their 95th percentile are drawn at the edge
COLOURS = {"decode": "#0072b2", "mixed": "#d55e00", "prefill": "#009e73"}
NAMES = {"decode": "decodes only", "mixed": "prompts and decodes", "prefill": "prompts only"}


def plot_fit(profile: Profile, table: Iterations, path: str | os.PathLike[str]) -> None:
    """Draw how the roofline of `profile` fits a table, to a file whose name says the format.

    Raises:
        BadInput: matplotlib is missing, or it does not know the format.
    """
    if profile.form != "roofline":
        raise BadInput(f"profile {profile.name!r} has the form {profile.form!r}; only rooflines are drawn")
    figure = blank(10.5, 4.6)
    what = ", ".join(part for part in (profile.model, profile.gpu) if part != "not stated")
    figure.suptitle(f"{profile.name}: roofline{what and f' for {what}'}\n{profile.error}", fontsize=11)
    left, right = figure.subplots(1, 2)
    predicted = table.predict(profile.numbers)
    _draw_times(left, table, predicted)
    _draw_errors(right, table, predicted)
    save(figure, path)


def _draw_times(axes: Any, table: Iterations, predicted: np.ndarray) -> None:
    for kind, mask in table.kinds().items():
        some = _some(mask)
        style = {"ms": 3, "alpha": 0.5, "color": COLOURS[kind], "label": f"{NAMES[kind]} ({mask.sum():,})"}
        axes.plot(1e3 * table.seconds[some], 1e3 * predicted[some], ".", **style)
    both = np.concatenate([table.seconds, predicted])
    ends = 1e3 * np.array([both.min() / 1.1, both.max() * 1.1])
    axes.plot(ends, ends, color="black", lw=1, zorder=3)
    axes.fill_between(ends, 0.9 * ends, 1.1 * ends, color="black", alpha=0.1, lw=0, label="within 10 %")
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends, xlabel="measured, ms", ylabel="predicted, ms")
    for axis in (axes.xaxis, axes.yaxis):
        _plain_ticks(axis, ends)
    *points, band = axes.legend(loc="upper left", frameon=False, fontsize=9).legend_handles
    band.set_alpha(0.2)
    for point in points:
        point.set(alpha=1, markersize=8)


def _draw_errors(axes: Any, table: Iterations, predicted: np.ndarray) -> None:
    error = 100 * (predicted / table.seconds - 1)
    edges = np.unique(np.geomspace(table.tokens.min(), table.tokens.max() + 1, 13).round())
    places = np.digitize(table.tokens, edges)
    bins = [mask for place in np.unique(places) if (mask := places == place).sum() >= 5]
    spreads = np.array([np.percentile(error[mask], (5, 50, 95)) for mask in bins]).reshape(-1, 3)
    usual = FARTHEST * np.percentile(np.abs(error), 95)
    reach = min(np.abs(error).max(), max(usual, np.abs(spreads).max(initial=0))) or 1.0
    beyond = int((np.abs(error) > reach).sum())
    for kind, mask in table.kinds().items():
        some = _some(mask)
        axes.plot(table.tokens[some], np.clip(error[some], -reach, reach), ".", ms=3, alpha=0.25, color=COLOURS[kind])
    if bins:
        middles = [np.median(table.tokens[mask]) for mask in bins]
        low, middle, high = spreads.T
        style = {"fmt": "o", "ms": 4, "lw": 1.2, "capsize": 2, "color": "black", "zorder": 3}
        label = "median, 5 % to 95 %" + (f"; {beyond:,} points lie beyond the edge" if beyond else "")
        axes.errorbar(middles, middle, (middle - low, high - middle), label=label, **style)
        axes.legend(loc="upper left", frameon=False, fontsize=9)
    axes.axhline(0, color="black", lw=1)
    axes.set(xscale="log", ylim=(-1.1 * reach, 1.35 * reach))
    axes.set(xlabel="tokens in the batch", ylabel="predicted less measured, %")
    _plain_ticks(axes.xaxis, (table.tokens.min(), table.tokens.max()))


def _some(mask: np.ndarray) -> np.ndarray:
    rows = np.flatnonzero(mask)
    return rows[:: 1 + len(rows) // MOST_POINTS]


def _plain_ticks(axis: Any, ends: Any) -> None:
    """Mark 1, 2, 5, 10, ... as plain numbers, of a range of several decades only the powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    wide = ends[1] / ends[0] > 1000
    axis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
    if not wide:
        axis.set_minor_locator(NullLocator())

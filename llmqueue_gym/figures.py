"""Figures: how one begins and how it is written, wherever it is drawn. matplotlib is needed here alone."""

import os
from typing import Any

from llmqueue_gym.errors import BadInput


def blank(width: float, height: float) -> Any:
    """Return an empty figure of so many inches, which no window shows; BadInput where matplotlib is missing."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise BadInput("a plot needs matplotlib; pip install matplotlib") from None
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Any, path: str | os.PathLike[str]) -> None:
    """Write a figure to a file whose name says the format; BadInput where that is not known."""
    try:
        figure.savefig(path, dpi=160)
    except ValueError as error:
        raise BadInput(f"{path}: {error}") from None

"""The rates and ratios of one run of `speed.py`, and their tables."""

from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table


class Measured:
    """The rows and ratios of this run."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.ratios: dict[str, float] = {}
        self.skipped: list[str] = []
        self.notes: dict[str, dict[str, float]] = {}

    def add(self, what: str, unit: str, values: list[float]) -> float:
        """Add a row for repeated measurements and return their median; the best is the largest rate or least time."""
        best = max(values) if "/" in unit else min(values)
        middle = float(np.median(values))
        self.rows.append({"what": what, "unit": unit, "median": middle, "best": best, "n": len(values)})
        return middle


def report(found: dict[str, Any], console: Console) -> None:
    """Print the rates and the ratios."""
    rates = Table("what", "median", "best", "unit", title="speed, one thread", title_justify="left")
    for row in found["rows"]:
        digits = ",.0f" if "/" in row["unit"] else ".3g"
        rates.add_row(row["what"], f"{row['median']:{digits}}", f"{row['best']:{digits}}", row["unit"])
    ratios = Table("ratio", "", title="ratios of this run", title_justify="left")
    for name, value in found["ratios"].items():
        ratios.add_row(name, f"{value:.3g}")
    console.print(rates, ratios)
    for what in found["skipped"]:
        console.print(f"skipped: {what}")

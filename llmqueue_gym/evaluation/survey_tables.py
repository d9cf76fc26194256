"""The numbers that the survey prints, the queue behind each column, and how near is near enough.

Source: Mitzenmacher, Shahout, "Queueing, Predictions, and LLMs: Challenges and Open Problems", Stochastic Systems
15(3), 2025, arXiv 2503.07545. Table 1 is taken there from "Scheduling with Predictions and the Price of
Misprediction", ITCS 2020, and Tables 2 and 3 from "Queues with Small Advice", ACDA 2021. Sizes have mean 1, so the
arrival rate is the load.
"""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.integrate import quad
from scipy.special import kv

from llmqueue_gym.theory.closed_forms import one_bit_exponential

# The rule of the verdicts; see `reproduce.verdict`. PRINT_JOBS and FLOOR were chosen after a first look at the columns,
# so the verdicts near the line (prediction preempt at .95 and no preempt at .98 in Table 3) rest on them; the others do
# not.
QUADRATURE = 3e-4  # relative error granted to a number that the print takes from a formula, by numerical integration
# The survey does not say how long its simulations ran. At loads of .9 and more, where the noise of a simulation has a
# known size, its columns scatter about the exact values as means over some 2e8 jobs do; judged by the median, which
# a few wrong entries do not move.
PRINT_JOBS = 2e8
FLOOR = 1e-3  # least relative standard error granted to a simulated number, which is never quite exact
LEVELS = 1.96, 3.29  # standard errors, of 95 % and 99.9 %: up to the first a number is right, beyond the second wrong


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        heading: as printed.
        policy: its registered name.
        predictor: what the policy is told.
        source: whether the print calls it a formula's value or a simulation's.
        threshold: whether the policy has a threshold, which is then the optimal one.
        form: for a closed form instead of printed numbers: (load, threshold) -> mean response time.
    """

    heading: str
    policy: str
    predictor: str
    source: Literal["formula", "simulation"] = "formula"
    threshold: bool = False
    form: Callable[[float, float], float] | None = None


@dataclass(frozen=True)
class SurveyTable:
    """One table: a row per load, a column per policy.

    Attributes:
        caption: what it shows.
        size: spec of the size law.
        columns: after that of the loads.
        rows: the print, digit by digit; where the columns have closed forms, the loads alone.
        notes: what is known of the causes of numbers that are off, by heading.
    """

    caption: str
    size: str
    columns: tuple[Column, ...]
    rows: str
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def loads(self) -> list[float]:
        """The loads, one to a row."""
        return [float(row.split()[0]) for row in self.rows.split("\n")]

    def printed(self, load: float, column: Column) -> str | None:
        """Return the number in a cell as it is printed, or None in a column that has a closed form."""
        row = self.rows.split("\n")[self.loads.index(load)].split()
        return None if column.form else row[1 + self.columns.index(column)]


def sprpt_exponential(load: float) -> float:
    """Return E[T] of SPRPT for exponential sizes of mean 1 and exponential predictions, by quadrature.

    With m_k(y) = E[S^k; Y > y] = 2 y^((k+1)/2) K_(k+1)(2 sqrt y) and rho_y = lambda (1 - m_1(y)),

    E[T] = E over Y of (lambda / 2) (2 - (2 / e) m_2(Y)) / (1 - rho_Y)^2
           + (1 - 1 / e) int_0^inf m_0(y) / (1 - rho_y) dy + 1 / e.
    """

    def tail(k: int, root: float) -> float:
        return 2 * root ** (k + 1) * kv(k + 1, 2 * root)

    def left(root: float) -> float:
        return 1 - load * (1 - tail(1, root))

    def wait(root: float) -> float:  # Y has density 2 K_0(2 sqrt y); root is sqrt y
        recycled = 2 - 2 / np.e * tail(2, root)
        return 0.5 * load * recycled / left(root) ** 2 * 4 * root * kv(0, 2 * root)

    def residence(root: float) -> float:
        return (1 - 1 / np.e) * tail(0, root) / left(root) * 2 * root

    top = 25.0  # K_0(50) is below 1e-22
    parts = [quad(f, 1e-12, top, points=(1.0, 3.0, 6.0), limit=500, epsrel=1e-10)[0] for f in (wait, residence)]
    return float(sum(parts) + 1 / np.e)


# Of no print: what the closed forms say.
_FORMS = SurveyTable(
    "Closed forms for exponential sizes and predictions: t1 and t2 at their optimal threshold, and SPRPT",
    "exponential",
    (
        Column("t1", "one-bit", "exponential", threshold=True, form=lambda *at: one_bit_exponential(*at)[0]),
        Column("t2", "one-bit-lcfs", "exponential", threshold=True, form=lambda *at: one_bit_exponential(*at)[1]),
        Column("SPRPT", "sprpt", "exponential", form=lambda load, _: sprpt_exponential(load)),
    ),
    "0.5\n0.6\n0.7\n0.8\n0.9\n0.95\n0.98",
)


def _table(caption: str, size: str, columns: list[list[Any]], rows: str, notes: Mapping[str, str]) -> SurveyTable:
    return SurveyTable(caption, size, tuple(Column(*told) for told in columns), rows, notes)


_PRINTS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
TABLES: dict[str, SurveyTable] = {name: _table(**told) for name, told in _PRINTS.items()} | {"closed-forms": _FORMS}

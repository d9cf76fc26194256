"""Ranks that look at one number of the law of what is left of a job, given its prediction and its age.

* `serpt`: its mean (shortest expected remaining processing time).
* `quantile`: its quantile at q; with q above 1/2 a job of uncertain size waits behind one of certain size.
* `cvar`: its mean beyond that quantile, the conditional value at risk; q = 0 is `serpt`.

The law is the one that the predictor is believed to have, as with `gittins`, which looks at all of it. Ranks are
tabulated and interpolated as those of `gittins`.

Source: Righter, Shanthikumar, Yamazaki, "On Extremal Service Disciplines in Single-Stage Queueing Systems", 1990
(SERPT); quantile and CVaR as rank are ours.
"""

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.base import Policy
from llmqueue_gym.policies.gittins import rank

_SOURCE = "Righter, Shanthikumar, Yamazaki 1990"


@dataclass(frozen=True)
class _Prepare:
    """The table of a rank: of the quantile at q, or of the mean beyond it."""

    q: float
    mean: bool

    def __call__(self, size: Any, predictor: Any) -> np.ndarray:
        return _table(self, size, predictor)


@lru_cache(maxsize=16)
def _table(of: _Prepare, size: Any, predictor: Any) -> np.ndarray:
    from llmqueue_gym.theory.gittins import gittins_table  # compiles, so it waits until somebody needs a rank
    from llmqueue_gym.theory.residual import residual_cvar, residual_quantile

    left = partial(residual_cvar if of.mean else residual_quantile, q=of.q)
    y, age, table = gittins_table(size, predictor, ranks_of=left)
    return np.concatenate([[len(y), len(age)], y, age, table.ravel()])


def serpt() -> Policy:
    """Shortest mean of what is left, given prediction and age."""
    return Policy("serpt", rank, shape="general", prepare=_Prepare(0.0, mean=True), source=_SOURCE)


def quantile(q: float = 0.5) -> Policy:
    """Smallest quantile at q of what is left, given prediction and age."""
    _check("quantile", q)
    return Policy("quantile", rank, shape="general", prepare=_Prepare(q, mean=False), source=_SOURCE)


def cvar(q: float = 0.5) -> Policy:
    """Smallest mean of what is left beyond its quantile at q, given prediction and age."""
    _check("cvar", q)
    return Policy("cvar", rank, shape="general", prepare=_Prepare(q, mean=True), source=_SOURCE)


def _check(name: str, q: float) -> None:
    if not 0 <= q < 1 or (name == "quantile" and q == 0):
        raise BadInput(f"{name}: q={q:g} must lie between 0 and 1")

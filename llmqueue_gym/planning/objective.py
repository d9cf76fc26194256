"""What a fleet is to keep: limits on the times of a request, and the share of requests that are to be within them.

Over a recorded stream the share is to be kept in most quarter hours, one by one, as that is what users of a busy
quarter meet; of a law at a rate it is the share in the long run. `windows` says which: the share of quarter hours, or
`mean`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.evaluation.metrics import seconds
from llmqueue_gym.evaluation.serving import E2E, GAP, LATENCIES, TPOT, TTFT, WAITED
from llmqueue_gym.systems.run import Run

LIMITS = {"wait": WAITED, "ttft": TTFT, "tpot": TPOT, "gap": GAP, "e2e": E2E}  # latency of each limit
WORDS = {
    "wait": "until it is first scheduled",
    "ttft": "until the first token",
    "tpot": "for each later token, on average",
    "gap": "between any two tokens",
    "e2e": "until the last token",
}
MEAN = "mean"
WINDOWS = 0.95  # of the quarter hours of a recorded stream, unless told otherwise
LONGEST = 1e6  # s that a limit may be
_KEYS = (*LIMITS, "share", "windows")


@dataclass(frozen=True)
class Objective:
    """Limits, and how often they are to be met.

    Attributes:
        limits: most s by name, one of `LIMITS` at least.
        share: of the requests that are to be within all limits, from 0 to 1.
        windows: share of the windows in which that share is to be kept; None: it is the share in the long run.

    Raises:
        BadInput: there is no limit, or a number is out of range.
    """

    limits: Mapping[str, float]
    share: float = 0.95
    windows: float | None = None

    def __post_init__(self) -> None:
        if not self.limits:
            raise BadInput(
                f"slo: there is no limit; give one of {', '.join(LIMITS)}, as in ttft=1,tpot=0.05,share=0.95"
            )
        for name, most in self.limits.items():
            if name not in LIMITS:
                raise BadInput(f"slo: unknown limit {name!r}; {nearest(name, LIMITS)}")
            if not 0 < most < np.inf:
                raise BadInput(f"slo: {name}={most:g} must be positive, in s, for example 0.5")
            if most > LONGEST:
                raise BadInput(f"slo: {name}={most:g} is no limit; give at most {LONGEST:g} s, or leave it out")
        if not 0 < self.share <= 1:
            raise BadInput(f"slo: share={self.share:g} is a share of the requests, above 0 and at most 1, such as 0.95")
        if self.windows is not None and not 0 < self.windows < 1:
            raise BadInput(
                f"slo: windows={self.windows:g} is a share of the windows, between 0 and 1, such as 0.95; or {MEAN}"
            )

    def met(self, run: Run) -> np.ndarray:
        """Return which requests are done and within all limits `(n,)`; one of a single token is within any TPOT."""
        within = run.done.copy()
        for above in self.missed(run).values():
            within &= ~above
        return within

    def missed(self, run: Run) -> dict[str, np.ndarray]:
        """Return which requests are above each limit, or never done `(n,)`."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return {name: (LATENCIES[LIMITS[name]](run) > most) | ~run.done for name, most in self.limits.items()}

    def __str__(self) -> str:
        limits = " and ".join(f"{name} {seconds(most)}" for name, most in self.limits.items())
        often = "in the long run" if self.windows is None else f"in {100 * self.windows:.4g} % of all windows"
        return f"{100 * self.share:.4g} % of the requests within {limits}, {often}"


def objective(text: str, windows: float | None = None) -> Objective:
    """Return the objective that a text says, as `ttft=1,tpot=0.05,share=0.95`.

    Args:
        text: `name=number`, by commas: limits in s, `share`, and `windows`, a share or `mean`.
        windows: where the text says nothing of them.

    Raises:
        BadInput: a name is unknown or told twice, or a value is no number.
    """
    told: dict[str, Any] = {}
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if name not in _KEYS:
            raise BadInput(f"slo: unknown key {name!r}; {nearest(name, _KEYS)}")
        if name in told:
            raise BadInput(f"slo: {name} is told twice; tell it once")
        if name == "windows" and value == MEAN:
            told[name] = None
            continue
        try:
            told[name] = float(value)
        except ValueError:
            said = f"{name}={value!r} is no number" if equals else f"{name} has no value"
            raise BadInput(f"slo: {said}; for example {name}=0.5") from None
    share, often = told.pop("share", Objective.share), told.pop("windows", windows)
    return Objective(told, share, often)

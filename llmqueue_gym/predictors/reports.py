"""Users say themselves how long their jobs are, in classes, and may lie; whoever outlives his report may be punished.

The source has no rule for how reports are drawn; classes of equal probability and the noise are this project's.
Source: Grosof, Mitzenmacher, "Incentive Compatible Queues Without Money", 2022 (arXiv 2202.05747).
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.errors import BadInput
from llmqueue_gym.predictors import predictor
from llmqueue_gym.predictors.base import Predictor

PUNISHED = 0.5  # is added to the report of a job that will be punished if it outlives it


@dataclass(frozen=True)
class Reports(Predictor):
    """The report 1, ..., k of a user, "at most edge i"; the last has no limit. PUNISHED is added where a coin says so.

    Attributes:
        k: classes, equally likely under the size law.
        noise: the model of the estimate, whose class a truthful user reports, or its spec with `;` for the comma.
        punished: share of the jobs that are punished if they outlive their report.
        say: what a user whose estimate is in class 1, 2, ... reports, as in `1;1;3`; the truth unless told otherwise.
        slip: share of the jobs that report any class, by chance.
    """

    name: ClassVar[str] = "reports"
    k: int = 3
    noise: str | Predictor = "lognormal:sigma=0.5"
    punished: float = 0.5
    say: str = ""
    slip: float = 0.0
    _edges: tuple[float, ...] = field(default=(), init=False)

    def __post_init__(self) -> None:
        if isinstance(self.noise, str):
            object.__setattr__(self, "noise", predictor(self.noise.replace(";", ",")))
        self._check("k", 2 <= self.k <= 64, "be from 2 to 64")
        self._check("punished", 0 <= self.punished <= 1, "lie in [0, 1]")
        self._check("slip", 0 <= self.slip <= 1, "lie in [0, 1]")
        _ = self.reported

    @property
    def reported(self) -> np.ndarray:
        """The report of each class of estimates `(k,)`, from 1."""
        if not self.say:
            return np.arange(1, self.k + 1)
        parts = self.say.split(";")
        if len(parts) != self.k or not all(part.isdecimal() and 1 <= int(part) <= self.k for part in parts):
            raise BadInput(f"reports: say={self.say} must be {self.k} whole numbers from 1 to {self.k}, as in 1;1;2")
        return np.array([int(part) for part in parts])

    def bind(self, size: Distribution) -> "Reports":
        """Return this model with the classes of a size law; where many jobs have one size, some hold nobody."""
        edges = size.ppf(np.arange(1, self.k) / self.k)
        return replace(self, noise=predictor(self.noise).bind(size))._fitted(_edges=tuple(edges.tolist()))

    @property
    def limits(self) -> np.ndarray:
        """What a report promises `(k,)`, s; the last is inf. BadInput before `bind`."""
        if not self._edges:
            raise BadInput("reports: there are no classes before bind(size), which cuts the size law into them")
        return np.append(self._edges, np.inf)

    def atoms(self) -> np.ndarray:
        """Return the reports, each without and with the punishment."""
        return np.sort(np.concatenate([np.arange(1, self.k + 1), np.arange(1, self.k + 1) + PUNISHED]))

    def breakpoints(self) -> tuple[float, ...]:
        """Return the limits, and where the law of the noise jumps or bends at them."""
        noise, limits = predictor(self.noise), self.limits[:-1]
        return tuple(sorted({*limits.tolist(), *(x for edge in limits for x in noise.breakpoints_at(float(edge)))}))

    def shares(self, x: np.ndarray) -> np.ndarray:
        """Return the probability that the estimate of a size is in each class `(n, k)`, for sizes `(n,)`."""
        below = np.asarray(predictor(self.noise).cdf(self.limits[None, :-1], np.asarray(x)[:, None]), float)
        return np.diff(below, axis=1, prepend=0.0, append=1.0)

    def predict(self, sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the reports, some of them with PUNISHED."""
        estimates = predictor(self.noise).predict(sizes, rng)
        said = self.reported[np.searchsorted(self.limits, estimates)]
        slips = rng.random(len(sizes)) < self.slip
        said = np.where(slips, rng.integers(1, self.k + 1, len(sizes)), said)
        return said + np.where(rng.random(len(sizes)) < self.punished, PUNISHED, 0.0)

    def cdf(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return P(Y <= y | S = x)."""
        y, x = np.broadcast_arrays(np.asarray(y, float), np.asarray(x, float))
        some, back = np.unique(x, return_inverse=True)
        said = np.zeros((len(some), self.k))
        np.add.at(said.T, self.reported - 1, self.shares(some).T)
        said = (1 - self.slip) * said + self.slip / self.k
        parts = np.stack([(1 - self.punished) * said, self.punished * said], axis=2).reshape(len(some), -1)
        told = np.searchsorted(self.atoms(), y, side="right")
        reached = np.concatenate([np.zeros((len(some), 1)), np.cumsum(parts, axis=1)], axis=1)
        reached[:, -1] = 1.0
        return reached[back.reshape(x.shape), told]

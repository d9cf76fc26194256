"""One bit that is wrong as often as told; which jobs it is wrong about is what models differ in."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.predictors.base import Predictor

WHERE = ("anywhere", "shorts", "longs", "edge", "logistic")
WIDEST = 50.0  # of the logarithm of size over threshold


@dataclass(frozen=True)
class ConfusedBit(Predictor):
    """Short where the size is at most the threshold, but for a given share of all jobs, whose bit is wrong.

    Given out is threshold / 2 for short and 2 threshold for long, as by `one-bit`. With z = log(size / threshold), the
    bit of a job is wrong with probability

    * `anywhere`: error, whatever the size;
    * `shorts`, `longs`: the same for all that are truly short, or truly long, and 0 for the others;
    * `edge`: 1/2 where |z| <= w, and 0 elsewhere: who is hard to tell is told by the toss of a coin;
    * `logistic`: 1 / (1 + exp(|z| / s)), so that P(long) is logistic in the logarithm of the size.

    Width and scale follow from the share of wrong bits, which is the same in all of them: `bind(size)` finds them.

    Attributes:
        threshold: s.
        error: share of all jobs whose bit is wrong, in [0, 1].
        where: which bits are wrong.

    Raises:
        BadInput: a value is out of range; in `bind`, the law has fewer jobs than shall be called wrong.
    """

    name: ClassVar[str] = "confused-bit"
    threshold: float = 1.0
    error: float = 0.1
    where: str = "anywhere"
    _level: float | None = field(default=None, init=False, repr=False)  # a probability, the width or the scale

    def __post_init__(self) -> None:
        self._check("threshold", 0 < self.threshold < np.inf, "be positive and finite")
        self._check("error", 0 <= self.error <= 1, "be a share, 0 to 1")
        if self.where not in WHERE:
            raise BadInput(f"confused-bit: where={self.where!r}; {nearest(self.where, WHERE)}")

    def bind(self, size: Distribution) -> "ConfusedBit":
        """Return this model with as many wrong bits as told under a size law."""
        return self._fitted(_level=self._found(size) if self.error else 0.0)

    def wrong(self, x: np.ndarray) -> np.ndarray:
        """Return the probability that the bit of a job of size x is wrong, of the shape of x.

        Raises:
            BadInput: before `bind`.
        """
        x = np.asarray(x, float)
        if self._level is None:
            raise BadInput("confused-bit: which bits are wrong is not known before bind(size)")
        return self._wrong(x, self._level)

    def predict(self, sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the value of each bit, one uniform number of `rng` for each job."""
        short = rng.random(len(sizes)) < self._short(np.asarray(sizes, float))
        return np.where(short, self.threshold / 2, self.threshold * 2)

    def cdf(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return P(Y <= y | S = x)."""
        y, x = np.asarray(y, float), np.asarray(x, float)
        short = np.where(y >= self.threshold / 2, self._short(x), 0.0)
        return np.where(y >= self.threshold * 2, 1.0, short)

    def atoms(self) -> np.ndarray:
        """Return the two values given out."""
        return np.array([self.threshold / 2, self.threshold * 2])

    def breakpoints(self) -> tuple[float, ...]:
        """Return the threshold, and the ends of the part in which bits are tossed."""
        if self.where != "edge" or not self._level:
            return (self.threshold,)
        return self.threshold * np.exp(-self._level), self.threshold, self.threshold * np.exp(self._level)

    def _short(self, x: np.ndarray) -> np.ndarray:
        wrong = self.wrong(x)
        return np.where(x <= self.threshold, 1 - wrong, wrong)

    def _wrong(self, x: np.ndarray, level: float) -> np.ndarray:
        if level == 0:
            return np.zeros_like(x)
        if self.where == "anywhere":
            return np.full_like(x, level)
        if self.where in ("shorts", "longs"):
            return np.where((x <= self.threshold) == (self.where == "shorts"), level, 0.0)
        with np.errstate(divide="ignore"):
            far = np.abs(np.log(x / self.threshold))
        return np.where(far <= level, 0.5, 0.0) if self.where == "edge" else expit(-far / level)

    def _found(self, size: Distribution) -> float:
        """Return the probability, width or scale at which the share of wrong bits is `error`."""
        if self.where == "anywhere":
            return self.error
        if self.where in ("shorts", "longs"):
            most = float(size.cdf(self.threshold) if self.where == "shorts" else size.sf(self.threshold))
            self._refuse_more_than(most)
            return self.error / most
        if self.where == "edge":
            self._refuse_more_than(0.5)

            def share(width: float) -> float:
                low, high = self.threshold * np.exp(-width), self.threshold * np.exp(width)
                return 0.5 * float(size.cdf(high) - size.cdf(low))
        else:
            x, p = _points(size, self.threshold)
            self._refuse_more_than(0.5)

            def share(width: float) -> float:
                return float(p @ self._wrong(x, width))

        if share(WIDEST) <= self.error:
            return WIDEST
        return float(brentq(lambda width: share(width) - self.error, 1e-9, WIDEST, xtol=1e-13))

    def _refuse_more_than(self, most: float) -> None:
        if self.error > most:
            who = {"shorts": "of jobs that are short", "longs": "of jobs that are long"}.get(self.where, "in all")
            raise BadInput(
                f"confused-bit: error={self.error:g} is more than can be wrong {who}; choose {most:g} at most"
            )


def _points(size: Distribution, threshold: float) -> tuple[Any, Any]:
    """Return sizes and probabilities `(n,)` that sum to an expectation, split at the threshold."""
    from llmqueue_gym.theory.joint import JointLaw

    joint = JointLaw(size, cuts=(threshold,))
    return joint.x, joint.p

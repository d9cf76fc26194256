"""Which questions are hard: whether each model answers each call rightly.

A question has a difficulty, and a model an ability; it answers rightly with probability 1 / (1 + exp(difficulty -
ability)), and given the difficulty the models err independently of each other. What a strong model gets wrong is
therefore mostly wrong of a weak one, too.

Source: the model of item-response theory with one parameter: Rasch, "Probabilistic Models for Some Intelligence and
Attainment Tests", 1960; difficulties that are normal, Bock and Lieberman, Psychometrika 1970.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import norm

from llmqueue_gym.registry import Named, Registry
from llmqueue_gym.workloads.streams import Seeds, stream

MOST_KINDS = 64
NODES = 201  # of the quadrature over difficulties
FARTHEST = 60.0  # ability within which the one that gives a share of right answers is looked for, over 1 + the spread


@dataclass(frozen=True)
class Rasch(Named):
    """Difficulties that are normal, within kinds of calls that differ in their mean.

    Attributes:
        spread: standard deviation of the difficulty, in logits.
        kinds: of calls, as many of each; the kind of a call is known.
        between: share of the variance of difficulties that is between kinds.
    """

    name: ClassVar[str] = "rasch"
    spread: float = 2.0
    kinds: int = 1
    between: float = 0.5

    def __post_init__(self) -> None:
        self._check("spread", 0 <= self.spread <= 100, "lie in [0, 100], for example 2")
        self._check("kinds", 1 <= self.kinds <= MOST_KINDS, f"be 1 to {MOST_KINDS}")
        self._check("between", 0 <= self.between <= 1, "lie in [0, 1]")

    @cached_property
    def means(self) -> np.ndarray:
        """Mean difficulty of each kind `(kinds,)`: evenly spaced normal quantiles of the variance between them."""
        if self.kinds == 1:
            return np.zeros(1)
        z = norm.ppf((np.arange(self.kinds) + 0.5) / self.kinds)
        return self.spread * np.sqrt(self.between) * z / np.sqrt(np.mean(z**2))

    @property
    def within(self) -> float:
        """Standard deviation of the difficulties of a kind."""
        return self.spread * (1.0 if self.kinds == 1 else float(np.sqrt(1 - self.between)))

    @cached_property
    def _difficulties(self) -> tuple[np.ndarray, np.ndarray]:
        """Difficulties and their weights, by Gauss and Hermite in each kind."""
        x, weights = np.polynomial.hermite_e.hermegauss(NODES)
        difficulties = self.means[:, None] + self.within * x
        weights = np.broadcast_to(weights / weights.sum() / self.kinds, difficulties.shape)
        return difficulties.ravel(), weights.ravel()

    def share(self, ability: float) -> float:
        """Return the share of right answers at an ability."""
        difficulties, weights = self._difficulties
        return float(weights @ expit(ability - difficulties))

    def both(self, ability: float, other: float) -> float:
        """Return the share of calls that a model of each ability answers rightly."""
        difficulties, weights = self._difficulties
        return float(weights @ (expit(ability - difficulties) * expit(other - difficulties)))

    def ability(self, share: float) -> float:
        """Return the ability at which so large a share of answers is right."""
        most = FARTHEST * (1 + self.spread)
        return float(brentq(lambda ability: self.share(ability) - share, -most, most))

    def sample(self, n: int, abilities: Sequence[float], seed: int | Seeds) -> tuple[np.ndarray, np.ndarray]:
        """Return the kinds of calls `(n,)` and whether each model answers rightly `(n, m)`, bool.

        Args:
            n: calls.
            abilities: of the models.
            seed: of which kinds, difficulties and each model have a stream of their own.
        """
        kinds = stream(seed, "model-choice.kinds").integers(0, self.kinds, size=n)
        difficulty = self.means[kinds] + self.within * stream(seed, "model-choice.difficulties").standard_normal(n)
        luck = [stream(seed, f"model-choice.right.{m}").random(n) for m in range(len(abilities))]
        return kinds, np.stack(luck, axis=1) < expit(np.asarray(abilities) - difficulty[:, None])


QUESTIONS = Registry("law of questions", {"rasch": Rasch}, Rasch)


def questions(given: Any) -> Rasch:
    """Return a law of questions from its spec, or the law itself."""
    found: Rasch = QUESTIONS(given)
    return found

"""What is predicted of whether an answer will be right: the chance of it, known as well as its AUC says.

A score is normal with variance one, and its mean is larger by d for right answers than for wrong ones. The chance that
a right answer has the larger score is then Phi(d / sqrt 2), which is the area under the ROC curve. What is told is the
posterior chance given the score and the share of right answers, so it is calibrated whatever the AUC: of those told p,
a share p is right.

Source: the binormal model, Green and Swets, "Signal Detection Theory and Psychophysics", 1966; Dorfman and Alf 1969.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import expit, logit
from scipy.stats import norm

from llmqueue_gym.predictors.base import Model

SURE = 0.9999  # AUC from which on the truth is told


@dataclass(frozen=True)
class QualityPredictor(Model):
    """Chances to be right.

    Attributes:
        auc: area under the ROC curve, from 0.5, which knows the share of right answers alone, to 1, the truth.
    """

    name: ClassVar[str] = "quality"
    auc: float = 0.75

    def __post_init__(self) -> None:
        self._check("auc", 0.5 <= self.auc <= 1, "lie in [0.5, 1], for example 0.75")

    @property
    def distance(self) -> float:
        """The distance d of the mean scores, in standard deviations."""
        return float(np.sqrt(2) * norm.ppf(min(self.auc, SURE)))

    def predict(self, right: np.ndarray, rng: np.random.Generator, share: float | None = None) -> np.ndarray:
        """Return the predicted chances `(n,)`.

        Args:
            right: whether each answer is right `(n,)`; or whatever else is to be predicted, such as that the strong
                model wins.
            rng: the stream that belongs to these predictions alone; each takes one normal number.
            share: of right ones, as it is known beforehand; that of `right` unless told otherwise.
        """
        right = np.asarray(right, bool)
        score = rng.standard_normal(len(right)) + self.distance * right
        if self.auc > SURE:
            return right.astype(float)
        known = float(right.mean()) if share is None else share
        return expit(logit(known) + self.distance * score - self.distance**2 / 2)


def auc_of(predicted: np.ndarray, right: np.ndarray) -> float:
    """Return the chance that a right one is predicted above a wrong one, of ties a half; NaN where one kind lacks."""
    from scipy.stats import rankdata

    right = np.asarray(right, bool)
    n, m = int(right.sum()), int((~right).sum())
    if n == 0 or m == 0:
        return float("nan")
    return float((rankdata(predicted)[right].sum() - n * (n + 1) / 2) / (n * m))

"""Predictions refreshed while a request generates: a noisy probe, smoothed over time.

Source: Shahout et al., "Don't Stop Me Now: Embedding Based Scheduling for LLMs" (Trail), ICLR 2025: bins, smoothing
and the mean absolute errors 46.1 (on the prompt) and 33.9 tokens (probe). In place of the neural probe stands the
truth with normal noise of standard deviation MAE sqrt(pi / 2), as in the noisy oracle of Trail's code.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from scipy.special import ndtr

from llmqueue_gym.errors import BadInput
from llmqueue_gym.predictors.lengths.base import Forecast, LengthPredictor, length_sample
from llmqueue_gym.requests import Refreshed


@dataclass(frozen=True)
class Trail(LengthPredictor):
    """Ten equal bins of remaining tokens; every 8 tokens a probe says how likely each is, and Bayes' rule smooths.

    A probe reads z = remaining + noise, within 0..longest, and gives bin i the probability p_i that a normal with mean
    z and the noise's standard deviation has there, scaled to sum to 1. The first probe of a request, after `every`
    tokens, starts its beliefs, q = p; each later one gives q proportional to (T^every q) p. T is the published change
    per token: a bin keeps 1 - 1/w of its mass, w its width in tokens, and hands 1/w to the next lower one; the lowest
    keeps all. The remaining tokens are predicted to be sum q_i m_i, m_i the middle of a bin; the total adds those
    generated. The prediction on arrival is such a probe with the error `initial_mae`, and takes no part in the
    smoothing.

    How large the errors are: |z - remaining| has the mean `mae` before z is kept within 0..longest. Noise is
    independent from probe to probe, so smoothing takes much of it away, more than from a real probe, whose errors
    along a request hang together. On the Azure conversation lengths with the defaults the first refreshed total has
    0.96 times `mae` as mean absolute error, all refreshed ones 0.55 times (0.91 and 0.67 with `longest=none`, 1000
    tokens there). However small `mae`, about a quarter of a bin's width remains; outputs longer than `longest` are
    underestimated until their last `longest` tokens.

    Attributes:
        mae: mean absolute error of a probe, tokens.
        initial_mae: the same of the one on arrival.
        every: tokens between probes.
        longest: tokens, the upper end of the last bin; `none` takes the longest output of the bound sample.
        bins: number of bins.
    """

    name: ClassVar[str] = "trail"
    mae: float = 33.9
    initial_mae: float = 46.1
    every: int = 8
    longest: float | None = 512.0
    bins: int = 10
    _longest: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        for what in ("mae", "initial_mae"):
            self._check(what, 1e-9 <= getattr(self, what) <= 1e9, "be from 1e-9 to 1e9 tokens")
        for what in ("every", "bins"):
            self._check(what, getattr(self, what) >= 1, "be at least 1")
        if self.longest is not None:
            object.__setattr__(self, "_longest", self._wide_enough(self.longest))

    def bind(self, outputs: np.ndarray) -> "Trail":
        """Return this model with bins up to `longest`, or to the longest of a sample."""
        return self._fitted(_longest=self._wide_enough(self.longest or length_sample(outputs, self.name)[-1]))

    def _wide_enough(self, longest: float) -> float:
        if not self.bins <= longest < np.inf:  # narrower bins than a token would hand on more than they have
            raise BadInput(f"trail: bins of {longest:g} / {self.bins} tokens; each must be at least 1 token wide")
        return float(longest)

    def transition(self) -> np.ndarray:
        """Return T^every `(bins, bins)`: column j says where the mass of bin j goes between two probes."""
        move = self.bins / self._longest
        step = np.diag(np.full(self.bins, 1 - move)) + np.diag(np.full(self.bins - 1, move), 1)
        step[0, 0] = 1.0
        return np.linalg.matrix_power(step, self.every)

    def predict(self, requests: np.ndarray, outputs: np.ndarray, rng: np.random.Generator) -> Forecast:
        """Return the prediction on arrival, and the refreshed ones for every multiple of `every` below the output.

        Entry 0 of a request in the table is the prediction on arrival.
        """
        if not self._longest:
            raise self.unbound()
        outputs = np.asarray(outputs, np.int64)
        initial = np.maximum(
            self._probe(outputs, self.initial_mae, rng.standard_normal(len(outputs))) @ self._middles(), 1.0
        )
        entries = -(-outputs // self.every)  # generated 0, every, ... below the output
        start = np.concatenate([[0], np.cumsum(entries)])
        noise = rng.standard_normal(int(start[-1]))
        total = np.empty(int(start[-1]))
        total[start[:-1]] = initial

        longest_first = np.argsort(-entries, kind="stable")
        alive = np.searchsorted(-entries[longest_first], -np.arange(1, entries.max(initial=1)))  # with an entry k
        carry, belief = self.transition().T, np.ones((len(outputs), self.bins))
        for k, count in enumerate(alive, start=1):
            rows = longest_first[:count]
            place, generated = start[rows] + k, k * self.every
            seen = self._probe(outputs[rows] - generated, self.mae, noise[place])
            belief = seen if k == 1 else (belief[:count] @ carry) * seen
            mass = belief.sum(axis=1, keepdims=True)
            belief = np.where(mass > 0, belief / np.where(mass > 0, mass, 1.0), seen)  # a clash starts anew
            total[place] = generated + np.maximum(belief @ self._middles(), 1.0)
        return Forecast(initial, initial.copy(), initial.copy(), Refreshed(self.every, total, start))

    def _middles(self) -> np.ndarray:
        return (np.arange(self.bins) + 0.5) * (self._longest / self.bins)

    def _probe(self, remaining: np.ndarray, mae: float, noise: np.ndarray) -> np.ndarray:
        """Return the probabilities of the bins `(n, bins)` for remaining tokens and standard normal noise `(n,)`."""
        sigma = mae * np.sqrt(np.pi / 2)
        z = np.clip(remaining + sigma * noise, 0.0, self._longest)
        below = ndtr((np.linspace(0.0, self._longest, self.bins + 1) - z[:, None]) / sigma)
        mass = np.diff(below, axis=1)
        return mass / mass.sum(axis=1, keepdims=True)

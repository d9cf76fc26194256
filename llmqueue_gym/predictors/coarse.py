"""Models that tell only which cell a noisy prediction falls in, by one number for each cell.

The cells are `(-inf, edges[0]], (edges[0], edges[1]], ..., (edges[-1], inf)`.
"""

import numpy as np

from llmqueue_gym.predictors import predictor
from llmqueue_gym.predictors.base import Predictor


class Coarse(Predictor):
    """A noisy prediction Y' is replaced by the value of its cell.

    Attributes:
        noise: the model of Y', or its spec; within the spec of this model a `;` stands for the comma, as in
            `one-bit:threshold=1,noise=multiplicative:low=0.5;high=2`.
    """

    noise: str | Predictor

    def __post_init__(self) -> None:
        if isinstance(self.noise, str):
            object.__setattr__(self, "noise", predictor(self.noise.replace(";", ",")))

    def cells(self) -> tuple[np.ndarray, np.ndarray]:
        """Return increasing edges `(k - 1,)` and the increasing values given out `(k,)`, both in s."""
        raise NotImplementedError

    def predict(self, sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the value of the cell of each noisy prediction."""
        edges, values = self.cells()
        return values[np.searchsorted(edges, predictor(self.noise).predict(sizes, rng))]

    def cdf(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return P(Y <= y | S = x), from the noise's law at the edges."""
        edges, values = self.cells()
        told = np.searchsorted(values, y, side="right")  # Y <= y means that Y' fell in one of the first `told` cells
        p = predictor(self.noise).cdf(np.concatenate([[0.0], edges, [0.0]])[told], x)
        return np.where(told == 0, 0.0, np.where(told == len(values), 1.0, p))

    def atoms(self) -> np.ndarray:
        """Return the values given out."""
        return self.cells()[1]

    def breakpoints(self) -> tuple[float, ...]:
        """Return the sizes at which the noise's law at an edge jumps or bends."""
        noise = predictor(self.noise)
        return tuple(sorted({x for edge in self.cells()[0] for x in noise.breakpoints_at(float(edge))}))

"""A measured predictor: the empirical joint law of (true, predicted) lengths in a file.

Made for the published outputs of real length predictors, such as SSJF (Qiu et al., 2024) and Block (2025).
"""

import math
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from llmqueue_gym.columns import read_columns, read_header
from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.distributions.discrete import Empirical
from llmqueue_gym.distributions.integration import few
from llmqueue_gym.errors import BadInput
from llmqueue_gym.predictors.base import Predictor
from llmqueue_gym.registry import ByData

# Names looked for where the caller gives none: the compact form, SSJF's files, Block's (Vidur's) files.
TRUE = ("output_tokens", "output_token_length", "num_decode_tokens")
PREDICTED = ("predicted_tokens", "predicted_class5", "predicted_length", "num_predicted_decode_tokens")
NEIGHBOURS = 64  # pairs that speak for a size that is not in the file
CLASSES = 32  # integers below this are class labels, not lengths
SAME = 1e-9  # relative: equal but for the rounding of the scale
_TABLE = 2**24  # entries of the table of `cdf` that fit in memory with ease


def read_pairs(file: str, true: str = "", predicted: str = "") -> tuple[np.ndarray, np.ndarray, bool]:
    """Return true and predicted lengths of a file, each `(n_pairs,)`, and whether the latter are labels of classes.

    Args:
        file: csv or csv.gz with a header.
        true: column of the true length; empty takes the first of `TRUE` that the file has.
        predicted: column of the predicted length or class; empty finds it likewise.

    Raises:
        BadInput: as of `Pairs`.
    """
    header = read_header(file)
    asked = ((true, TRUE), (predicted, PREDICTED))
    names = [name or next((known for known in usual if known in header), usual[0]) for name, usual in asked]
    lengths, said = (column.numbers() for column in read_columns(file, names))
    if not lengths.any():
        raise BadInput(f"{file}: every true length is 0")
    lengths, said = lengths[lengths > 0], said[lengths > 0]
    return lengths, said, bool(np.all((said == said.round()) & (said < CLASSES)))


@dataclass(frozen=True, eq=False)
class Pairs(ByData, Predictor):
    """Y given S = x is the prediction of a pair drawn uniformly from those that speak for x.

    Those are the pairs whose true length is x, if there are any; otherwise the 64 pairs whose true lengths are nearest
    to x in rank. With `size_law()` as the law of sizes the joint law is therefore exactly the file's.

    Class labels (whole numbers from 0 to 31 throughout) are turned into lengths: the mean true length of the class.
    Pairs of true length 0 are left out: there is nothing to serve. `bind(size)` scales lengths, so that their mean
    is the mean size.

    Attributes:
        file: csv or csv.gz with a header.
        true: column of the true length; empty takes the first of `TRUE` that the file has.
        predicted: column of the predicted length or class; empty finds it likewise.

    Raises:
        BadInput: the file cannot be read or is empty, a column is missing, or a value is not a number >= 0; it names
            the file, the data row (from 1) and the column.
    """

    name: ClassVar[str] = "pairs"
    file: str
    true: str = ""
    predicted: str = ""
    _true: np.ndarray = field(init=False, repr=False, compare=False)  # (n_pairs,), sorted
    _predicted: np.ndarray = field(init=False, repr=False, compare=False)  # (n_pairs,), of the same pairs
    _unit: float = field(default=1.0, init=False, repr=False)  # mean true length, in the unit of the bound law

    def __post_init__(self) -> None:
        true, predicted, classes = read_pairs(self.file, self.true, self.predicted)
        if classes:
            label = predicted.astype(int)
            predicted = np.bincount(label, true)[label] / np.bincount(label)[label]
        order = np.argsort(true, kind="stable")
        fitted = {"_true": true[order], "_predicted": predicted[order], "_unit": float(true[order].mean())}
        for name, value in fitted.items():
            object.__setattr__(self, name, value)

    def _data(self) -> tuple[float | bytes, ...]:
        return self._unit, self._true.tobytes(), self._predicted.tobytes()

    def size_law(self) -> Distribution:
        """Return the empirical law of the true lengths, scaled to mean 1."""
        return Empirical(samples=self._true / self._unit)

    def bind(self, size: Distribution) -> "Pairs":
        """Return this model with lengths scaled, so that the mean true length is the mean size."""
        if not 0 < size.mean < np.inf:
            raise BadInput(f"pairs: lengths cannot be scaled to a size law with mean {size.mean:g}")
        scale = size.mean / self._unit
        true, predicted = self._true * scale, self._predicted * scale
        return self._fitted(_true=true, _predicted=predicted, _unit=float(true.mean()))

    def predict(self, sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return for each job the prediction of a random pair that speaks for it."""
        low, high = self._speakers(np.asarray(sizes, float))
        return self._predicted[low + (rng.random(len(low)) * (high - low)).astype(int)]

    def cdf(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return the share of predictions that are at most y among the pairs that speak for x."""
        y, x = np.asarray(y, float), np.asarray(x, float)
        low, high = self._speakers(x.ravel())
        # Few sizes differ in who speaks for them: one row of a table for each such group, one column for each y.
        groups, row = np.unique(low * (len(self._true) + 1) + high, return_inverse=True)
        columns, column = np.unique(y, return_inverse=True)
        shape = np.broadcast_shapes(y.shape, x.shape)
        if len(groups) * len(columns) > max(_TABLE, 2 * math.prod(shape)):  # only a diagonal is asked for
            flat = [np.array_split(np.broadcast_to(a, shape).ravel(), math.prod(shape) // 1024) for a in (y, x)]
            return np.concatenate([self.cdf(*part) for part in zip(*flat, strict=True)]).reshape(shape)
        table = np.empty((len(groups), len(columns)))
        first = np.searchsorted(columns, self._predicted)  # the first column that counts this pair
        for counts, group in zip(table, groups, strict=True):
            a, b = divmod(group, len(self._true) + 1)
            counts[:] = np.bincount(first[a:b], minlength=len(columns) + 1)[:-1].cumsum() / (b - a)
        return table[row.reshape(x.shape), column.reshape(y.shape)]

    def atoms(self) -> np.ndarray:
        """Return the distinct predictions."""
        return np.unique(self._predicted)

    def breakpoints(self) -> tuple[float, ...]:
        """Return the true lengths, at each of which other pairs begin to speak; none where there are more than 64."""
        return few(np.unique(self._true))

    def _speakers(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return for sizes `(n,)` the range [low, high) of pairs, each `(n,)`, that speak for them."""
        low = np.searchsorted(self._true, x * (1 - SAME), side="left")
        high = np.searchsorted(self._true, x * (1 + SAME), side="right")
        n = len(self._true)
        start = np.clip(low - NEIGHBOURS // 2, 0, max(n - NEIGHBOURS, 0))
        known = high > low
        return np.where(known, low, start), np.where(known, high, np.minimum(start + NEIGHBOURS, n))

"""Which error model describes measured pairs of true and predicted size? Maximum likelihood, scored on pairs held out.

A prediction is a cell of numbers: those nearer to it than to any other prediction in the file, or, where predictions
are labels of classes, the cell of lengths that the class stands for. So a model's chance of a pair is P(Y in cell |
S = x), and models with and without densities can be compared. Each family is fitted as it stands in the literature,
where predictions are right but for noise, and `distorted` by a factor and a power.

Sizes are in units of their mean, as in `pairs` under a size law of mean one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit

from llmqueue_gym.errors import BadInput
from llmqueue_gym.predictors import predictor
from llmqueue_gym.predictors.pairs import read_pairs

LEAST = 1e-12  # chance of a pair: what a model holds for impossible is no less likely
FEWEST = 20  # pairs
FOLDS = 2
# Families, with a start for each parameter and whether it is a share; other parameters are positive.
FAMILIES: dict[str, dict[str, tuple[float, bool]]] = {
    "exponential": {},
    "uniform": {"alpha": (0.9, True)},
    "normal": {"sigma": (0.5, False)},
    "gamma": {"shape": (4.0, False)},
    "lognormal": {"sigma": (0.5, False)},
    "laplace": {"scale": (0.4, False)},
    "two-lognormals": {"sigma": (0.3, False), "wide": (1.0, False), "share": (0.2, True)},
}


class Cells(NamedTuple):
    """Pairs to fit, in units of the mean size.

    Attributes:
        sizes: true sizes `(n,)`.
        low, high: ends of the cells of the predictions `(n,)`.
        edges: those of the classes, where predictions are classes; empty otherwise.
    """

    sizes: np.ndarray
    low: np.ndarray
    high: np.ndarray
    edges: np.ndarray

    def some(self, rows: np.ndarray) -> "Cells":
        """Return some of the pairs."""
        return self._replace(sizes=self.sizes[rows], low=self.low[rows], high=self.high[rows])


@dataclass(frozen=True)
class Fit:
    """A family fitted to pairs.

    Attributes:
        family: its name; `distorted` where a factor and a power were fitted, too.
        spec: the predictor that was fitted to all pairs.
        parameters: how many were fitted.
        log_likelihood: mean over pairs, each scored by what was fitted to the others.
        ci95: of that mean.
        behind: what it lacks to the best family, in the mean over the same pairs; and its 95 % interval.
        behind_ci95: of that.
    """

    family: str
    spec: str
    parameters: int
    log_likelihood: float
    ci95: tuple[float, float]
    behind: float
    behind_ci95: tuple[float, float]


def cells(file: str, true: str = "", predicted: str = "") -> Cells:
    """Return the pairs of a file as cells; see `read_pairs` for the arguments."""
    sizes, said, classes = read_pairs(file, true, predicted)
    if len(sizes) < FEWEST:
        raise BadInput(f"{file}: {len(sizes)} pairs are too few to fit and to score; {FEWEST} are needed")
    unit = sizes.mean()
    values, at = np.unique(said, return_inverse=True)
    if len(values) < 2:
        raise BadInput(f"{file}: all predictions are {values[0]:g}, which no model is needed for")
    inner = 0.5 * (values[1:] + values[:-1])
    if classes:  # a class stands for as many of the shortest lengths as there are predictions up to it
        inner = np.quantile(sizes, np.cumsum(np.bincount(at))[:-1] / len(said))
    ends = np.concatenate([[-np.inf], inner / unit, [np.inf]])
    return Cells(sizes / unit, ends[at], ends[at + 1], inner / unit if classes else np.empty(0))


def log_chances(spec: str, pairs: Cells) -> np.ndarray:
    """Return the log of the chance of each pair under a predictor `(n,)`."""
    model = predictor(spec)
    chance = model.cdf(pairs.high, pairs.sizes) - model.cdf(pairs.low, pairs.sizes)
    return np.log(np.maximum(chance, LEAST))


def fitted(family: str, distorted: bool, pairs: Cells) -> str:
    """Return the spec of the most likely predictor of a family."""
    known = FAMILIES[family]
    start = [logit(value) if share else np.log(value) for value, share in known.values()]
    if distorted:
        start += _line(pairs)
    spec = _spec(family, distorted)
    if not start:
        return spec(np.empty(0))
    found = minimize(
        lambda at: -float(log_chances(spec(at), pairs).mean()),
        np.array(start),
        method="Nelder-Mead",
        options={"maxiter": 200 * len(start), "xatol": 1e-3, "fatol": 1e-6, "initial_simplex": _simplex(start)},
    )
    return spec(found.x)


def compare(pairs: Cells, seed: int = 0) -> list[Fit]:
    """Return all families, the most likely on held-out pairs first.

    Args:
        pairs: of `cells`.
        seed: of the halves, each of which is scored by what the other is fitted to.
    """
    fold = np.random.Generator(np.random.PCG64(seed)).permutation(len(pairs.sizes)) % FOLDS
    scores, specs, counts = {}, {}, {}
    for family, known in FAMILIES.items():
        for distorted in (False, True):
            name = f"{family}, distorted" if distorted else family
            score = np.empty(len(fold))
            for k in range(FOLDS):
                model = fitted(family, distorted, pairs.some(fold != k))
                score[fold == k] = log_chances(model, pairs.some(fold == k))
            scores[name], specs[name] = score, fitted(family, distorted, pairs)
            counts[name] = len(known) + 2 * distorted
    best = max(scores, key=lambda name: float(scores[name].mean()))
    fits = []
    for name, score in scores.items():
        (mean, *ends), (behind, *apart) = _interval(score), _interval(scores[best] - score)
        fits.append(Fit(name, specs[name], counts[name], mean, (ends[0], ends[1]), behind, (apart[0], apart[1])))
    return sorted(fits, key=lambda fit: fit.behind)


def _interval(values: np.ndarray) -> tuple[float, float, float]:
    """Return the mean of values `(n,)` and its 95 % interval, by the central limit theorem."""
    mean, error = float(values.mean()), float(1.96 * values.std() / np.sqrt(len(values)))
    return mean, mean - error, mean + error


def _line(pairs: Cells) -> list[float]:
    """Return log factor and log power of the line through the logs of sizes and of typical predictions."""
    typical = np.where(np.isfinite(pairs.high), pairs.high, 2 * np.maximum(pairs.low, 1e-6))
    typical = np.where(pairs.low > 0, np.sqrt(np.maximum(pairs.low, 1e-9) * typical), 0.5 * typical)
    slope, offset = np.polyfit(np.log(pairs.sizes), np.log(typical), 1)
    return [float(np.clip(offset, -3, 3)), float(np.log(np.clip(slope, 0.05, 5)))]


def _simplex(start: list[float]) -> np.ndarray:
    return np.array(start) + np.concatenate([np.zeros((1, len(start))), 0.3 * np.eye(len(start))])


def _spec(family: str, distorted: bool) -> Callable[[np.ndarray], str]:
    """Return what makes a spec of numbers on the whole line."""
    known = FAMILIES[family]

    def spec(at: np.ndarray) -> str:
        parts = [
            f"{name}={float(np.clip(expit(v) if share else np.exp(v), 1e-3, 99)):.6g}"
            for (name, (_, share)), v in zip(known.items(), at, strict=False)
        ]
        told = f"{family}:{','.join(parts)}" if parts else family
        if not distorted:
            return told
        factor, power = (float(np.clip(np.exp(v), 1e-3, 99)) for v in at[len(known) :])
        return f"distorted:factor={factor:.6g},power={power:.6g},model={told.replace(',', ';')}"

    return spec

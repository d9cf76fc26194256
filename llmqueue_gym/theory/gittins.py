"""The Gittins index of a size law, of a joint law of size and prediction, and of samples.

With Sbar(a) = P(S > a | Y = y) and H(a) = int_a^inf Sbar, the rank at age a is the least slope

    min over b > a of  (H(a) - H(b)) / (Sbar(a) - Sbar(b)),

expected service per chance to finish, if the job is served up to age b. Low ranks are served first; the literature's
index is the reciprocal.

Source: Gittins 1979; Aalto, Ayesta, Righter, "On the Gittins index in the M/G/1 queue", 2009.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from llmqueue_gym._jit import kernel
from llmqueue_gym.theory.joint import JointLaw, Row

_TAIL = 1e-10  # of a row's jobs and of their E[S^2]: the rank stays what it was where so little is left
_NOISE = 1e-10  # relative: ranks that differ by less are one, or a rank that is constant would rise and fall
_AFTER = 1 + 1e-9  # an atom has a rank just before it and another just after
FEW_ATOMS = 64
MAX_TABLE = 500_000  # ranks


@kernel
def least_ratios(service, chance):
    """Return the least ratio of sums, of service over chance, from each step to a later one, all `(n,)`.

    Steps that belong together are merged from the last one on, so that only sums of positive numbers are compared.
    """
    n = service.shape[0]
    rank = np.empty(n)
    services, chances = np.empty(n), np.empty(n)  # of the merged steps to come, the next one on top
    top = 0
    for i in range(n - 1, -1, -1):
        s, c = service[i], chance[i]
        while top > 0 and services[top - 1] * c <= s * chances[top - 1]:
            top -= 1
            s, c = s + services[top], c + chances[top]
        services[top], chances[top] = s, c
        top += 1
        rank[i] = s / c if c > 0.0 else np.inf
    return rank


@kernel
def without_noise(ranks):
    """Let each rank `(n,)` be the one before, in place, where they differ by rounding alone."""
    for i in range(1, ranks.shape[0]):
        if abs(ranks[i] - ranks[i - 1]) <= _NOISE * ranks[i - 1]:
            ranks[i] = ranks[i - 1]


def gittins_ranks(row: Row) -> tuple[np.ndarray, np.ndarray]:
    """Return ages `(n,)` and Gittins ranks `(n,)` of a row.

    At an atom the rank is 0 just before and jumps just after, so both ages are given. Where sizes have many atoms, as
    numbers of tokens do, only the ages just after them are: between those the rank is a line instead of a saw.
    """
    n = len(row.ages)
    after = np.searchsorted(row.ages, row.x)  # of the two ages that a size lies between, or the age that it is
    atom = row.x == row.ages[after]
    start = after[~atom] - 1
    # Two steps for each age: the jobs that end there, and those that end before the next age.
    chance, service = np.zeros((n, 2)), np.zeros((n, 2))
    chance[:, 0] = np.bincount(after[atom], row.p[atom], n)
    chance[:, 1] = np.bincount(start, row.p[~atom], n)
    service[:, 1] = np.bincount(start, row.p[~atom] * (row.x[~atom] - row.ages[start]), n)
    service[:-1, 1] += np.diff(row.ages) * row.reached[1:]
    ranks = least_ratios(service.ravel(), chance.ravel())
    ages = np.repeat(row.ages, 2)
    ages[1::2] *= np.where(chance[:, 0] > 0, _AFTER, 1.0)
    square = row.served2[-1] - row.served2
    left = (row.above > _TAIL * row.reached[0]) | (square > _TAIL * row.served2[-1])
    jumps = chance[:, 0] > 0
    kept = np.stack([jumps, left], axis=1)
    if np.count_nonzero(jumps) > FEW_ATOMS:
        kept = np.stack([np.zeros_like(jumps), left & jumps], axis=1)
    kept[0] = False, True
    ages, ranks = ages[kept.ravel()], ranks[kept.ravel()]
    without_noise(ranks)
    return ages, ranks


def gittins_table(
    size: Any,
    predictor: Any,
    y_cells: int = 300,
    x_cells: int = 600,
    ranks_of: Callable[[Row], tuple[np.ndarray, np.ndarray]] = gittins_ranks,
) -> tuple[np.ndarray, ...]:
    """Return predictions y `(m,)`, ages `(n,)` and ranks `(m, n)` for a size law and a bound predictor.

    Args:
        size: law of S.
        predictor: bound prediction model; None, or one that predicts nothing, gives the blind index with m = 1. For
            exact predictions m = 0: the rank is the remaining size and needs no table.
        y_cells: about how many predictions, where they are continuous; of more values than these some stand for all.
        x_cells: about how many ages, and up to eight times as many where there are few predictions.
        ranks_of: ages and ranks of a row; another rank that is the remaining size where predictions are exact will do.
    """
    blind = predictor is None or not predictor.informative
    values = np.zeros(1) if blind else predictor.atoms()
    if values is not None:
        x_cells = int(np.clip(x_cells * y_cells // len(values), x_cells, 8 * x_cells))
    joint = JointLaw(size, predictor, x_cells=x_cells, y_cells=y_cells)
    if joint.exact:
        return np.empty(0), np.empty(0), np.empty((0, 0))
    rows = joint.rows
    if len(rows) > 2 * y_cells:
        rows = [rows[i] for i in np.linspace(0, len(rows) - 1, y_cells).round().astype(int)]
    each = [ranks_of(row) for row in rows]
    own = np.unique(np.concatenate([ages for ages, _ in each]))
    ages = own if len(own) * len(rows) < MAX_TABLE else joint.edges[:: len(joint.edges) // x_cells]
    table = np.array([np.interp(ages, a, rank) for a, rank in each])
    return np.array([row.y for row in rows]), ages, table


def gittins_of_samples(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ages and ranks of the empirical law of samples `(n,)`: the empirical Gittins policy."""
    from llmqueue_gym.distributions.discrete import Empirical

    samples = np.asarray(samples, float)
    mean = float(np.mean(samples))
    row = JointLaw(Empirical(samples, mean=mean)).rows[0]
    return gittins_ranks(row)

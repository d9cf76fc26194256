"""The Gittins index of a size law, of a joint law of size and prediction, and of samples.

With Sbar(a) = P(S > a | Y = y) and H(a) = int_a^inf Sbar, the rank at age a is the least slope

    min over b > a of  (H(a) - H(b)) / (Sbar(a) - Sbar(b)),

expected service per chance to finish, if the job is served up to age b. Low ranks are served first; the literature's
index is the reciprocal.

Source: Gittins 1979; Aalto, Ayesta, Righter, "On the Gittins index in the M/G/1 queue", 2009.
"""

from typing import Any

import numpy as np

from llmqueue_gym._jit import kernel
from llmqueue_gym.theory.joint import JointLaw, Row

# Beyond this part of a row's probability its tail is rounding error, and the rank stays what it was.
_TAIL = 1e-10
_AFTER = 1 + 1e-9  # an atom has a rank just before it and another just after
FEW_ATOMS = 64


@kernel
def least_slopes(above, ahead):
    """Return the least slope from each point (Sbar, H) to a later one; both fall along the arrays `(n,)`."""
    n = above.shape[0]
    rank = np.empty(n)
    rank[n - 1] = 0.0
    for i in range(n - 1):
        best = np.inf
        for j in range(i + 1, n):
            drop = above[i] - above[j]
            if drop > 0.0:
                best = min(best, (ahead[i] - ahead[j]) / drop)
        rank[i] = best
    return rank


def gittins_ranks(row: Row) -> tuple[np.ndarray, np.ndarray]:
    """Return ages `(n,)` and Gittins ranks `(n,)` of a row.

    At an atom the rank is 0 just before and jumps just after, so both ages are given. Where sizes have many atoms, as
    numbers of tokens do, only the ages just after them are: between those the rank is a line instead of a saw.
    """
    ages, above, ahead = row.ages, row.reached, row.served[-1] - row.served
    atom = row.reached > row.above
    after = row.ages[atom] * _AFTER, row.above[atom], ahead[atom]
    if np.count_nonzero(atom) > FEW_ATOMS:
        ages, above, ahead = ages[:1], above[:1], ahead[:1]
    ages, above, ahead = (np.concatenate(pair) for pair in zip((ages, above, ahead), after, strict=True))
    order = np.argsort(ages, kind="stable")
    ages, above, ahead = ages[order], above[order], ahead[order]
    kept = above > _TAIL * above[0]
    ages, above, ahead = ages[kept], above[kept], ahead[kept]
    rank = least_slopes(np.append(above, 0.0), np.append(ahead, 0.0))[:-1]
    # Noise in the last digits would make ranks that are constant rise and fall.
    return ages, np.array([float(f"{r:.6e}") for r in rank])


def gittins_table(size: Any, predictor: Any, y_cells: int = 300, x_cells: int = 600) -> tuple[np.ndarray, ...]:
    """Return predictions y `(m,)`, ages `(n,)` and ranks `(m, n)` for a size law and a bound predictor.

    Args:
        size: law of S.
        predictor: bound prediction model; None, or one that predicts nothing, gives the blind index with m = 1. For
            exact predictions m = 0: the rank is the remaining size and needs no table.
        y_cells: about how many predictions, where they are continuous.
        x_cells: about how many ages.
    """
    blind = predictor is None or not predictor.informative
    joint = JointLaw(size, predictor, x_cells=2 * x_cells if blind else x_cells, y_cells=y_cells)
    if joint.exact:
        return np.empty(0), np.empty(0), np.empty((0, 0))
    rows = joint.rows
    each = [gittins_ranks(row) for row in rows]
    ages = np.unique(np.concatenate([a for a, _ in each])) if joint.discrete or blind else joint.edges
    table = np.array([np.interp(ages, a, rank) for a, rank in each])
    return np.array([row.y for row in rows]), ages, table


def gittins_of_samples(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ages and ranks of the empirical law of samples `(n,)`: the empirical Gittins policy."""
    from llmqueue_gym.distributions.discrete import Empirical

    samples = np.asarray(samples, float)
    mean = float(np.mean(samples))
    row = JointLaw(Empirical(samples, mean=mean)).rows[0]
    return gittins_ranks(row)

"""The types of jobs that go through stages: rows of the joint law with what predictions add to their work, and ranks.

A prediction on the server is a piece of a job's work in which no job ends, of a rank of its own: before age 0, or at
the age at which it is asked for. While a job is profiled, its work takes longer. The types are (class by the cheap
prediction, coin, size predicted), as far as a job has them: where nobody buys a size, it tells no jobs apart. Given the
size of a job, its two predictions are independent.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from llmqueue_gym.jobs import CHEAP, EXPENSIVE, PROFILE, SERVE
from llmqueue_gym.theory.joint import JointLaw, Row
from llmqueue_gym.theory.paths import Paths, Step, Who

_RARE = 1e-15  # of the jobs, and of E[S^2]: types with less of both are left out


class Type(NamedTuple):
    """Jobs that are told apart by nothing but their size.

    Attributes:
        row: their law, of their work with all that predictions add to it.
        ranks: at the ages of the row `(n,)`.
        x: sizes `(k,)`, s, whose work is `row.x`.
        y: the size predicted, or None where it is not known.
        bought: predictions of each kind per job, by code `(4,)`, times the share of these jobs.
    """

    row: Row
    ranks: np.ndarray
    x: np.ndarray
    y: float | None
    bought: np.ndarray


def types_of(paths: Paths, cheap: Any, edges: np.ndarray, joint: JointLaw) -> Iterator[Type]:
    """Yield the types of jobs on the grid of a joint law."""
    mean = float(joint.size.mean)
    second = float(joint.size.moment(2))
    for coin, share in paths.coins(len(edges) + 1, mean):
        told = any(step.kind == CHEAP for step in paths.of(Who(0, coin, mean)))
        for klass in range(len(edges) + 1 if told else 1):
            who = Who(klass, coin)
            predicted = is_predicted(paths.of(who))
            for row in joint.rows if predicted else [joint.whole]:
                p = row.p * share * (_chance(cheap, edges, klass, row.x) if told else 1.0)
                if p.sum() <= _RARE and p @ row.x**2 <= _RARE * second:
                    continue
                one = who._replace(y=row.y if predicted else None)
                yield _staged(paths, one, row.kept(p), paths.of(one))


def _chance(cheap: Any, edges: np.ndarray, klass: int, x: np.ndarray) -> np.ndarray:
    """Return P(class | S = x) `(k,)`: how many edges lie below the number that is predicted."""
    below = np.asarray(cheap.cdf(edges[None, :], x[:, None]), float)
    below = np.concatenate([np.zeros((len(x), 1)), below, np.ones((len(x), 1))], axis=1)
    return np.maximum(below[:, klass + 1] - below[:, klass], 0.0)


def _staged(paths: Paths, who: Who, row: Row, path: list[Step]) -> Type:
    """Return the type of jobs of a row, with what predictions add to their work."""
    begins = np.array([step.age for step in path])
    row = row.refined(np.union1d(row.ages, begins[(begins > 0) & (begins < row.ages[-1])]))
    ends = {id(step): end for step, end in stretches(path)}
    bought, pieces = np.zeros(4), []
    for step in path:
        left = float(row.above[np.searchsorted(row.ages, step.age)]) if step.age < row.ages[-1] else 0.0
        if left <= 0.0:
            break
        bought[step.kind] += left
        if id(step) in ends:
            own = row.ages[(row.ages >= step.age) & (row.ages <= ends[id(step)])]
            pieces.append((step, *paths.along(step, who, own)))
        elif paths.work(step.kind) > 0:
            pieces.append((step, *paths.flat(step, who)))
    fine = row.refined(np.concatenate([ages for step, ages, _ in pieces if id(step) in ends]))
    ranks = np.concatenate([ranks for *_, ranks in pieces])
    return Type(_joined(pieces, fine, paths.costs.slow), ranks, row.x, who.y, bought)


def _joined(pieces: list[tuple[Step, np.ndarray, np.ndarray]], row: Row, slow: float) -> Row:
    """Return the row of the work that a job receives, whose sizes are the work of each size.

    Args:
        pieces: step, its ages of the job or times since it began, and ranks; those in service are the ages of the row.
        row: of the size alone.
        slow: share of the speed that is lost while a job is profiled.
    """
    table, x, at = [], row.x.copy(), 0
    time, first, second = 0.0, 0.0, 0.0  # work so far, E[min(W, time)] and E[min(W, time)^2] / 2
    for step, ages, _ in pieces:
        later = row.x > step.age
        if step.kind in (SERVE, PROFILE):
            here = slice(at, at + len(ages))
            at += len(ages)
            pace = 1 / (1 - slow) if step.kind == PROFILE else 1.0
            work = time + pace * (ages - step.age)
            above, reached = row.above[here], row.reached[here]
            more, more2 = (column[here] - column[here.start] for column in (row.served, row.served2))
            served2 = second + pace * ((time - pace * step.age) * more + pace * more2)
            served = first + pace * more
            x[later] += (pace - 1) * (np.minimum(row.x[later], ages[-1]) - step.age)
        else:
            work = time + ages
            left = row.above[np.searchsorted(row.ages, step.age)]
            above = reached = np.full(len(ages), left)
            served, served2 = first + left * ages, second + left * (work**2 - time**2) / 2
            x[later] += ages[-1]
        table.append((work, above, reached, served, served2))
        time, first, second = float(work[-1]), float(served[-1]), float(served2[-1])
    ages, above, reached, served, served2 = (np.concatenate(column) for column in zip(*table, strict=True))
    return Row(row.y, ages, above, reached, served, served2, x, row.p)


def is_predicted(path: list[Step]) -> bool:
    """Whether a path that ends where the size is predicted does so."""
    return path[-1].kind in (EXPENSIVE, PROFILE)


def stretches(path: list[Step]) -> Iterator[tuple[Step, float]]:
    """Yield the steps in which a job is served, at whatever speed, and the age at which each ends."""
    for step, after in zip(path, [*path[1:], Step(SERVE, np.inf, 0)], strict=True):
        if step.kind in (SERVE, PROFILE) and after.age > step.age:
            yield step, after.age

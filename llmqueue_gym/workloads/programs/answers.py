"""What is true of answers: which are equal, and what a reward model says of them."""

import numpy as np
from scipy.special import expit, ndtri


def scores(right: np.ndarray, auc: float, rng: np.random.Generator) -> np.ndarray:
    """Return what a reward model says of answers, from 0 to 1 `(n,)`, one normal number of `rng` each.

    A signal is normal with deviation 1 and a mean of d / 2 for right answers, -d / 2 for wrong ones; the score is the
    probability that the answer is right, given the signal, where as many are right as wrong. A right answer has a
    higher score than a wrong one with probability auc = Phi(d / sqrt(2)) (the binormal model of Green and Swets, Signal
    Detection Theory, 1966).

    Args:
        right: whether each answer is `(n,)`.
        auc: from 0.5, where scores say nothing, to below 1.
        rng: the stream that belongs to answers.
    """
    d = np.sqrt(2) * ndtri(auc)
    return expit(d * (np.where(right, d / 2, -d / 2) + rng.standard_normal(len(right))))


def clusters(answer: np.ndarray, program: np.ndarray, kinds: int, rng: np.random.Generator) -> np.ndarray:
    """Return numbers of answers that do not tell which is right `(n,)`: those of a program are turned round by chance.

    No number is as large as the number of calls of its program: where that is less than kinds, kinds that nobody
    answers are left out.

    Args:
        answer: 0 for right ones, from 1 on for kinds of wrong ones, negative for none, which stay as they are `(n,)`.
        program: of each `(n,)`, from 0 on.
        kinds: right and wrong ones that there are.
        rng: the stream that belongs to answers.
    """
    turn = rng.integers(kinds, size=int(program.max()) + 1)
    found = np.where(answer < 0, answer, (answer + turn[program]) % kinds)
    few = (answer >= 0) & (np.bincount(program)[program] < kinds)
    given, places = np.unique(program[few] * kinds + found[few], return_inverse=True)
    found[few] = places - np.searchsorted(given, program[few] * kinds)
    return found

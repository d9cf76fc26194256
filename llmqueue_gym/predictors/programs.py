"""What is predicted of programs: gaps, calls and tokens to come, whether an answer is right, how deep a thought goes.

All is drawn beforehand, from a stream for each, so that engines stay exact and one error changes nothing of another.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from scipy.special import expit, ndtr, ndtri

from llmqueue_gym.programs import Answers, longest_path, sizes, to_come
from llmqueue_gym.registry import Named, Registry
from llmqueue_gym.requests import Programs

MOST_ERROR = 100.0


@dataclass(frozen=True)
class Foresight(Named):
    """How well programs are foreseen; 0 is exactly, for all but `auc`.

    Attributes:
        gap: standard deviation of the error of a gap, in gaps.
        calls: standard deviation of the logarithm of the error of the calls to come.
        tokens: standard deviation of the error of the tokens of each call, in tokens of the call.
        auc: with this probability an answer that is right is taken to be likelier right than one that is wrong.
        depth: standard deviation of the logarithm of the error of a depth, on average over programs.
    """

    name: ClassVar[str] = "foresight"
    gap: float = 0.0
    calls: float = 0.0
    tokens: float = 0.0
    auc: float = 0.8
    depth: float = 0.0

    def __post_init__(self) -> None:
        for what in ("gap", "calls", "tokens", "depth"):
            self._check(what, 0 <= getattr(self, what) <= MOST_ERROR, f"be from 0 to {MOST_ERROR:g}")
        self._check("auc", 0.5 <= self.auc <= 1, "be from 0.5 to 1")


FORESIGHTS = Registry("foresight", {"foresight": f"{__name__}:Foresight"}, Foresight)


class Foreseen(NamedTuple):
    """What is predicted of programs, before anything of them has run.

    Attributes:
        gap: `(n,)`, float64, s, before each call.
        calls: `(n,)`, float64, calls of its program to come once it is ready, itself included.
        to_come: `(n,)`, float64, tokens of prompts and outputs of these calls.
        path: `(n,)`, float64, the same on the longest path from it on.
        adds: `(n,)`, float64, tokens that it adds to the context that it goes on with; its prompt where there is none.
        right: `(n,)`, float64, the probability that its answer is right; NaN where it gives none.
        depth: `(programs,)`, float64, tokens of thought at which a program settles; NaN where it has none.
        confidence: `(programs,)`, float64, the probability that the depth is within a factor of 2 of that; likewise.
    """

    gap: np.ndarray
    calls: np.ndarray
    to_come: np.ndarray
    path: np.ndarray
    adds: np.ndarray
    right: np.ndarray
    depth: np.ndarray
    confidence: np.ndarray


def foresee(
    foresight: Foresight,
    requests: np.ndarray,
    outputs: np.ndarray,
    programs: Programs,
    answers: Answers | None,
    rngs: Sequence[np.random.Generator],
) -> Foreseen:
    """Return what is predicted of programs.

    Args:
        foresight: how well.
        requests: `REQUEST` rows `(n,)`, with the outputs that are predicted of them.
        outputs: those that they truly have, tokens `(n,)`.
        programs: their table.
        answers: what is true of their answers.
        rngs: streams of gaps, calls, tokens, answers and depths.
    """
    gaps, calls, tokens, right, depth = rngs
    n, m = len(requests), len(sizes(programs))
    amounts = requests["prompt"] + requests["predicted"]
    no_depth = np.full(m, np.nan), np.full(m, np.nan)
    return Foreseen(
        foreseen_gaps(programs.gap, foresight.gap, gaps),
        foreseen_calls(programs, foresight.calls, calls),
        *foreseen_tokens(programs, amounts, foresight.tokens, tokens),
        foreseen_additions(programs, requests["prompt"], outputs, foresight.tokens, tokens),
        np.full(n, np.nan) if answers is None else foreseen_right(answers, foresight.auc, right),
        *(no_depth if answers is None else foreseen_depth(answers.depth, foresight.depth, depth)),
    )


def foreseen_gaps(gaps: np.ndarray, error: float, rng: np.random.Generator) -> np.ndarray:
    """Return gap + N(0, (error gap)^2), at least 0 `(n,)`, s (LAMPS: Shahout et al., NeurIPS 2025)."""
    return np.maximum(gaps * (1 + error * rng.standard_normal(len(gaps))), 0.0)


def foreseen_calls(programs: Programs, error: float, rng: np.random.Generator) -> np.ndarray:
    """Return the calls to come of each one's program, itself included, times a log-normal error, at least 1 `(n,)`.

    A program has one error, so that it is taken for long, or short, from its first call to its last. Its median is 1.
    """
    true = to_come(programs, np.ones(len(programs.program)))
    wrong = np.exp(error * rng.standard_normal(len(sizes(programs))))
    return np.maximum(true * wrong[programs.program], 1.0)


def foreseen_tokens(
    programs: Programs, amounts: np.ndarray, error: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return tokens to come of each call's program, and on the longest path from it on, itself included `(n,)`.

    Each call is taken to have amount (1 + N(0, error^2)) tokens, at least 0, whoever asks for it.

    Args:
        programs: the table.
        amounts: tokens of prompt and output of each call `(n,)`.
        error: of each, in its amounts.
        rng: the stream that belongs to it.
    """
    wrong = np.maximum(amounts * (1 + error * rng.standard_normal(len(amounts))), 0.0)
    return to_come(programs, wrong), longest_path(programs, wrong)


def foreseen_additions(
    programs: Programs, prompts: np.ndarray, outputs: np.ndarray, error: float, rng: np.random.Generator
) -> np.ndarray:
    """Return the tokens that each call adds to the context that it goes on with, times 1 + N(0, error^2) `(n,)`.

    Nothing is below 0, and where there is no context it is the prompt.

    Args:
        programs: the table.
        prompts: tokens `(n,)`.
        outputs: tokens `(n,)`.
        error: of each, in its tokens.
        rng: the stream of tokens.
    """
    goes_on = programs.continues >= 0
    true = prompts - np.where(goes_on, (prompts + outputs)[programs.continues], 0)
    wrong: np.ndarray = np.maximum(true * (1 + error * rng.standard_normal(len(true))), 0.0)
    return wrong


def foreseen_right(answers: Answers, auc: float, rng: np.random.Generator) -> np.ndarray:
    """Return the probability that each answer is right, given a signal of it; NaN where there is no answer `(n,)`.

    The signal is binormal as that of reward models is, and the probability is Bayes' with the share of right answers
    of the run before it, so it is calibrated. `auc=1` tells the truth, and 0.5 that share for all.
    """
    gives = answers.cluster >= 0
    noise = rng.standard_normal(len(gives))
    found = np.full(len(gives), np.nan)
    if auc == 1:
        found[gives] = answers.right[gives]
    elif gives.any():
        share, d = answers.right[gives].mean(), np.sqrt(2) * ndtri(auc)
        with np.errstate(divide="ignore"):  # where all are right, or none, that is known
            before = np.log(share) - np.log1p(-share)
        found[gives] = expit(before + d * (np.where(answers.right, d / 2, -d / 2) + noise)[gives])
    return found


def foreseen_depth(depths: np.ndarray, error: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return depths times a log-normal error of median 1, and how sure each is; NaN where there is none `(programs,)`.

    The deviation of the logarithm is exponential over programs with mean `error`, so some are predicted well and others
    badly, and the confidence says which: it is the probability that the error is at most a factor of 2.

    Args:
        depths: tokens `(programs,)`, -1 where there is none.
        error: mean deviation.
        rng: the stream that belongs to it.
    """
    deviation = error * rng.standard_exponential(len(depths))
    wrong = depths * np.exp(deviation * rng.standard_normal(len(depths)))
    with np.errstate(divide="ignore"):
        confidence = 2 * ndtr(np.log(2) / deviation) - 1
    there = depths >= 0
    return np.where(there, wrong, np.nan), np.where(there, confidence, np.nan)

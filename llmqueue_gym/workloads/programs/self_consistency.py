"""Self-consistency: a question is answered several times at once, and what most answers say counts."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from llmqueue_gym.columns import MOST_TOKENS
from llmqueue_gym.programs import Answers, ranges
from llmqueue_gym.requests import Programs
from llmqueue_gym.workloads.programs.answers import clusters, scores
from llmqueue_gym.workloads.programs.base import ProgramLaw
from llmqueue_gym.workloads.programs.calls import Calls, calls_of
from llmqueue_gym.workloads.programs.draws import tokens
from llmqueue_gym.workloads.programs.map_reduce import MOST_WIDTH
from llmqueue_gym.workloads.requests.sharing import popular


@dataclass(frozen=True)
class SelfConsistency(ProgramLaw):
    """A question's branches have one prompt and come together; an aggregate, where there is one, waits for all.

    A branch's answer is right with a chance that its question has, independently of the others. Chances are beta with
    mean `accuracy`; the larger `spread` the more questions are either easy or hopeless. Wrong answers are of a few
    kinds, by Zipf's law. Source of the method: Wang et al., Self-Consistency, ICLR 2023. Numbers are round, not
    measured.

    Attributes:
        n: branches.
        aggregate: tokens of a last call that has all that the branches said in its prompt; 0 where votes are counted.
        instruction: tokens of examples that all programs share.
        question: mean tokens of a question.
        output: mean tokens of a branch.
        sigma: standard deviation of the logarithm of a question's tokens, and of the mean tokens of its branches.
        branch_sigma: standard deviation of the logarithm of a branch's tokens around that.
        accuracy: mean probability that a branch is right.
        spread: from 0, where all questions are alike, to below 1; the correlation of two branches of a question.
        wrong: kinds of wrong answers.
        zipf: exponent of their popularity.
        auc: with this probability a reward model scores a right answer higher than a wrong one.
    """

    name: ClassVar[str] = "self-consistency"
    kinds: ClassVar[tuple[str, ...]] = ("branch", "aggregate")
    n: int = 8
    aggregate: int = 0
    instruction: int = 500
    question: float = 100.0
    output: float = 200.0
    sigma: float = 0.5
    branch_sigma: float = 0.3
    accuracy: float = 0.6
    spread: float = 0.3
    wrong: int = 5
    zipf: float = 1.0
    auc: float = 0.8

    def __post_init__(self) -> None:
        self._check("n", 1 <= self.n <= MOST_WIDTH, f"be from 1 to {MOST_WIDTH:,} branches")
        for what in ("aggregate", "instruction"):
            self._check(what, 0 <= getattr(self, what) <= MOST_TOKENS // 1000, "be from 0 to a million tokens")
        for what in ("question", "output"):
            self._check(what, 1 <= getattr(self, what) <= MOST_TOKENS // 1000, "be from 1 to a million tokens")
        for what in ("sigma", "branch_sigma"):
            self._check(what, 0 <= getattr(self, what) <= 10, "be from 0 to 10")
        self._check("accuracy", 0 <= self.accuracy <= 1, "lie between 0 and 1")
        self._check("spread", 0 <= self.spread < 1, "be from 0 to below 1")
        self._check("wrong", 1 <= self.wrong <= 10**6, "be from 1 to a million kinds")
        self._check("zipf", 0 <= self.zipf <= 100, "be from 0 to 100")
        self._check("auc", 0.5 <= self.auc < 1, "be from 0.5 to below 1")

    @property
    def calls(self) -> float:
        """Number of calls of a program."""
        return float(self.n + (self.aggregate > 0))

    def draw(self, m: int, rng: np.random.Generator) -> Calls:
        """Return m programs."""
        size = int(self.calls)
        program, rows = np.repeat(np.arange(m), size), np.arange(m * size)
        last, heads = rows % size == self.n, rows // size * size
        question = self.instruction + tokens(self.question, self.sigma, m, rng)
        mean = self.output * np.exp(self.sigma * rng.standard_normal(m) - self.sigma**2 / 2)
        outputs = tokens(mean[program], self.branch_sigma, len(rows), rng)
        said = np.bincount(program[~last], outputs[~last], m).astype(np.int64)
        outputs[last] = self.aggregate
        prompts = question[program] + np.where(last, said[program], 0)
        opening = rows == heads
        waits = np.where(last, self.n, 0)
        return calls_of(
            program,
            ranges(heads[last], waits[last]),
            np.concatenate([[0], np.cumsum(waits)]),
            prompts,
            outputs,
            base=np.where(opening, -1, heads),
            kept=np.where(opening, self.instruction, question[program]),
            klass=last.astype(np.int64),
        )

    def answers(self, programs: Programs, klass: np.ndarray, outputs: np.ndarray, rng: np.random.Generator) -> Answers:
        """Return what branches answer, and the chances of the questions."""
        m, n, branch = int(programs.program.max()) + 1, len(klass), klass == 0
        chance = np.full(m, self.accuracy)
        if 0 < self.accuracy < 1 and self.spread > 0:
            weight = 1 / self.spread - 1  # a + b of the beta law
            chance = rng.beta(self.accuracy * weight, (1 - self.accuracy) * weight, m)
        right = branch & (rng.random(n) < chance[programs.program])
        answer = np.where(right, 0, 1 + popular(n, self.wrong, self.zipf, rng))
        cluster = clusters(np.where(branch, answer, -1), programs.program, 1 + self.wrong, rng)
        score = np.where(branch, scores(right, self.auc, rng), np.nan)
        return Answers(cluster, right, score, chance, np.full(m, -1), np.zeros(m, bool))

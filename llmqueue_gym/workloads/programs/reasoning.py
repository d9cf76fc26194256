"""A long chain of thought in pieces, each of which is probed for the answer that the model would give by then."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from llmqueue_gym.columns import MOST_TOKENS
from llmqueue_gym.programs import Answers
from llmqueue_gym.requests import HESITATES, NO_ANSWER, Programs
from llmqueue_gym.workloads.programs.answers import clusters, scores
from llmqueue_gym.workloads.programs.base import ProgramLaw
from llmqueue_gym.workloads.programs.calls import Calls, calls_of, chain
from llmqueue_gym.workloads.programs.draws import tokens

MOST_CHUNKS = 1024


@dataclass(frozen=True)
class Reasoning(ProgramLaw):
    """Chunks of thought, each of which goes on from the one before, and a probe off each, which nothing goes on from.

    A probe asks for the answer with a cue and generates 20 tokens, as in Dynasor (Fu et al., arXiv 2412.20993), while
    the thought goes on; who stops by probes cancels the calls to come. The table holds the whole thought, to the end
    that it finds by itself.

    Thoughts are log-normal. At a share of its length, which is beta, a thought settles on its answer, which is right
    with probability `accuracy`; a probe from there on tells it with probability `steady`. Before, probes of some
    thoughts tell the same placeholder, which is wrong, with probability `stuck`: a plateau on which probes agree too
    early, as later studies of stopping by consensus found; those of others hesitate, or tell any wrong answer. Numbers
    are round, not measured.

    Attributes:
        thought: mean tokens of a thought; what goes beyond 1,024 chunks is cut off.
        sigma: standard deviation of the logarithm of that.
        chunk: tokens between probes, 64 in most of Dynasor's presets.
        question: mean tokens of a question; its sigma is that of thoughts.
        cue: tokens that ask for the answer.
        probe: tokens that a probe generates.
        accuracy: probability that the answer that a thought settles on is right.
        settles: mean share of a thought at which it settles.
        spread: of that beta law, from above 0 to below 1: its variance over the most that there can be.
        steady: probability that a probe tells the answer once it is settled; otherwise it tells a wrong one.
        plateau: share of the thoughts that have a placeholder.
        stuck: probability that a probe tells it before the thought settles; otherwise it hesitates.
        hesitant: probability that a probe of the other thoughts tells nothing before they settle.
        wrong: kinds of wrong answers, all alike.
        auc: with this probability the model is surer of a right answer of a probe than of a wrong one.
    """

    name: ClassVar[str] = "reasoning"
    kinds: ClassVar[tuple[str, ...]] = ("chunk", "probe")
    thought: float = 3000.0
    sigma: float = 0.6
    chunk: int = 64
    question: float = 150.0
    cue: int = 10
    probe: int = 20
    accuracy: float = 0.75
    settles: float = 0.5
    spread: float = 0.2
    steady: float = 0.95
    plateau: float = 0.2
    stuck: float = 0.9
    hesitant: float = 0.5
    wrong: int = 5
    auc: float = 0.8

    def __post_init__(self) -> None:
        for what in ("thought", "question", "chunk", "cue", "probe"):
            self._check(what, 1 <= getattr(self, what) <= MOST_TOKENS // 1000, "be from 1 to a million tokens")
        self._check("sigma", 0 <= self.sigma <= 10, "be from 0 to 10")
        for what in ("accuracy", "steady", "plateau", "stuck", "hesitant"):
            self._check(what, 0 <= getattr(self, what) <= 1, "lie between 0 and 1")
        for what in ("settles", "spread"):
            self._check(what, 0 < getattr(self, what) < 1, "lie between 0 and 1, without them")
        self._check("wrong", 1 <= self.wrong <= 10**6, "be from 1 to a million kinds")
        self._check("auc", 0.5 <= self.auc < 1, "be from 0.5 to below 1")

    @property
    def calls(self) -> float:
        """Mean number of calls of a program, but for thoughts that are cut off, which make it smaller."""
        return 2 * (self.thought / self.chunk + 0.5)

    def draw(self, m: int, rng: np.random.Generator) -> Calls:
        """Return m programs, in each of which a chunk and its probe stand one after another."""
        thought = np.minimum(tokens(self.thought, self.sigma, m, rng), MOST_CHUNKS * self.chunk)
        question = tokens(self.question, self.sigma, m, rng)
        number = -(-thought // self.chunk)
        of, place, _, _ = chain(number)
        said = np.minimum((place + 1) * self.chunk, thought[of])
        n = 2 * len(of)
        program, rows = np.repeat(of, 2), np.arange(n)
        probes, opening = rows % 2 == 1, np.repeat(place == 0, 2) & (rows % 2 == 0)
        prompts, outputs = np.empty(n, np.int64), np.full(n, self.probe)
        prompts[~probes], outputs[~probes] = question[of] + place * self.chunk, said - place * self.chunk
        prompts[probes] = question[of] + said + self.cue
        base = np.where(opening, -1, rows - np.where(probes, 1, 2))
        kept = np.where(opening, 0, prompts - np.where(probes, self.cue, 0))
        first = np.concatenate([[0], np.cumsum(~opening)])
        more = {"base": base, "kept": kept, "klass": probes.astype(np.int64)}
        return calls_of(program, base[~opening], first, prompts, outputs, **more)

    def answers(self, programs: Programs, klass: np.ndarray, outputs: np.ndarray, rng: np.random.Generator) -> Answers:
        """Return what probes tell, at which depth they settle, and whether on the right answer."""
        program, n, m = programs.program, len(klass), int(programs.program.max()) + 1
        probe = klass == 1
        thought = np.bincount(program, np.where(probe, 0, outputs), m).astype(np.int64)
        weight = 1 / self.spread - 1  # a + b of the beta law
        settled = np.ceil(rng.beta(self.settles * weight, (1 - self.settles) * weight, m) * thought).astype(np.int64)
        known = rng.random(m) < self.accuracy
        final = np.where(known, 0, 1 + rng.integers(self.wrong, size=m))
        placeholder = np.where(rng.random(m) < self.plateau, 1 + rng.integers(self.wrong, size=m), 0)
        luck, any_wrong = rng.random(n), 1 + rng.integers(self.wrong, size=n)
        on_plateau = placeholder[program] > 0
        early = np.where(luck < self.hesitant, HESITATES, any_wrong)
        early[on_plateau] = np.where(luck < self.stuck, placeholder[program], HESITATES)[on_plateau]
        late = np.where(luck < self.steady, final[program], any_wrong)
        answer = np.where(self._said(programs, klass, outputs) >= settled[program], late, early)
        answer = np.where(probe, answer, NO_ANSWER)
        right = answer == 0
        score = np.where(answer >= 0, scores(right, self.auc, rng), np.nan)
        cluster = clusters(answer, program, 1 + self.wrong, rng)
        return Answers(cluster, right, score, np.full(m, np.nan), settled, known)

    @staticmethod
    def _said(programs: Programs, klass: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """Return the tokens of thought up to the end of each call, or of the chunk that it probes `(n,)`, int64."""
        order = np.lexsort((np.arange(len(klass)), programs.program))  # in a program rows are in order of its chunks
        mine = np.where(klass == 1, 0, outputs)[order]
        sums = np.cumsum(mine)
        heads = np.searchsorted(programs.program[order], programs.program[order])
        found = np.empty(len(order), np.int64)
        found[order] = sums - sums[heads] + mine[heads]
        return found

"""Agents with a planner: a call makes tasks of a question, workers do them at once, a call joins what they found."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from llmqueue_gym.columns import MOST_SECONDS, MOST_TOKENS
from llmqueue_gym.programs import ranges
from llmqueue_gym.workloads.programs.base import ProgramLaw
from llmqueue_gym.workloads.programs.calls import Calls, calls_of
from llmqueue_gym.workloads.programs.draws import tokens
from llmqueue_gym.workloads.programs.map_reduce import MOST_WIDTH


@dataclass(frozen=True)
class Planner(ProgramLaw):
    """A planner, then rounds of workers and a join, which plans the round after it.

    A worker goes on from the context of the call that planned its round, with its task; a join has that context, too,
    and then all that the workers of its round said. Each round has 1 + Poisson workers; the number of rounds is
    geometric. Before a join runs, the workers' tools take an exponential time, all together. All plans begin with one
    instruction. Numbers are round, not measured.

    Attributes:
        width: mean number of workers in a round.
        rounds: mean number of rounds.
        tool: mean time from the last worker's end to the join, s.
        instruction: tokens that all programs share.
        question: mean tokens of what is asked.
        task: mean tokens of a task.
        plan: mean tokens that a planner or a join says.
        work: mean tokens that a worker says.
        sigma: standard deviation of the logarithm of these lengths; 0 makes all alike.
    """

    name: ClassVar[str] = "planner"
    kinds: ClassVar[tuple[str, ...]] = ("planner", "worker", "join")
    width: float = 4.0
    rounds: float = 1.5
    tool: float = 1.0
    instruction: int = 500
    question: float = 200.0
    task: float = 50.0
    plan: float = 200.0
    work: float = 300.0
    sigma: float = 0.5

    def __post_init__(self) -> None:
        self._check("width", 1 <= self.width <= MOST_WIDTH, f"be from 1 to {MOST_WIDTH:,}")
        self._check("rounds", 1 <= self.rounds <= 100, "be from 1 to 100")
        self._check("tool", 0 <= self.tool <= MOST_SECONDS, f"be from 0 to {MOST_SECONDS:g} s")
        self._check("instruction", 0 <= self.instruction <= MOST_TOKENS // 1000, "be from 0 to a million tokens")
        for what in ("question", "task", "plan", "work"):
            self._check(what, 1 <= getattr(self, what) <= MOST_TOKENS // 1000, "be from 1 to a million tokens")
        self._check("sigma", 0 <= self.sigma <= 10, "be from 0 to 10")

    @property
    def calls(self) -> float:
        """Mean number of calls of a program."""
        return 1 + self.rounds * (self.width + 1)

    def draw(self, m: int, rng: np.random.Generator) -> Calls:
        """Return m programs."""
        rounds = rng.geometric(1 / self.rounds, m)
        of = np.repeat(np.arange(m), rounds)  # the program of each round
        width = 1 + rng.poisson(self.width - 1, len(of))
        number = 1 + np.bincount(of, width + 1, m).astype(np.int64)
        program, n = np.repeat(np.arange(m), number), int(number.sum())
        plans = np.cumsum(number) - number
        joins = np.cumsum(width + 1) + of  # the planners of the programs up to its own stand before it, too
        hubs = joins - width - 1  # who planned the round: its row is that before the first worker
        workers = ranges(hubs + 1, width)
        klass = np.zeros(n, np.int64)
        klass[workers], klass[joins] = 1, 2
        outputs = tokens(np.where(klass == 1, self.work, self.plan), self.sigma, n, rng)
        own = np.zeros(n, np.int64)
        own[plans] = self.instruction + tokens(self.question, self.sigma, m, rng)
        own[workers] = tokens(self.task, self.sigma, len(workers), rng)
        found = np.add.reduceat(outputs[workers], np.cumsum(width) - width)
        own[joins] = found
        base, kept = np.full(n, -1), np.zeros(n, np.int64)
        base[workers], base[joins] = np.repeat(hubs, width), hubs
        grows = np.where(klass == 1, 0, own + outputs)  # of the context that is handed on
        said = np.cumsum(grows)
        said -= (said[plans] - grows[plans])[program]  # up to the end of each call that plans
        prompts = np.where(klass == 1, said + own, said - outputs)
        kept = np.where(base >= 0, prompts - own, 0)
        kept[plans] = self.instruction
        waits = np.zeros(n, np.int64)
        waits[workers], waits[joins] = 1, width
        first = np.concatenate([[0], np.cumsum(waits)])
        parents = np.empty(int(first[-1]), np.int64)
        parents[first[workers]] = base[workers]
        parents[ranges(first[joins], width)] = ranges(hubs + 1, width)
        gap = np.zeros(n)
        gap[joins] = self.tool * rng.standard_exponential(len(joins))
        return calls_of(program, parents, first, prompts, outputs, gap=gap, base=base, kept=kept, klass=klass)

"""What the track plays: four kinds of systems with several servers, each with contestants and a ranking of its own.

Whoever is told the true sizes stands for exact predictions, so all cases have predictions that are wrong at times, and
one queue for all is played with exact ones as well, for what two classes make of them.
"""

from dataclasses import dataclass, replace
from typing import Literal

from llmqueue_gym.evaluation.cluster import ClusterScenario
from llmqueue_gym.evaluation.server_needs import NeedsScenario

CENTRAL, DISPATCH, IMPATIENCE, NEEDS = "central", "dispatch", "impatience", "needs"
SIZES = ("exponential", "weibull:shape=0.5")
PREDICTORS = ("lognormal:sigma=0.5", "exponential")
CENTRAL_LOADS = {4: (0.7, 0.9), 32: (0.9, 0.95)}  # with many servers hardly anybody waits at less
QUEUES, DISPATCH_LOADS = 100, (0.7, 0.9)
IMPATIENT_SERVERS, OVERLOADS, NOISES = 50, (1.2, 1.5), ("lognormal:sigma=0.5", "lognormal:sigma=1.5")
PATIENCE = "exponential"
NEEDY_SERVERS, NEEDS_OF_JOBS, NEEDS_LOADS = 8, (1, 2, 4, 8), (0.5, 0.7, 0.9)


@dataclass(frozen=True)
class Block:
    """A kind of system.

    Attributes:
        title: in words.
        base: name of the contestant with score 0.
        bound: who has score 1, in words.
        measure: what a case is decided by: the mean response time, or the share of the jobs that is served.
        share: its jobs of a run, over those that are asked for.
    """

    title: str
    base: str
    bound: str
    measure: Literal["time", "served"] = "time"
    share: float = 1.0

    @property
    def sign(self) -> int:
        """1 where less is better, -1 where more is."""
        return 1 if self.measure == "time" else -1


BLOCKS = {
    CENTRAL: Block("One queue", "fcfs", "the floor", share=0.3),
    DISPATCH: Block("A queue each", "power-of-d, fcfs", "the floor", share=0.6),
    IMPATIENCE: Block("Impatient jobs", "fcfs", "the ceiling", "served", share=0.4),
    NEEDS: Block("Jobs of several servers", "server-filling", "the floor", share=0.3),
}
TITLES = {name: block.title for name, block in BLOCKS.items()}


@dataclass(frozen=True, eq=False)
class Case:
    """One scenario of the track.

    Attributes:
        block: a key of `BLOCKS`.
        size: law of the sizes, mean 1.
        predictor: spec of a predictor.
        load: of each server.
        scenario: where jobs come from.
    """

    block: str
    size: str
    predictor: str
    load: float
    scenario: ClusterScenario | NeedsScenario

    @property
    def servers(self) -> int:
        """How many."""
        return self.scenario.servers

    @property
    def cluster(self) -> ClusterScenario:
        """The scenario, where no job needs several servers."""
        assert isinstance(self.scenario, ClusterScenario)
        return self.scenario

    @property
    def packed(self) -> NeedsScenario:
        """The scenario, where jobs need several servers."""
        assert isinstance(self.scenario, NeedsScenario)
        return self.scenario

    @property
    def jobs(self) -> tuple[str, int, str, float]:
        """What arrivals and sizes depend on, besides the seed."""
        return self.block, self.servers, self.size, self.load


def all_cases(jobs: int) -> list[Case]:
    """Return the cases.

    Args:
        jobs: of a run; each block takes a share of it.
    """
    return [*_central(jobs), *_dispatch(jobs), *_impatience(jobs), *_needs(jobs)]


def _n(block: str, jobs: int) -> int:
    return max(100, round(jobs * BLOCKS[block].share))


def _central(jobs: int) -> list[Case]:
    return [
        Case(CENTRAL, size, told, load, ClusterScenario(size, told, load, n_jobs=_n(CENTRAL, jobs), servers=k))
        for k, loads in CENTRAL_LOADS.items()
        for size in SIZES
        for told in ("exact", *PREDICTORS)
        for load in loads
    ]


def _dispatch(jobs: int) -> list[Case]:
    return [
        Case(DISPATCH, size, told, load, ClusterScenario(size, told, load, n_jobs=_n(DISPATCH, jobs), servers=QUEUES))
        for size in SIZES
        for told in PREDICTORS
        for load in DISPATCH_LOADS
    ]


def _impatience(jobs: int) -> list[Case]:
    n, k = _n(IMPATIENCE, jobs), IMPATIENT_SERVERS
    alike = ClusterScenario(n_jobs=n, servers=k, patience=PATIENCE, told=True)
    return [
        Case(IMPATIENCE, size, told, load, replace(alike, size=size, predictor=told, load=load))
        for size in SIZES
        for told in NOISES
        for load in OVERLOADS
    ]


def _needs(jobs: int) -> list[Case]:
    cases = []
    for size in SIZES:
        classes = tuple((need, 1 / len(NEEDS_OF_JOBS), size) for need in NEEDS_OF_JOBS)
        for told in PREDICTORS:
            for load in NEEDS_LOADS:
                scenario = NeedsScenario(NEEDY_SERVERS, classes, load, told, _n(NEEDS, jobs))
                cases.append(Case(NEEDS, size, told, load, scenario))
    return cases

"""Which stages a job goes through under a policy of predictions, and its ranks in them.

The policy is asked as the engine asks it: at arrival, after every prediction, and when the age reaches `pause`.
"""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from llmqueue_gym._jit import kernel, records
from llmqueue_gym.errors import BadInput, NotApplicable
from llmqueue_gym.jobs import CHEAP, EXPENSIVE, PROFILE, SERVE, STAGE
from llmqueue_gym.theory.ranks import MOST, job, jumps, limits_at, off_plateaus, ranks_at, trace

CHEAP_KNOWN, SIZE_KNOWN = 1, 2  # bits of `STAGE.known`
COINS = np.append(np.linspace(0, 1, 65)[:-1], np.nextafter(1.0, 0.0))  # at which a policy is asked what it does
MANY = 8  # ways to go by the coin
HALVINGS = 60
WITHIN = 9  # points of a prediction at which it is ranked
QUEUE = ("in_system", "predicting")  # columns of a stage that tell of the other jobs


@kernel
def asked(ask, job, stage, params):
    """Return what comes next for a job."""
    return ask(job, stage, params)


@kernel
def ranked(rank, params, job, stage, done, out):
    """Write the rank of a job where so much of its stage is done `(n,)`."""
    for i in range(done.shape[0]):
        stage.done = done[i]
        out[i] = min(max(rank(job, stage, params), -MOST), MOST)


class Step(NamedTuple):
    """One stage of a job.

    Attributes:
        kind: a code.
        age: of the job when it begins, s.
        known: what is known meanwhile, as the bits of `STAGE.known`.
    """

    kind: int
    age: float
    known: int


class Who(NamedTuple):
    """What tells jobs apart.

    Attributes:
        klass: by the cheap prediction.
        coin: in [0, 1).
        y: the size predicted, s; None where it is not told.
    """

    klass: int
    coin: float
    y: float | None = None


class Paths:
    """The path of each job under a policy, and its ranks.

    Args:
        policy: a `PredictingPolicy`.
        params: of its functions for the laws at hand `(k,)`.
        costs: a `PredictorCost`.

    Raises:
        NotApplicable: the policy looks at other jobs, or at what jobs here do not have, so the theorem does not hold.
    """

    def __init__(self, policy: Any, params: np.ndarray, costs: Any):
        self.policy, self.params, self.costs = policy, params, costs
        self._rank, self._ask = policy.compiled()
        job_columns, self._reads = policy.reads(0), policy.reads(1)
        for column in sorted((job_columns | self._reads) & {*QUEUE, "arrival", "deadline"}):
            raise NotApplicable(
                f"SOAP does not apply to policy {policy.name!r}: it reads {column}, and the theorem needs what is the "
                "job's own and does not change with its time of arrival; use simulate"
            )

    def of(self, who: Who) -> list[Step]:
        """Return the stages of a job; up to the prediction of its size, and with it, where that is not told."""
        at, stage, path = job(klass=-1), _stage(coin=who.coin), []
        while True:
            code = asked(self._ask, at, stage, self.params)
            self.policy.refuse_failure(self.params)
            kind, age, known = self._open(code, int(stage["known"])), float(at["age"]), int(stage["known"])
            path.append(Step(kind, age, known))
            if kind == SERVE:
                if not age < self.policy.pause < np.inf:
                    return path
                at["age"] = self.policy.pause
            elif kind == CHEAP:
                at["klass"], stage["known"] = who.klass, known | CHEAP_KNOWN
            elif who.y is None:
                return path
            else:
                at["age"] += self.costs.profile if kind == PROFILE else 0.0
                at["predicted"], stage["known"] = who.y, known | SIZE_KNOWN
            stage["kind"] = kind

    def _open(self, code: float, known: int) -> int:
        """Return the stage that is next: what is known is not predicted again."""
        if code not in (SERVE, CHEAP, EXPENSIVE, PROFILE):
            raise BadInput(f"policy {self.policy.name!r} asks for stage {code:g}; the codes are 0, 1, 2 and 3")
        if code == PROFILE and not self.costs.profile:
            raise BadInput(f"policy {self.policy.name!r} profiles jobs: tell for how long, as in profile=0.5")
        gone = known & CHEAP_KNOWN if code == CHEAP else known & SIZE_KNOWN
        return SERVE if gone else int(code)

    def work(self, kind: int) -> float:
        """Return the work of a prediction on the server, s."""
        if self.costs.where != "server":
            return 0.0
        return self.costs.cheap if kind == CHEAP else self.costs.expensive

    def flat(self, step: Step, who: Who) -> tuple[np.ndarray, np.ndarray]:
        """Return times since its begin `(n,)`, s, and ranks of a prediction on the server."""
        done = np.linspace(0, self.work(step.kind), WITHIN)
        ranks = np.empty(WITHIN)
        ranked(self._rank, self.params, *self._shown(step, who), done, ranks)
        self.policy.refuse_failure(self.params)
        return (done[[0, -1]], ranks[[0, -1]]) if np.ptp(ranks) == 0 else off_plateaus(done, ranks)

    def along(self, step: Step, who: Who, ages: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return ages and ranks of a job in service or profiled, as `trace` does."""
        at, stage = self._shown(step, who)
        found = trace(self._rank, (stage, self.params), at, ages)
        if "done" in self._reads:
            ranks = np.empty(2)
            ranked(self._rank, self.params, at, stage, np.array([0.0, 1.0]), ranks)
            if ranks[0] != ranks[1]:
                raise NotApplicable(f"policy {self.policy.name!r}: in service its rank must be of job.age, not of done")
        self.policy.refuse_failure(self.params)
        return off_plateaus(*found)

    def coins(self, classes: int, y: float) -> list[tuple[float, float]]:
        """Return a coin for each way that jobs go by it, and the share of jobs that do.

        Args:
            classes: how many.
            y: some prediction.
        """
        if "coin" not in self._reads:
            return [(0.5, 1.0)]
        edges, last = [0.0], COINS[0]
        for coin in COINS[1:]:
            if self._way(last, classes, y) != self._way(coin, classes, y):
                edges.append(self._between(last, coin, classes, y))
            last = coin
        if len(edges) > MANY:
            raise NotApplicable(
                f"policy {self.policy.name!r} tells jobs apart by a coin in too many ways; use simulate"
            )
        edges.append(1.0)
        return [(0.5 * (low + high), high - low) for low, high in pairwise(edges)]

    def cuts(self, who: Who, y: np.ndarray) -> list[float]:
        """Return the predictions between those given, ascending `(n,)`, at which a path or its first rank jumps."""
        found, paths = [], [self.of(who._replace(y=one)) for one in y]
        for i in np.flatnonzero([one != other for one, other in pairwise(paths)]):
            low, high = y[i], y[i + 1]
            for _ in range(HALVINGS):
                middle = 0.5 * (low + high)
                low, high = (middle, high) if self.of(who._replace(y=middle)) == paths[i] else (low, middle)
            found.append(low)
        for step in paths[len(y) // 2]:
            if step.known & SIZE_KNOWN and step.kind == SERVE:
                at, stage = self._shown(step, who)
                told = (stage, self.params)
                middle = 0.5 * (y[1:] + y[:-1])
                ends, middles = (self._ranks(step, who, one) for one in (y, middle))
                for i in np.flatnonzero(jumps(ends[:-1], middles, ends[1:])):
                    found.append(limits_at(self._rank, told, at, y[i], y[i + 1], ends[i], ends[i + 1], False)[0])
                break
        return found

    def _ranks(self, step: Step, who: Who, y: np.ndarray) -> np.ndarray:
        """Return the rank of a job of each prediction `(n,)` at the begin of a step."""
        ranks = np.empty(len(y))
        at, stage = self._shown(step, who)
        ranks_at(self._rank, (stage, self.params), at, y, np.full(len(y), step.age), ranks)
        self.policy.refuse_failure(self.params)
        return ranks

    def _between(self, low: float, high: float, classes: int, y: float) -> float:
        way = self._way(low, classes, y)
        for _ in range(HALVINGS):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if self._way(middle, classes, y) == way else (low, middle)
        return high

    def _way(self, coin: float, classes: int, y: float) -> list[Any]:
        """Return the paths of jobs of a coin, and their ranks at the begin of each step."""
        told = [Who(klass, coin, y) for klass in range(classes)]
        paths = [(who, self.of(who)) for who in told]
        return [(path, [float(self._first(step, who)) for step in path]) for who, path in paths]

    def _first(self, step: Step, who: Who) -> float:
        rank = np.empty(1)
        ranked(self._rank, self.params, *self._shown(step, who), np.zeros(1), rank)
        return rank[0]

    def _shown(self, step: Step, who: Who) -> tuple[Any, Any]:
        """Return what the policy is shown of a job at the begin of a step."""
        klass = who.klass if step.known & CHEAP_KNOWN else -1
        y = who.y if step.known & SIZE_KNOWN and who.y is not None else 0.0
        return job(klass=klass, predicted=y, age=step.age), _stage(kind=step.kind, known=step.known, coin=who.coin)


def _stage(**columns: float) -> Any:
    table = records(np.zeros(1, STAGE))
    for name, value in {"in_system": 1, **columns}.items():
        table[name] = value
    return table[0]

"""The cheapest fleet of a menu that keeps an objective, found by bisection over numbers of replicas.

More replicas of a kind are taken to do no worse. Along each line of purchases that differ in the number of one kind the
least number is looked for that is likely to keep the objective, by a few windows; it is then played on as many windows
as it takes to know, and the next number where it does not keep it. Numbers below a bound, and purchases no cheaper than
the best one so far, are not played. All purchases meet the same requests.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.planning.bounds import alone, cannot_hold, check_long_enough, least_replicas
from llmqueue_gym.planning.judge import Judge
from llmqueue_gym.planning.menu import Kind
from llmqueue_gym.planning.purchase import BOTH, Line, Part, Purchase, mixed_lines, pooled, split_lines
from llmqueue_gym.planning.verdict import KEEPS, Verdict

BOUNDED = 3  # windows that bounds look at; the least of them counts
Progress = Callable[[int, int], None]


@dataclass
class Search:
    """Looks for the cheapest purchase.

    Attributes:
        judge: who plays.
        best: the cheapest that keeps the objective so far.
        out: kinds that cannot do it in any number, with the reason.
        least: of each kind, how many a bound asks for.
        reads: the same of reading prompts alone; without the kinds that cannot.
        writes: kinds that can decode fast enough.
        bounded: purchases that bounds left out.
        told: where the search is, for a bar.
    """

    judge: Judge
    best: Purchase | None = None
    verdict: Verdict | None = None
    out: dict[str, str] = field(default_factory=dict)
    least: dict[str, int] = field(default_factory=dict)
    reads: dict[str, int] = field(default_factory=dict)
    writes: set[str] = field(default_factory=set)
    bounded: int = 0
    lines: int = 0

    @property
    def price(self) -> float:
        """Of the best so far, USD an hour; inf where there is none."""
        return float("inf") if self.best is None else self.best.price

    def run(self, progress: Progress | None = None) -> None:
        """Look at all lines, those of one kind first."""
        for kind in self.judge.menu.gpus:
            self._bound(kind)
        kinds = [line for line in pooled(self.judge.menu) if line.kind.name not in self.out]
        steps = len(kinds) + self.judge.menu.split + self.judge.menu.mixed
        for k, line in enumerate(sorted(kinds, key=lambda line: line.at(self.least[line.kind.name]).price)):
            self._look(Line((), line.kind, BOTH, self.least[line.kind.name]))
            if progress is not None:
                progress(k + 1, steps)
        for more in (split_lines, mixed_lines):
            for line in self._others(more):
                if line.at(1).price < self.price:
                    self._look(line)

    def next_cheaper(self) -> list[Purchase]:
        """Return the dearest purchases below the price of the best, those whose kinds cannot do it left out."""
        below = [played.purchase for played in self.judge.found.values() if played.purchase.price < self.price]
        lines = [Line((), kind, BOTH) for kind in self.judge.menu.gpus]
        lines += [line for more in (split_lines, mixed_lines) for line in self._others(more)]
        for line in lines:
            count = line.below(self.price)
            if count >= 1:
                below.append(line.at(count))
        dearest = max((one.price for one in below), default=0.0)
        return list({str(one): one for one in below if one.price == dearest}.values())

    def _others(self, more: Any) -> list[Line]:
        menu = self.judge.menu
        if more is mixed_lines:
            return [
                line for line in mixed_lines(menu, self.price) if not {p.kind.name for p in line.fixed} & set(self.out)
            ]
        return [line for line in split_lines(menu, self.reads, self.price) if line.kind.name in self.writes]

    def _bound(self, kind: Kind) -> None:
        """Find out what a kind cannot do."""
        judge, one = self.judge, Purchase((Part(kind, BOTH, 1),))
        drawn = [judge.drawn(one, seed) for seed in judge.seeds[:BOUNDED]]
        name, objective = kind.name, judge.objective
        self.least[name] = 1
        if why := next((why for each in drawn if (why := cannot_hold(kind, each))), ""):
            self.out[name] = why
            return
        above = alone(kind, drawn[0], objective)
        spare = 1 - objective.share + 3 / np.sqrt(len(drawn[0].sizes))  # a window may differ from the one looked at
        shares = {} if above is None else {limit: float(rows.mean()) for limit, rows in above.items()}
        firsts = max((shares[limit] for limit in ("wait", "ttft") if limit in shares), default=0.0)
        if firsts <= spare:
            self.reads[name] = min(least_replicas(kind, each, judge.windows.lead, objective, True) for each in drawn)
        if max((shares[limit] for limit in ("tpot", "gap") if limit in shares), default=0.0) <= spare:
            self.writes.add(name)
        worst = max(shares, key=lambda limit: shares[limit], default="")
        if above is not None and float(np.any(list(above.values()), axis=0).mean()) > spare:
            most = objective.limits[worst]
            self.out[name] = (
                f"no number of {name} will do: alone on one, {shares[worst]:.1%} of the requests have a {worst} above "
                f"{most:g} s, and {1 - objective.share:.3g} may"
            )
        else:
            check_long_enough(kind, drawn[0], judge.windows)
            self.least[name] = min(least_replicas(kind, each, judge.windows.lead, objective) for each in drawn)
            if self.least[name] > kind.most:
                self.out[name] = (
                    f"{kind.most} {name} are too few: what the requests need of their time asks for {self.least[name]}"
                )

    def _look(self, line: Line) -> None:
        """Find the least number of a line that keeps the objective, if that is cheaper than the best so far."""
        self.lines += 1
        judge, most, low = self.judge, line.below(self.price), line.least - 1
        self.bounded += min(low, most)
        if most <= low:
            return
        high = most
        if self.best is None:  # no price to stay below: double
            high = min(max(line.least, 1), most)
            while not judge.quick(line.at(high)):
                if high == most:
                    return
                low, high = high, min(2 * high, most)
        elif not judge.quick(line.at(high)):
            return
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if judge.quick(line.at(middle)) else (middle, high)
        while high <= most:
            told = judge.settle(line.at(high))
            if told.word == KEEPS:
                self.best, self.verdict = line.at(high), told
                return
            high += 1


def check_possible(search: Search) -> None:
    """Refuse a menu of which no purchase keeps the objective, with the one that comes nearest."""
    if search.best is not None:
        return
    reasons = list(search.out.values())
    played = sorted(search.judge.found.values(), key=lambda one: -float(np.mean(one.shares)))
    if played:
        near = played[0]
        told = search.judge.verdict(near)
        grows = f" while its queue grows by {near.growth:.1%} of what comes" if near.overloaded else ""
        reasons.append(
            f"{near.purchase} comes nearest, with {told.share:.1%} of the requests within the limits on average and "
            f"{told.held} of {told.windows} windows that hold{grows} (more can be had with most = ... in the menu)"
        )
    raise BadInput(f"no fleet of the menu keeps {search.judge.objective}: {'; '.join(reasons)}")

"""Fleets on windows: plays them, and keeps what each one did, so that every fleet meets the same requests only once."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from llmqueue_gym.planning.menu import Menu
from llmqueue_gym.planning.objective import Objective
from llmqueue_gym.planning.purchase import Purchase
from llmqueue_gym.planning.steady import backlog, may_hide
from llmqueue_gym.planning.verdict import FAILS, KEEPS, LOOKS, OPEN, Verdict, lost, verdict
from llmqueue_gym.planning.windows import Windows
from llmqueue_gym.policies.routing import ROUTING_POLICIES
from llmqueue_gym.systems.base import Drawn
from llmqueue_gym.systems.capacity import GROWTH, stretched
from llmqueue_gym.systems.run import Run
from llmqueue_gym.systems.scenario import Scenario
from llmqueue_gym.workloads.streams import stream

ANY_ROUTER = "least-outstanding"  # of a fleet that is too small for all of the menu
TRIED = 5  # windows on which ways to run a fleet are compared, others than those that count

Way = tuple[str, str]  # router and order


@dataclass
class Played:
    """What a purchase did, under the way of running it that served it best.

    Attributes:
        purchase: what is bought.
        way: router and order.
        shares: of the requests within the limits, window by window.
        stopped: whether the rest of a look was left out, as it could not help.
        growth: of the queue, as a share of the tokens that come; None where no need was to look at it.
    """

    purchase: Purchase
    way: Way
    shares: list[float] = field(default_factory=list)
    stopped: bool = False
    growth: float | None = None

    @property
    def overloaded(self) -> bool:
        """Whether the queue is known to grow for ever."""
        return self.growth is not None and self.growth > GROWTH


@dataclass
class Judge:
    """Plays purchases on the same windows.

    Attributes:
        windows: the windows.
        objective: what is to be kept.
        menu: ways of running a fleet.
        predictor: of the lengths, for routers and orders that want one.
        seed: of the windows.
        simulations: played so far.
        found: what was played, by the words of the purchase.
    """

    windows: Windows
    objective: Objective
    menu: Menu
    predictor: Any
    seed: int = 0
    simulations: int = 0
    found: dict[str, Played] = field(default_factory=dict)
    _scenarios: dict[tuple[str, Way], Scenario] = field(default_factory=dict, repr=False)

    @cached_property
    def seeds(self) -> np.ndarray:
        """Seeds of the windows that count, then of those on which ways are compared."""
        return stream(self.seed, "plan.windows").integers(2**31, size=LOOKS[-1] + TRIED)

    def quick(self, purchase: Purchase) -> bool:
        """Tell whether a purchase is likely to keep the objective: it does not fail at the first look."""
        played = self._played(purchase)
        self._play_until(played, LOOKS[0])
        told = self.verdict(played)
        return told.word != FAILS and self.likely(told) and not self._overloaded(played)

    def settle(self, purchase: Purchase) -> Verdict:
        """Return what is known of a purchase when it is known, or after the last look."""
        played = self._played(purchase)
        for look in LOOKS:
            self._play_until(played, look)
            told = self.verdict(played)
            if told.word != OPEN:
                break
        return self.verdict(played) if told.word == KEEPS and self._overloaded(played) else told

    def shown(self, purchase: Purchase, count: int) -> Played:
        """Return a purchase, of which so many windows are played at least, to the end of them all."""
        played = self._played(purchase)
        while len(played.shares) < count:
            played.shares.append(self.share(self.run(purchase, played.way, self.seeds[len(played.shares)])))
        return played

    def verdict(self, played: Played) -> Verdict:
        """Return what the windows that were played show; the rest of a look that cannot help counts as played.

        A queue that grows keeps nothing, whatever windows show.
        """
        told = verdict(played.shares, self.objective)
        return told._replace(word=FAILS) if played.stopped or played.overloaded else told

    def bears(self, purchase: Purchase, factor: float) -> bool:
        """Tell whether a purchase that was played is likely to keep the objective at a rate larger by a factor."""
        way = self.found[str(purchase)].way
        shares = [self.share(self.run(purchase, way, seed, factor)) for seed in self.seeds[: LOOKS[0]]]
        if not self.likely(verdict(shares, self.objective)):
            return False
        return self._growth(purchase, way, factor) <= GROWTH

    def run(self, purchase: Purchase, way: Way, seed: int, factor: float = 1.0) -> Run:
        """Return the run of a window, whose requests come at a rate larger by a factor."""
        self.simulations += 1
        scenario = self.scenario(purchase, way)
        router = scenario.policy(way[0])
        drawn = scenario.draw(int(seed), router)
        drawn = drawn._replace(work=stretched(drawn.work, factor))
        return scenario.system.simulate(drawn, router, **scenario.facts(router))

    def scenario(self, purchase: Purchase, way: Way) -> Scenario:
        """Return the scenario of a purchase that is run in a way."""
        key = (str(purchase), way)
        if key not in self._scenarios:
            fleet, n = purchase.fleet(self.menu, way[1]), self.windows.lead + self.windows.count
            made = Scenario(fleet, workload=self.windows.workload, predictor=self.predictor, n_jobs=n)
            self._scenarios[key] = made
        return self._scenarios[key]

    def drawn(self, purchase: Purchase, seed: int) -> Drawn:
        """Return the requests of a window."""
        return self.scenario(purchase, self.menu.ways[0]).draw(int(seed))

    def share(self, run: Run) -> float:
        """Return the share of the requests that count which are within the limits."""
        return float(self.objective.met(run)[self.windows.lead :].mean())

    def likely(self, told: Verdict) -> bool:
        """Tell whether so far as many windows hold as are wanted, or the mean share is at least what is wanted."""
        if self.objective.windows is None:
            return told.share >= self.objective.share
        return told.held >= self.objective.windows * told.windows

    def _played(self, purchase: Purchase) -> Played:
        key = str(purchase)
        if key not in self.found:
            self.found[key] = Played(purchase, self._best_way(purchase))
        return self.found[key]

    def _overloaded(self, played: Played) -> bool:
        if played.growth is None:
            played.growth = self._growth(played.purchase, played.way)
        return played.overloaded

    def _growth(self, purchase: Purchase, way: Way, factor: float = 1.0) -> float:
        """Return the growth of the queue, as a share of the tokens; 0 where windows would have shown it."""
        if not may_hide(self.objective, way[1], self.windows.seconds / factor):
            return 0.0
        self.simulations += 1
        return backlog(self.scenario(purchase, way), way[0], self.seeds[-1], factor)

    def _best_way(self, purchase: Purchase) -> Way:
        """Return the way of most requests within the limits on windows that do not count; the first among equals."""
        ways = [way for way in self.menu.ways if ROUTING_POLICIES(way[0]).can_sample(purchase.replicas)]
        if not ways:  # nor does the router matter
            ways = [(ANY_ROUTER, order) for order in self.menu.orders]
        if len(ways) == 1 or (purchase.replicas == 1 and len(self.menu.orders) == 1):
            return ways[0]
        sums = [sum(self.share(self.run(purchase, way, seed)) for seed in self.seeds[-TRIED:]) for way in ways]
        return ways[int(np.argmax(sums))]

    def _play_until(self, played: Played, count: int) -> None:
        while len(played.shares) < count and not played.stopped:
            run = self.run(played.purchase, played.way, self.seeds[len(played.shares)])
            played.shares.append(self.share(run))
            if len(played.shares) < count:
                played.stopped = lost(played.shares, self.objective)

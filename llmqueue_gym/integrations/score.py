"""How good an agent of any library is: its cost between that of a system's usual policy and what nobody undercuts."""

from collections.abc import Iterator
from dataclasses import fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from llmqueue_gym.envs.rollout import acting, rollouts
from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.statistics import Estimate, across_seeds
from llmqueue_gym.systems import Scenario
from llmqueue_gym.systems.view import View


class Yardstick:
    """A scenario's jobs of some seeds, on which everybody is measured.

    Attributes:
        scenario: where.
        view: what agents see and decide.
        seeds: of the runs.
    """

    def __init__(self, scenario: Scenario, view: View, seeds: range, n_jobs: int | None = None):
        """Take the measure.

        Args:
            scenario: where an agent was trained.
            view: what it sees and decides; there is no horizon here.
            seeds: of the runs.
            n_jobs: jobs in each; as many as the scenario has unless told otherwise.
        """
        self.scenario = scenario if n_jobs is None else replace(scenario, n_jobs=n_jobs)
        self.view, self.seeds = replace(view, horizon=np.inf, relative_to=""), seeds

    def costs(self, player: Any) -> np.ndarray:
        """Return the system's cost `(seeds,)` of a policy or an agent in each run; see `rollout`."""
        scenario = self.scenario
        if acting(player) is None and self.view.own_rules:
            policy = self.view.policies(scenario)(player)
            scenario = self._telling(policy)
            player = scenario.system.agent(policy, scenario, self.view)
        runs = rollouts(player, scenario, self.seeds, **vars(self.view))
        return np.array([scenario.system.numbers(run)["cost"] for run in runs])

    def score(self, player: Any) -> Estimate:
        """Return (base - x) / (base - bound) of the mean costs, with the interval of a ratio of paired means.

        Source: Law, "Simulation Modeling and Analysis", chapter 9 (ratio estimators): the interval is that of what is
        left of each seed's gain when the score is taken out.
        """
        return self.score_of(self.costs(player))

    def score_of(self, costs: np.ndarray) -> Estimate:
        """Return the score of costs `(seeds,)`; see `score`."""
        base, bound = self._ends
        gain, worth = base - costs, base - bound
        score = float(gain.mean() / worth.mean())
        return across_seeds(score + (gain - score * worth) / worth.mean())

    def rivals(self) -> Iterator[str]:
        """Give the policies worth comparing with: that of score 0, and those that do what the agent can do."""
        policies = self.view.policies(self.scenario)
        for name in policies:
            try:
                policy = policies(name)
            except BadInput:  # it is made of more than its name
                continue
            shared = [field.name for field in fields(self.view) if hasattr(policy, field.name)]
            alike = all(getattr(policy, one) == getattr(self.view, one) for one in shared)
            if name == self.base or (alike and self._is_agent(policy)):
                yield name

    @property
    def base(self) -> str:
        """The policy with score 0: that of the system, or the first of those that decide what the agent does."""
        policies, usual = self.view.policies(self.scenario), self.scenario.system.base
        return usual if usual in policies else next(iter(policies))

    def _is_agent(self, policy: Any) -> bool:
        try:
            self.scenario.system.agent(policy, self._telling(policy), self.view)
        except BadInput:
            return False
        return True

    def _telling(self, policy: Any) -> Scenario:
        """Return the scenario with the predictor that a policy brings along."""
        told = getattr(policy, "predictor", None)
        return replace(self.scenario, predictor=told) if told else self.scenario

    @cached_property
    def _ends(self) -> tuple[np.ndarray, np.ndarray]:
        bounds = np.array([self.scenario.bound(seed) for seed in self.seeds])
        return self.costs(self.base), bounds

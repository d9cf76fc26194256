"""The policies of the benchmark with the parameters that they play with, and what each may see.

One-bit's threshold is the one with the least exact mean response time in the M/G/1 of the case's laws and load, and
Gittins' rank is computed from the case's laws: both are told the laws. `limited-preemption` keeps Trail's c = 0.8.
"""

from dataclasses import replace
from functools import cached_property

import numpy as np

from llmqueue_gym.errors import NotApplicable
from llmqueue_gym.evaluation.bench.information import NOTHING, PREDICTION, TRUTH
from llmqueue_gym.evaluation.bench.mg1.cases import Case
from llmqueue_gym.policies import POLICIES, Policy, policy
from llmqueue_gym.predictors import Predictor
from llmqueue_gym.theory import analyse
from llmqueue_gym.theory.closed_forms import FORMULAS
from llmqueue_gym.theory.joint import JointLaw

_ONE_BIT = ("one-bit", "one-bit-lcfs", "one-bit-fcfs")
_THRESHOLDS = 200


def sees(contestant: Policy) -> str:
    """Return what a policy is told of a job."""
    if contestant.predictor == "exact":
        return TRUTH
    return PREDICTION if "predicted" in contestant.reads() else NOTHING


def contestants(cases: list[Case]) -> list[list[Policy]]:
    """Return every registered policy, ready to play, for each of several cases that differ in their load alone.

    A table that a policy computes from the laws is computed once here, not once in every run.
    """
    scenario = cases[0].scenario
    size, predictor = scenario.law, scenario.bound_predictor()
    fixed = {}
    for name in POLICIES:
        made = policy(name)
        if made.prepare is not None:
            params = tuple(made.params_for(size, scenario.bound_predictor(made)).tolist())
            made = replace(made, params=params, prepare=None)
        fixed[name] = made
    joint = _Remembering(size, predictor)
    return [[fixed[n] if n not in _ONE_BIT else _tuned(n, joint, case.load) for n in POLICIES] for case in cases]


def _tuned(name: str, joint: JointLaw, load: float) -> Policy:
    levels = joint.y_edges[1:-1] if joint.continuous else joint.predictor.atoms()
    if levels is None:  # exact predictions of discrete sizes: the sizes are the predictions
        levels = joint.size.atoms()
    some = levels[np.unique(np.linspace(0, len(levels) - 1, _THRESHOLDS).astype(int))]
    means = [FORMULAS[name](joint, load / joint.size.mean, y) for y in some]
    return policy(f"{name}:threshold={float(some[int(np.argmin(means))])!r}")


class _Remembering(JointLaw):
    """A joint law that is asked for the same thresholds by three policies and several loads."""

    @cached_property
    def _known(self) -> dict[bytes, np.ndarray]:
        return {}

    def tail_moments(self, orders: tuple[int, ...], y: np.ndarray) -> np.ndarray:
        """Return E[S^k; Y > y] as `JointLaw` does; only one tuple of orders is ever asked for here."""
        key = y.tobytes()
        if key not in self._known:
            self._known[key] = super().tail_moments(orders, y)
        return self._known[key]


def exact_means(case: Case, predictor: Predictor | None, wanted: list[tuple[Policy, float]]) -> list[float]:
    """Return the exact mean response times of several policies and loads under one pair of laws.

    A closed form is evaluated without the response times by size that `theory.analyse` adds to it.

    Args:
        case: its size law is meant.
        predictor: bound to that law, or None for policies that read no prediction.
        wanted: policies and loads.
    """
    size = case.scenario.law
    joint, means = JointLaw(size, predictor), []
    for contestant, load in wanted:
        try:
            means.append(float(FORMULAS[contestant.formula or ""](joint, load / size.mean, *contestant.params)))
        except (KeyError, NotApplicable):
            means.append(analyse(contestant, size, predictor, load, "soap").mean_response_time)
    return means

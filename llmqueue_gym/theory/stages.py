"""SOAP for jobs with stages: predictions that are work of the server, or are bought, and who is predicted at all.

The theorem holds as it is for the types of jobs of `job_types`: a job that the server predicts receives more work, in
pieces of ranks of their own. What predictions add to the load is added here.

Source: Scully, Harchol-Balter, Scheller-Wolf, SIGMETRICS 2018; the models of cost are those of Shahout, Mitzenmacher,
"SkipPredict: When to Invest in Predictions for Scheduling", NeurIPS 2024.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from llmqueue_gym.errors import NotApplicable, Unstable
from llmqueue_gym.jobs import CHEAP, EXPENSIVE, PROFILE
from llmqueue_gym.theory.analysis import CELLS, extrapolated, laws
from llmqueue_gym.theory.erlang import stable_load
from llmqueue_gym.theory.job_types import Type, is_predicted, stretches, types_of
from llmqueue_gym.theory.joint import JointLaw
from llmqueue_gym.theory.paths import Paths, Who
from llmqueue_gym.theory.soap import levels_at, levels_between, responses

_JUMP = 1e-9  # relative: a rank that moves by less has not jumped
SOME = 16  # predictions at which jumps with age are looked for


@dataclass(frozen=True)
class Staged:
    """Exact results for one policy of predictions in the M/G/1.

    Attributes:
        mean_response_time: E[T], s.
        price: of the predictions bought outside, per job, in s of response time.
        load: of the server, predictions included.
        cheap, expensive, profiled: predictions of each kind per job.
        sizes: sizes x `(k,)`, s, ascending.
        response_time_by_size: E[T | S = x] `(k,)`, s.
    """

    mean_response_time: float
    price: float
    load: float
    cheap: float
    expensive: float
    profiled: float
    sizes: np.ndarray
    response_time_by_size: np.ndarray

    @property
    def cost(self) -> float:
        """E[T] and the price of the predictions of a job, s."""
        return self.mean_response_time + self.price


def analyse_stages(
    policy: Any, size: Any, predictor: Any, load: float, costs: Any, cheap: Any = None, cells: int = CELLS
) -> Staged:
    """Analyse a policy of predictions in the M/G/1 with Poisson arrivals.

    Args:
        policy: a `PredictingPolicy`; its functions may look at what is known of a job, not at the other jobs.
        size: law of the true size.
        predictor: model of the expensive prediction; bound to the size law here.
        load: lambda E[S], in (0, 1); what predictions add to it is added here.
        costs: a `PredictorCost`, with predictions made outside or on the server.
        cheap: model of the number behind the cheap prediction; the predictor where it is None.
        cells: of predictions, 100 or more; a quarter of what is usual is ten times as fast, and loses a digit.

    Raises:
        Unstable: predictions and jobs together are more than the server can do.
        NotApplicable: the theorem does not cover the policy, or predictions are made by servers of their own.
    """
    stable_load(load)
    if not np.isfinite(size.moment(2)):
        raise NotApplicable(f"size law {size} has no second moment, so mean response times under fcfs are infinite")
    if costs.where not in ("outside", "server"):
        raise NotApplicable("no exact result is known where predictions have servers of their own; use simulate")
    bound = predictor.bind(size)
    rough, fine = (
        _solve(types, levels, load / size.mean, costs)
        for types, levels in _grids(policy, size, bound, bound if cheap is None else cheap.bind(size), costs, cells)
    )
    return replace(fine, mean_response_time=extrapolated(fine.mean_response_time, rough.mean_response_time))


@lru_cache(maxsize=2)  # all loads share it
def _grids(
    policy: Any, size: Any, predictor: Any, cheap: Any, costs: Any, cells: int
) -> list[tuple[list[Type], np.ndarray]]:
    """Return the types of jobs and the levels on a grid, and on one twice as fine."""
    paths = Paths(policy, policy.params_for(size=size, predictor=predictor), costs)
    edges = np.asarray(policy.edges, float)
    places = [at for edge in edges for at in cheap.breakpoints_at(edge)]
    places += [at for at in (policy.pause, costs.profile) if 0 < at < np.inf]
    joints = laws(size, predictor, _inside(places, size), cells)
    more = _jumps(paths, len(edges) + 1, joints[0])
    if more:
        joints = laws(size, predictor, _inside([*places, *more], size), cells)
    found = []
    for joint in joints:
        types = list(types_of(paths, cheap, edges, joint))
        found.append((types, _levels(types, joint.continuous)))
    return found


def _inside(places: list[float], size: Any) -> tuple[float, ...]:
    """Return where cells must end, ascending; at the atoms of a discrete law they end anyhow."""
    atoms = size.atoms()
    return tuple(np.unique(places if atoms is None else np.setdiff1d(places, atoms)).tolist())


def _jumps(paths: Paths, classes: int, joint: JointLaw) -> list[float]:
    """Return predictions and ages at which paths or ranks jump, beyond the edges of the cells."""
    found: list[float] = []
    y = joint.y_edges[1:] if joint.continuous else np.array([joint.size.mean])
    for coin, _ in paths.coins(classes, joint.size.mean):
        for klass in range(classes):
            who = Who(klass, coin)
            if joint.continuous and is_predicted(paths.of(who)):
                found += paths.cuts(who, y)
            ages = [
                _jumps_with_age(paths, who._replace(y=float(one)), joint.edges) for one in y[:: len(y) // SOME or 1]
            ]
            twice, count = np.unique(np.concatenate(ages), return_counts=True)
            found += list(twice[count > 1] if joint.continuous else twice)  # the others are smeared by the prediction
    return np.setdiff1d(found, joint.edges).tolist()


def _jumps_with_age(paths: Paths, who: Who, edges: np.ndarray) -> np.ndarray:
    """Return the ages at which the rank of a job in service jumps."""
    found = [np.zeros(0)]
    for step, end in stretches(paths.of(who)):
        inner = edges[(edges > step.age) & (edges < end)]
        ages = np.concatenate([[step.age], inner, [min(end, edges[-1])]])
        if ages[-1] > step.age:
            ages = paths.along(step, who, np.unique(ages))[0]
            found.append(ages[1:][ages[1:] == ages[:-1]])
    return np.concatenate(found)


def _solve(types: list[Type], levels: np.ndarray, lam: float, costs: Any) -> Staged:
    load = lam * float(sum(one.row.served[-1] for one in types))
    if load >= 1:
        raise Unstable(
            f"the load is {load:.6g} with the predictions on the server: there is no mean response time at 1 or more; "
            "take a lower load, or predict less"
        )
    times = responses([(one.row, one.ranks) for one in types], lam, load, levels)
    x, kind = np.unique(np.concatenate([one.x for one in types]), return_inverse=True)
    p = np.concatenate([one.row.p for one in types])
    chance, total = np.bincount(kind, p), np.bincount(kind, p * np.concatenate(times))
    by_size = np.divide(total, chance, out=np.zeros_like(total), where=chance > 0)
    bought = np.sum([one.bought for one in types], axis=0)
    outside = costs.where == "outside"
    price = costs.cheap * bought[CHEAP] + costs.expensive * bought[EXPENSIVE] if outside else 0.0
    cheap, expensive, profiled = bought[[CHEAP, EXPENSIVE, PROFILE]].tolist()
    mean = float(total.sum() / chance.sum())
    return Staged(mean, float(price), load, cheap, expensive, profiled, x, by_size)


def _levels(types: list[Type], continuous: bool) -> np.ndarray:
    """Return ascending ranks at which to evaluate waiting and load.

    Where predictions are continuous, a rank with which jobs of one prediction alone begin, or go on after a jump, is
    that of a cell; one that others share, or that jobs have of which no size is predicted, is a real tie.
    """
    ranks = [one.ranks for one in types]
    begun = [_begun(one.row.ages, one.ranks) for one in types]
    shared = [r for r, one in zip(begun, types, strict=True) if one.y is None]
    own = [(r, np.full(len(r), one.y)) for r, one in zip(begun, types, strict=True) if one.y is not None]
    if continuous and own:
        pairs = np.unique(np.stack([np.concatenate(column) for column in zip(*own, strict=True)]), axis=1)
        once, count = np.unique(pairs[0], return_counts=True)
        ties = np.unique(np.concatenate([*shared, once[count > 1]]))
        alone = np.setdiff1d(once[count == 1], ties)
        if len(alone) > 1:
            beside = np.nextafter(ties, -np.inf), np.nextafter(ties, np.inf)
            return levels_between(ranks, alone, np.unique(np.concatenate([ties, *beside])))
    return levels_at(ranks, np.unique(np.concatenate(begun)))


def _begun(ages: np.ndarray, ranks: np.ndarray) -> list[float]:
    """Return the ranks with which a job begins, or goes on after a jump or on a plateau; rounding makes neither."""
    begun = [float(ranks[0])]
    for i in np.flatnonzero(np.diff(ages[:-1]) == 0) + 1:
        far = abs(ranks[i] - ranks[i - 1]) > _JUMP * abs(ranks[i])
        if (far or ranks[i] == ranks[i + 1]) and all(abs(ranks[i] - one) > _JUMP * abs(one) for one in begun):
            begun.append(float(ranks[i]))
    return begun

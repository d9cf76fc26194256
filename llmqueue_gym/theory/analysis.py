"""One entry to the exact results: a policy, the laws and a load in; mean response time, by size too, out."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from llmqueue_gym.errors import BadInput, NotApplicable
from llmqueue_gym.theory.closed_forms import FORMULAS
from llmqueue_gym.theory.erlang import stable_load
from llmqueue_gym.theory.joint import JointLaw
from llmqueue_gym.theory.processor_sharing import processor_sharing
from llmqueue_gym.theory.ranks import Ranks
from llmqueue_gym.theory.soap import Conditional, soap

Method = Literal["auto", "formula", "soap"]
_POINTS = 999  # sizes at which processor sharing is told, equally likely
CELLS = 800  # of predictions
ROUGH = 3e-3  # of the mean; between grids on which smooth ranks differ by less


@dataclass(frozen=True)
class Analysis:
    """Exact results for one policy in the M/G/1.

    Attributes:
        mean_response_time: E[T], s.
        mean_slowdown: E[T / S]; inf where short jobs are common enough to make it so.
        sizes: sizes x `(k,)`, s, ascending.
        response_time_by_size: E[T | S = x] `(k,)`, s.
        method: "formula" or "soap": where mean_response_time comes from. The other two come from SOAP, but for
            processor sharing, which SOAP does not cover.
        load: lambda E[S].
        grid_gap: by how much the mean response times of the two grids differ from which it is extrapolated, relative.
            Where ranks are smooth it is right to a small part of that; where they have many waves, as those of a
            network may, their errors do not fall evenly and it is right to about that.
    """

    mean_response_time: float
    mean_slowdown: float
    sizes: np.ndarray
    response_time_by_size: np.ndarray
    method: str
    load: float
    grid_gap: float = 0.0

    @property
    def rough(self) -> bool:
        """Whether the grids are so far apart that the fourth digit is not certain."""
        return self.grid_gap > ROUGH


def analyse(
    policy: Any, size: Any, predictor: Any, load: float, method: Method = "auto", by_size: bool = True
) -> Analysis:
    """Analyse a policy in the M/G/1 with Poisson arrivals.

    Args:
        policy: a Policy, or a SharingPolicy, of which processor sharing alone is known.
        size: law of the true size.
        predictor: prediction model, or None for no prediction; bound to the size law here.
        load: lambda E[S], in (0, 1).
        method: "formula" for the policy's closed form, "soap" for the general calculator, "auto" for the first that
            applies.
        by_size: whether slowdown and response times by size are wanted, too, which a closed form does not give.

    Raises:
        NotApplicable: the method does not cover the policy.
    """
    stable_load(load)
    if method not in ("auto", "formula", "soap"):
        raise BadInput(f"unknown method {method!r}; choose from: auto, formula, soap")
    if hasattr(policy, "insensitive"):
        return _shared(policy, size, load, method)
    if not np.isfinite(size.moment(2)):
        raise NotApplicable(f"size law {size} has no second moment, so mean response times under fcfs are infinite")
    bound = None if predictor is None else predictor.bind(size)
    params = policy.params_for(size, None if bound is None else bound.believed(), load=load)
    if not policy.uses_predictions:
        bound = None
    coarse, joint = laws(size, bound)
    used, mean, gap = "soap", None, 0.0
    if method != "soap":
        try:
            fine, rough_mean = (_formula(policy, one, load, params) for one in (joint, coarse))
            mean, used, gap = extrapolated(fine, rough_mean), "formula", _gap(fine, rough_mean)
        except NotApplicable:
            if method == "formula":
                raise
    if mean is not None and not by_size:
        return Analysis(mean, np.nan, np.empty(0), np.empty(0), used, load, gap)
    at = Ranks(policy, params).cuts(joint)  # closed forms look at thresholds by themselves
    if at:
        coarse, joint = laws(size, bound, at)
    try:
        x, p, response = _by_size(soap(policy, params, joint, load), joint)
        rough = _by_size(soap(policy, params, coarse, load), coarse)
    except NotApplicable:
        if mean is None:
            raise
        return Analysis(mean, np.nan, np.empty(0), np.empty(0), used, load, gap)
    slowdown = extrapolated(_mean_slowdown(size, x, p, response), _mean_slowdown(size, *rough))
    if mean is None:
        fine, coarser = (float(np.sum(q * t) / np.sum(q)) for q, t in ((p, response), rough[1:]))
        mean, gap = extrapolated(fine, coarser), _gap(fine, coarser)
    return Analysis(mean, slowdown, x, response, used, load, gap)


def _shared(policy: Any, size: Any, load: float, method: Method) -> Analysis:
    """Return what is known of a policy that shares the server among jobs of equal weight."""
    if not policy.insensitive:
        raise NotApplicable(
            f"no mean response time of policy {policy.name!r} is known: of those that share the server theory knows ps "
            "alone; use simulate"
        )
    if method == "soap":
        raise NotApplicable(
            f"SOAP does not cover policy {policy.name!r}, which shares the server; use method 'formula'"
        )
    x = np.unique(size.ppf(np.linspace(0.0, 1.0, _POINTS + 2)[1:-1]))
    mean, slowdown = processor_sharing(np.array([size.mean, 1.0]), load)
    return Analysis(float(mean), float(slowdown), x, processor_sharing(x, load), "formula", load)


@lru_cache(maxsize=4)  # all policies and loads of one pair of laws share it
def laws(size: Any, predictor: Any, cuts: tuple[float, ...] = (), cells: int = CELLS) -> tuple[JointLaw, JointLaw]:
    """Return the joint law on a grid and on one twice as fine, that of so many cells of predictions.

    With few rows there is time for more sizes.
    """
    blind = predictor is None or not predictor.informative
    atoms = None if blind else predictor.atoms()
    rows = 1 if blind else CELLS if atoms is None else len(atoms)
    x_cells = int(np.clip(960_000 // rows, 300, 4800)) * cells // CELLS
    coarse = JointLaw(size, predictor, x_cells // 2, cells // 2, cuts)
    return coarse, JointLaw(size, predictor, x_cells, cells, cuts)


def extrapolated(fine: float, coarse: float) -> float:
    """Return the limit of small cells: the error of the cells is of second order in their width."""
    return fine + (fine - coarse) / 3 if np.isfinite(fine) and np.isfinite(coarse) else fine


def _gap(fine: float, coarse: float) -> float:
    return abs(fine - coarse) / fine if np.isfinite(fine) and np.isfinite(coarse) else 0.0


def _formula(policy: Any, joint: JointLaw, load: float, params: np.ndarray) -> float:
    if policy.formula is None:
        raise NotApplicable(f"policy {policy.name!r} has no closed form; use method 'soap'")
    if len(joint.lumps):
        raise NotApplicable("closed forms know no predictions that are equal and continuous in part; use method 'soap'")
    return FORMULAS[policy.formula](joint, load, *params)


def _by_size(types: list[Conditional], joint: JointLaw) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Average the response times of all predictions at each size."""
    if joint.exact:  # one size a row
        x, p, response = (np.concatenate(column) for column in zip(*types, strict=True))
        return x, p, response
    p, response = np.zeros((2, len(joint.x)))
    for t in types:  # each stands on some of the sizes
        first = np.searchsorted(joint.x, t.x[0])
        p[first : first + len(t.x)] += t.p
        response[first : first + len(t.x)] += t.p * t.response
    return joint.x, p, np.divide(response, p, out=np.zeros_like(p), where=p > 0)


def _mean_slowdown(size: Any, x: np.ndarray, p: np.ndarray, response: np.ndarray) -> float:
    """Return E[T / S], or inf where E[T | x] / x cannot be integrated at 0.

    Near 0 let P(S <= x) go as x^alpha and E[T | x] as x^beta; the integral is finite only if alpha + beta > 1.
    """
    if size.atoms() is None and size.cdf(x[0]) > 0:
        u, v = x[0], x[min(8, len(x) - 1)]
        alpha = np.log(size.cdf(v) / size.cdf(u)) / np.log(v / u)
        beta = np.log(response[min(8, len(x) - 1)] / response[0]) / np.log(v / u)
        if alpha + beta <= 1.01:
            return float("inf")
    return float(np.sum(p * response / x))

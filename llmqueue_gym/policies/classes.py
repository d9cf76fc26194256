"""Classes of predicted size, the smaller first; within a class first come first served.

Class 0 holds the predictions up to the first edge, and so on: log2(k) bits of advice tell k classes apart. `classes` is
not preemptive; in `preemptive-classes` a job takes the server from every running job of a higher class, which resumes
later. The edges are numbers, or follow from the laws:

* `optimal`: those of the least mean response time in the M/G/1 at the scenario's load. Elsewhere, as on several
  servers, they are those of one server at the load of each.
* `quantile`: equal shares of the jobs; with more and more classes the two become SPJF and PSPJF.
* `work`: equal shares of the load.

Source: Cobham, "Priority Assignment in Waiting Line Problems", Operations Research 1954; the survey's question how
performance varies as bits are added (Mitzenmacher and Shahout, Stochastic Systems 2025, section 2.2).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput, NotApplicable, nearest
from llmqueue_gym.policies.base import Policy

_SOURCE = "Cobham, Operations Research 1954"
RULES = ("optimal", "quantile", "work")
CLASSES = 4
MOST, MOST_BEST = 256, 64  # classes; the best edges take time
CELLS = 600, 400  # of the joint law: the mean response time hardly changes with a slight shift of the best edges


def rank(job, params):
    above = 0
    while above < len(params) and job.predicted > params[above]:
        above += 1
    return float(above)


@dataclass(frozen=True)
class Edges:
    """Computes the edges of k classes from the laws and, where they are optimal, the load."""

    name: str
    k: int
    rule: str
    preemptive: bool

    def __call__(self, size: Any, predictor: Any, load: float | None = None) -> np.ndarray:
        """Return ascending edges `(k - 1,)`, s; fewer where so many classes cannot be told apart or would do harm.

        Raises:
            BadInput: the best edges are wanted and no load is told, or one of 1 or more.
            NotApplicable: nothing is predicted.
        """
        if predictor is None or not predictor.informative:
            raise NotApplicable(
                f"policy {self.name!r} needs predictions, but the predictor predicts nothing; "
                "choose another predictor, or a blind policy such as fcfs, las or gittins-blind"
            )
        if self.rule == "optimal" and (load is None or load >= 1):
            told = "and none is told" if load is None else f"which must be below 1, not {load:g}"
            raise BadInput(f"{self.name}: the best edges follow from the load, {told}; choose edges=quantile or work")
        return _edges(size, predictor, load if self.rule == "optimal" else None, self.k, self.rule, self.preemptive)


@lru_cache(maxsize=64)
def _edges(size: Any, predictor: Any, load: float | None, k: int, rule: str, preemptive: bool) -> np.ndarray:
    from llmqueue_gym.theory.classes import best_edges, even_edges
    from llmqueue_gym.theory.joint import JointLaw

    joint = JointLaw(size, predictor, *CELLS)
    if load is not None:
        return best_edges(joint, load, k, preemptive)
    return even_edges(joint, k, RULES.index(rule) - 1)


def _classes(name: str, k: int | None, edges: str | Sequence[float], preemptive: bool) -> Policy:
    traits: dict[str, Any] = {"preemptive": preemptive, "shape": "constant", "formula": name, "source": _SOURCE}
    if edges in RULES:
        count = CLASSES if k is None else k
        if not 1 <= count <= MOST:
            raise BadInput(f"{name}: k={count} classes; choose 1 to {MOST}")
        if edges == "optimal" and count > MOST_BEST:
            raise BadInput(f"{name}: k={count} classes with the best edges; choose 1 to {MOST_BEST}, or edges=quantile")
        return Policy(name, rank, prepare=Edges(name, count, str(edges), preemptive), **traits)
    numbers = _numbers(name, edges)
    if k is not None and k != len(numbers) + 1:
        raise BadInput(f"{name}: k={k} classes, but {len(numbers)} edges part {len(numbers) + 1}; leave k out")
    return Policy(name, rank, numbers, **traits)


def _numbers(name: str, edges: str | Sequence[float]) -> tuple[float, ...]:
    try:
        numbers = tuple(float(one) for one in (edges.split(";") if isinstance(edges, str) else edges))
    except ValueError:
        hint = nearest(str(edges), RULES)
        raise BadInput(f"{name}: edges={edges!r} are neither numbers, as in 0.5;1;2, nor a rule; {hint}") from None
    if not all(0 < a < b for a, b in zip(numbers, (*numbers[1:], np.inf), strict=True)):
        raise BadInput(f"{name}: edges={edges!r} must be positive and ascending, as in 0.5;1;2")
    return numbers


def classes(k: int | None = None, edges: str = "optimal") -> Policy:
    """Classes of predicted size, the smaller first, without preemption.

    Args:
        k: how many, 4 unless told otherwise.
        edges: optimal, quantile or work; or numbers of s between the classes, as in 0.5;1;2.
    """
    return _classes("classes", k, edges, preemptive=False)


def preemptive_classes(k: int | None = None, edges: str = "optimal") -> Policy:
    """The same, and a job preempts every running job of a higher class.

    Args:
        k: how many, 4 unless told otherwise.
        edges: optimal, quantile or work; or numbers of s between the classes, as in 0.5;1;2.
    """
    return _classes("preemptive-classes", k, edges, preemptive=True)

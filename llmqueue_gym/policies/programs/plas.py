"""Autellix: calls of programs that have been served least go first, in levels, and by arrival within a level.

PLAS counts all service that the calls of a program have had which ended before this call came; ATLAS, for programs of
which several calls run at a time, that of the path on which it is most. Levels double: a program is in level 0 until it
has been served for a quantum, in level 1 until twice that, and so on. A call that has waited `patience` times as long
as its program has been served goes to level 0, so that nobody starves.

"-like": Autellix also demotes a call while it runs, and moves calls between engines; here a call keeps the level with
which it came, and is not preempted for one of a lower level.

Source: Luo et al., "Autellix: An Efficient Serving Engine for LLM Agents as General Programs", arXiv 2502.13965.
"""

import math

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.serving.base import ServingPolicy

_APART = 1e9  # s, more than any arrival: levels come before times
_SOURCE = "Luo et al., Autellix, arXiv 2502.13965"


def level(attained, waited, quantum, patience):
    """Return the level of a call whose program was served so long, s, and that has waited so long, s."""
    if waited > patience * max(attained, quantum):
        return 0.0
    return math.floor(math.log2(attained / quantum)) + 1.0 if attained >= quantum else 0.0


def rank(request, system, params):
    waited = max(system.clock - request.arrival, 0.0)
    return _APART * level(request.attained, waited, params[0], params[1]) + request.arrival


def rank_by_path(request, system, params):
    waited = max(system.clock - request.arrival, 0.0)
    return _APART * level(request.longest_path, waited, params[0], params[1]) + request.arrival


def plas_like(quantum: float = 1.0, patience: float = 20.0) -> ServingPolicy:
    """Least attained service of the program.

    Args:
        quantum: s of service that level 0 takes.
        patience: times as long as its program was served, a quantum at least, that a call waits at most.
    """
    return _made("plas-like", rank, quantum, patience)


def atlas_like(quantum: float = 1.0, patience: float = 20.0) -> ServingPolicy:
    """Least attained service on the longest path of the program.

    Args:
        quantum: s of service that level 0 takes.
        patience: times as long as that path was served, a quantum at least, that a call waits at most.
    """
    return _made("atlas-like", rank_by_path, quantum, patience)


def _made(name, function, quantum, patience):
    if not quantum > 0:
        raise BadInput(f"{name}: quantum={quantum:g} s must be positive")
    if not patience > 0:
        raise BadInput(f"{name}: patience={patience:g} must be positive, or inf")
    return ServingPolicy(name, function, (quantum, patience), ages=math.isfinite(patience), source=_SOURCE)

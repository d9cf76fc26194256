"""Which model a call of a program asks for: names in files, numbers in tables."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.requests import Programs


def numbered(programs: Programs, workload: Any, served: Sequence[str]) -> Programs:
    """Return programs whose calls have the numbers of their models among those that are served, from 1 on.

    Args:
        programs: with numbers among the models that the workload's file names.
        workload: where they are from; one of a law asks for none.
        served: the models of the replicas.

    Raises:
        BadInput: a call asks for a model that no replica has.
    """
    if programs.model is None:
        return programs
    trace = workload.trace
    for name in trace.models:
        if name not in served:
            raise BadInput(f"{trace.name}: calls ask for model {name!r}, which no replica has; {nearest(name, served)}")
    number = np.array([0, *(served.index(name) + 1 for name in trace.models)])
    return programs._replace(model=number[programs.model])


def may_serve(programs: Programs, model: int) -> np.ndarray | bool:
    """Tell which calls a model of that number may serve `(n,)`, or that it may serve all."""
    return True if programs.model is None else (programs.model == 0) | (programs.model == model)

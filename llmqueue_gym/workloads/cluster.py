"""What a cluster is told beside its jobs: how fast its servers are, and how long jobs wait for them."""

import numpy as np

from llmqueue_gym.distributions import size_law
from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.errors import BadInput


def speeds_of(servers: int, speeds: tuple[float, ...] | None) -> np.ndarray:
    """Return the speed of each server `(servers,)`, the fastest first; all 1 where `speeds` is None.

    Raises:
        BadInput: there are not as many as servers, or one is not from a millionth to a million.
    """
    if speeds is None:
        return np.ones(servers)
    if len(speeds) != servers:
        raise BadInput(f"{len(speeds)} speeds for {servers} servers; give one each")
    for speed in speeds:
        if not 1e-6 <= speed <= 1e6:
            raise BadInput(f"speed {speed:g} of a server must be positive, from 1e-6 to 1e6")
    return np.sort(np.array(speeds, float))[::-1].copy()


def patience_of(spec: str | Distribution | None) -> Distribution | None:
    """Return the law of patience; None where jobs wait for ever.

    Raises:
        BadInput: an unknown law, or one that is zero with positive probability.
    """
    if spec is None:
        return None
    try:
        law = size_law(spec)
    except BadInput as error:
        raise BadInput(f"patience={str(spec)!r}: {error}") from None
    if float(law.sf(0.0)) < 1:
        raise BadInput(f"patience {law} is zero with positive probability, so such a job never comes at all")
    return law

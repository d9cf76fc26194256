"""How many replicas of each kind are on from hour to hour, at the least cost that carries what is expected."""

import numpy as np

SHORT = 1e3  # times the dearest replica that all of the demand of an hour costs where it is not carried


def cheapest(
    now: np.ndarray,
    demand: np.ndarray,
    capacity: np.ndarray,
    cost: np.ndarray,
    start: np.ndarray,
    least: int,
    most: int,
) -> np.ndarray:
    """Return the integer program's replicas by hour and kind `(t, g)`.

    It minimises the sum over hours of what replicas cost and of what is paid for those that are switched on, subject to
    capacity * replicas >= demand of each kind in each hour. Where that cannot be, as little as possible is missing, in
    shares of each demand. It is solved by HiGHS.

    Args:
        now: replicas that are on `(g,)`.
        demand: tokens/s that are expected of each kind in each hour `(t, g)`.
        capacity: tokens/s of a replica of each kind `(g,)`.
        cost: of a replica for an hour `(g,)`.
        start: of switching one on `(g,)`.
        least: replicas in any hour, all kinds together; at least one of each kind is on besides.
        most: likewise.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    hours, kinds = demand.shape
    size, each = hours * kinds, np.arange(hours * kinds)
    # Variables: replicas on, of those how many were switched on, and the share of the demand that is missing.
    dearest = float((cost + start).max()) or 1.0
    price = np.concatenate([np.tile(cost, hours), np.tile(start, hours), np.full(size, SHORT * most * dearest)])
    carried, switched = np.zeros((size, 3 * size)), np.zeros((size, 3 * size))
    scale = np.maximum(demand.ravel(), 1e-9)
    carried[each, each], carried[each, 2 * size + each] = np.tile(capacity, hours) / scale, 1.0
    switched[each, each], switched[each, size + each] = 1.0, -1.0
    switched[each[kinds:], each[:-kinds]] = -1.0
    before = np.concatenate([now, np.zeros(size - kinds)])
    total = np.zeros((hours, 3 * size))
    for hour in range(hours):
        total[hour, hour * kinds : (hour + 1) * kinds] = 1.0
    found = milp(
        price,
        integrality=np.repeat([1, 0, 0], size),
        bounds=Bounds(np.repeat([1.0, 0.0, 0.0], size), np.repeat([most, np.inf, np.inf], size)),
        constraints=[
            LinearConstraint(carried, np.minimum(demand.ravel() / scale, 1.0), np.inf),
            LinearConstraint(switched, -np.inf, before),
            LinearConstraint(total, least, most),
        ],
    )
    if found.x is None:
        raise RuntimeError(f"no plan for {kinds} kinds with {least} to {most} replicas: {found.message}")
    return np.rint(found.x[:size]).astype(np.int64).reshape(hours, kinds)

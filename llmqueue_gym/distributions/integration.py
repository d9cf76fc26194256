"""Composite Gauss-Legendre rules: panels that an integrand is smooth on, and the nodes inside them."""

from functools import cache

import numpy as np

_FEW = 64  # breakpoints beyond this number help no integral


@cache
def gauss_legendre(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the `n` nodes and weights of the Gauss-Legendre rule on [0, 1]; the weights sum to one."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return (nodes + 1) / 2, weights / 2


def panel_nodes(edges: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights `(n_panels, n)` of the composite rule on panels with `edges` `(n_panels + 1,)`."""
    nodes, weights = gauss_legendre(n)
    width = np.diff(edges)[:, None]
    return edges[:-1, None] + width * nodes, width * weights


def panels(low: float, high: float, inner: np.ndarray) -> np.ndarray:
    """Return panel edges from `low` to `high`: geometric, and also split at the `inner` points.

    From zero the panels start 30 decades below `high`, so that a power that is singular at zero is resolved.
    """
    start = max(low, high * 1e-30)
    edges = np.concatenate([[low, high], np.geomspace(start, high, 200), inner])
    return np.unique(edges[(edges >= low) & (edges <= high)])


def few(points: np.ndarray) -> tuple[float, ...]:
    """Return the points `(n,)` as breakpoints, or none where they are too many to be of use."""
    return tuple(points.tolist()) if points.size <= _FEW else ()


def sums_from_above(values: np.ndarray) -> np.ndarray:
    """Return the sums of `values[i:]` for i = 0 to n, smallest terms first, so that a tail keeps its digits."""
    return np.concatenate([np.cumsum(values[::-1])[::-1], [0.0]])

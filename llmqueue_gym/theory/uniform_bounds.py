r"""How far PSPJF can be above SRPT, whatever the law: preemptive shortest predicted job first with the original size.

Predictions lie in [beta S, alpha S] and are otherwise any; only alpha / beta counts. Scully, Grosof and Mitzenmacher
prove the bound 1.5 alpha / beta. What follows is sharper where predictions are exact.

Let x(r) be the size at which the load of the jobs that come before reaches r, q(s, r) = x(s) / x(r) for s < r, and
l = -ln(1 - rho). The formulas of PSJF and SRPT become, after integration by parts,

    lambda E[T of PSJF] = l + U,   lambda E[T of SRPT] = l + U - V,
    U = 1/2 int int q / (1 - r)^2 ds dr,   V = 1/2 int int q / (1 - s)^2 ds dr,   over 0 < s < r < rho.

**Theorem.** E[T of PSJF] <= c E[T of SRPT] for every size law and load, where

    c = max over rho of [1 - (1 - rho) ln(1 - rho) / rho] / (2 - rho) = 1.16993...,   at rho = 0.76602,

and no smaller c will do. *Proof.* With equal sizes (and the tie-break of sizes that are all a little different) q = 1,
and the ratio is the bracket above, so c is needed. That it is enough says c V <= (c - 1) (l + U), which is
1/2 int int q g <= (c - 1) l for g = c / (1 - s)^2 - (c - 1) / (1 - r)^2. A law with finitely many sizes has
q = product of u_z over the steps z between s and r, where u_z in [0, 1] is a size over the next one; so the left side
is of first degree in each u_z and greatest where all are 0 or 1. There the sizes fall into blocks, alike in each and
infinitely far apart. In a block from load a to b put 1 - s = (1 - a)(1 - s'): its part of the left side is that of
equal sizes at load rho' with 1 - rho' = (1 - b) / (1 - a), as is its part of l, which the parts add up to. So the
inequality holds for it by the choice of c, and for their sum. Other laws are limits of such, and jobs of one size in
order of arrival do no worse than in any other order. QED

For predictions that are off, `worst_ratio` evaluates laws of a few sizes exactly, and a search over them gives a lower
bound of the sharp constant; alpha / beta itself is always one (heavy traffic, the small jobs last).

Source: Scully, Grosof, Mitzenmacher, "Uniform Bounds for Scheduling with Job Size Estimates", ITCS 2022; the theorem is
this module's.
"""

import numpy as np

from llmqueue_gym.errors import BadInput


def equal_sizes_ratio(load: float) -> float:
    """Return E[T] of PSJF over that of SRPT where all sizes are nearly equal.

    Args:
        load: lambda E[S], in (0, 1).

    Raises:
        BadInput: it is not.
    """
    if not 0 < load < 1:
        raise BadInput(f"load={load:g} must lie in (0, 1)")
    return float((1 - (1 - load) * np.log1p(-load) / load) / (2 - load))


def sharp_constant() -> tuple[float, float]:
    """Return the greatest E[T] of PSJF over that of SRPT of any size law and load, and the load of it."""
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(lambda load: -equal_sizes_ratio(load), bounds=(0.1, 0.99), method="bounded")
    return -float(found.fun), float(found.x)


def worst_ratio(sizes: np.ndarray, loads: np.ndarray) -> float:
    """Return E[T] of PSPJF over that of SRPT for a few sizes, each spread by next to nothing.

    Args:
        sizes: `(n,)`, s, in the order in which predictions put them.
        loads: of each `(n,)`; their sum is below 1.

    Raises:
        BadInput: sizes or loads are not positive, the loads add up to 1 or more, or they are not lists of one length.
    """
    if sizes.ndim != 1 or sizes.shape != loads.shape or not len(sizes):
        raise BadInput(f"sizes {sizes.shape} and loads {loads.shape} must be lists of one length, not empty")
    if not (np.isfinite(sizes).all() and np.all(sizes > 0) and np.all(loads > 0) and loads.sum() < 1):
        raise BadInput(f"sizes={sizes} must be positive and finite, loads={loads} positive, their sum below 1")
    time = -np.log1p(-loads.sum())
    order = np.argsort(sizes, kind="stable")
    behind, _ = _parts(sizes, loads)
    least, gained = _parts(sizes[order], loads[order])
    return float((time + behind) / (time + least - gained))


def error_ratio(sizes: np.ndarray) -> float:
    """Return the least alpha / beta with which predictions can put sizes `(n,)` in this order."""
    return float(np.max(np.maximum.accumulate(sizes) / sizes))


def _parts(sizes: np.ndarray, loads: np.ndarray) -> tuple[float, float]:
    """Return U and V for sizes in the order of service."""
    after = np.cumsum(loads)
    idle, left = 1 - after, 1 - (after - loads)  # 1 - r at the end and at the beginning of each size
    gain = 1 / idle - 1 / left
    before = np.cumsum(sizes * loads) - sizes * loads
    own = left / idle - 1 + np.log(idle / left)  # int (r - a) / (1 - r)^2 dr
    u = 0.5 * np.sum(own + before / sizes * gain)
    seen = np.cumsum(sizes * gain) - sizes * gain
    v = 0.5 * np.sum(-np.log(idle / left) - loads / left + seen / sizes * loads)
    return float(u), float(v)

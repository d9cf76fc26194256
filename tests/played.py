"""How tests play environments, and how they compare what came of it."""

import numpy as np


def legal(masks, rng):
    """Open actions, drawn at random: of one mask `(n_actions,)`, or of many `(E, n_actions)`; 0 where none is open."""
    if masks.ndim == 1:
        return int(rng.choice(np.flatnonzero(masks))) if masks.any() else 0
    return np.array([legal(mask, rng) for mask in masks])


def at_random(seed=0):
    """Whom `finish` asks: takes any open action."""
    rng = np.random.default_rng(seed)
    return lambda env: legal(env.unwrapped.action_masks(), rng)


def finish(env, choose, seed=None):
    """Play an episode by `choose(env)`; return the sum of the rewards, the steps and the last info."""
    _, info = env.reset(seed=seed)
    total, steps, over = 0.0, 0, False
    while not over:
        _, reward, terminated, truncated, info = env.step(choose(env))
        total, steps, over = total + reward, steps + 1, terminated or truncated
    return total, steps, info


def equal(a, b, where=""):
    """Assert that nested infos, observations and arrays are the same, types of arrays included."""
    if isinstance(a, dict):
        assert a.keys() == b.keys(), (where, a.keys() ^ b.keys())
        for key in a:
            equal(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, tuple) or (isinstance(a, np.ndarray) and a.dtype == object):
        for x, y in zip(a, b, strict=True):
            equal(x, y, where)
    elif a is None:
        assert b is None, where
    else:
        assert np.asarray(a).dtype == np.asarray(b).dtype, where
        np.testing.assert_array_equal(a, b, err_msg=where)

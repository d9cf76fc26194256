"""How tests play environments, and how they compare what came of it."""

from dataclasses import dataclass

import numpy as np

from llmqueue_gym.jobs import Instance
from llmqueue_gym.systems import Drawn


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


@dataclass(frozen=True, eq=False)
class Recorded:
    """A workload that always gives the same jobs."""

    drawn: Drawn

    def sample(self, n, arrival_rng, size_rng):
        return Instance(self.drawn.work.copy(), self.drawn.sizes.copy())


def together(drawn, spacing):
    """The same jobs, in batches that arrive at one time."""
    work = drawn.work.copy()
    work["arrival"] = np.floor(work["arrival"] / spacing) * spacing
    return drawn._replace(work=work)


def same_outcome(run, expected):
    """Assert that every job of a run got service when it did in another one."""
    for column in ("start", "completion"):
        np.testing.assert_allclose(run.outcome[column], expected.outcome[column], rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(run.outcome["preemptions"], expected.outcome["preemptions"])

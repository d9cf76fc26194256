"""What the tests of the single-server environments share."""

from dataclasses import dataclass

import numpy as np

from llmqueue_gym.jobs import Instance

NAMES = MG1, PREEMPTIVE = "llmqueue/MG1-v0", "llmqueue/MG1Preemptive-v0"


def play(env, agent, seed=None):
    """Return of an episode."""
    env.reset(seed=seed)
    total, over = 0.0, False
    while not over:
        _, reward, terminated, truncated, info = env.step(agent.act_env(env))
        total, over = total + reward, terminated or truncated
    assert "episode_metrics" in info
    return total


def same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key])


@dataclass(frozen=True)
class Recorded:
    """A run that is given."""

    instance: Instance

    def sample(self, n, arrival_rng, size_rng):
        return Instance(self.instance.jobs.copy(), self.instance.sizes.copy())

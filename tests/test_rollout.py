"""Rollouts: policies and agents of any make on the same jobs, and those that do not finish."""

import numpy as np
import pytest

from llmqueue_gym.envs.rollout import rollout, rollouts
from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies import policy
from llmqueue_gym.systems import Scenario


def test_a_rollout_plays_policies_and_agents_of_any_make_on_the_same_jobs():
    class Earliest:
        """Asked one by one."""

        def act(self, observation):
            assert observation["jobs"].shape == (16, 6)
            return 0

    class Predicts:
        """Asked for many at once, as Stable-Baselines3 is."""

        def predict(self, observation, state=None, deterministic=False):
            assert deterministic and observation["jobs"].ndim == 3
            return np.zeros(len(observation["jobs"]), int), state

    class Masked(Predicts):
        def predict(self, observation, deterministic=False, action_masks=None):
            assert action_masks.dtype == bool
            return action_masks.argmax(1), None

    scenario = Scenario(n_jobs=50)
    for player in ("fcfs", policy("fcfs"), lambda job, params: job.arrival, Earliest(), Predicts(), Masked()):
        runs = rollouts(player, scenario, [4, 5], **({} if player == "fcfs" else {"preemptive": False}))
        for seed, run in zip([4, 5], runs, strict=True):
            np.testing.assert_array_equal(run.jobs["predicted"], scenario.draw(seed).work["predicted"])
            np.testing.assert_allclose(run.response_times, scenario.simulate("fcfs", seed).response_times)


@pytest.mark.parametrize(
    ("act", "view", "words"),
    [
        (
            lambda _: 0,
            {"horizon": 5.0},
            r"'Agent': the episode was cut off at .* s, with .* of 50 jobs in system",
        ),
        (lambda _: 16, {}, "action 16 is not in the action space: choose 0 to 15"),
        (lambda _: 0.5, {}, "not a whole number for each of 1 runs"),
        (lambda _: 0, {"sloots": 5}, "did you mean 'slots'"),
    ],
)
def test_an_agent_that_does_not_finish_or_answer_is_named(act, view, words):
    class Agent:
        def act(self, observation):
            return act(observation)

    with pytest.raises(BadInput, match=words):
        rollout(Agent(), Scenario(n_jobs=50), 0, **view)

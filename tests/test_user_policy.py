"""A policy that a user writes as one plain function works everywhere that a registered one does."""

import json
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest

import llmqueue_gym
from llmqueue_gym.envs.baseline import RankAgent
from llmqueue_gym.evaluation import Scenario, batch_means, rollout

SOURCE = '''
def cautious(job, params):
    """Halfway between shortest predicted job and shortest predicted remaining time."""
    return job.predicted - 0.5 * job.age
'''


def cautious(job, params):
    return job.predicted - 0.5 * job.age


def test_theory_and_simulation_agree_on_it():
    size, noise = llmqueue_gym.size_law("exponential"), llmqueue_gym.predictor("exponential")
    exact = llmqueue_gym.analyse(llmqueue_gym.policy(cautious), size, noise, 0.8).mean_response_time
    low, high = batch_means(rollout(cautious, Scenario(n_jobs=300_000), 11).response_times, 0.999)[1:3]
    assert low <= exact <= high


def test_it_plays_in_the_environment_as_in_closed_loop():
    env = gym.make("llmqueue/MG1Preemptive-v0", n_jobs=300, slots=64, load=0.7)
    agent = RankAgent(cautious, env.unwrapped.config)
    env.reset(seed=3)
    over = False
    while not over:
        _, _, terminated, truncated, _ = env.step(agent.act_env(env))
        over = terminated or truncated
    closed = rollout(cautious, Scenario(load=0.7, n_jobs=300), 3)
    assert np.abs(env.unwrapped.response_times - closed.response_times).max() < 1e-9


def test_it_plays_in_the_vector_environment_as_in_closed_loop():
    envs = gym.make_vec("llmqueue/MG1Preemptive-v0", num_envs=3, n_jobs=300, slots=64, load=0.7)
    agent = RankAgent(cautious, envs.config)
    seen, _ = envs.reset(seed=3)
    found = [None] * 3
    while any(times is None for times in found):
        seen, _, terminated, _, _ = envs.step(agent.act(seen))
        for e in np.flatnonzero(terminated):
            found[e] = envs.response_times[e] if found[e] is None else found[e]
    for e in range(3):
        closed = rollout(cautious, Scenario(load=0.7, n_jobs=300), 3 + e)
        assert np.abs(found[e] - closed.response_times).max() < 1e-9


def test_it_may_close_over_numbers_and_call_numpy():
    weight = 0.25

    def curved(job, params):
        return np.sqrt(job.predicted) - weight * job.age

    assert np.isfinite(rollout(curved, Scenario(n_jobs=1_000), 0).response_times).all()


def test_the_command_line_takes_it_from_a_file(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(SOURCE)
    command = [sys.executable, "-m", "llmqueue_gym.cli", "theory", "--policy", f"{file}:cautious", "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["mean_response_time"] == pytest.approx(3.155, rel=1e-3)

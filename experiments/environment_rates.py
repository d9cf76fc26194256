"""Steps per second of environments, scalar and vector, for `speed.py`."""

import time

import gymnasium as gym
import numpy as np


def first_open(env: gym.Env, seconds: float) -> float:
    """Return steps/s of a scalar environment whose agent takes the first open action; only steps are timed."""
    env, steps, spent = env.unwrapped, 0, 0.0
    _, info = env.reset(seed=0)
    env.step(int(info["action_mask"].argmax()))
    while spent < seconds:
        _, info = env.reset()
        over = False
        while not over:
            action = int(info["action_mask"].argmax())
            start = time.perf_counter()
            _, _, terminated, truncated, info = env.step(action)
            spent += time.perf_counter() - start
            steps, over = steps + 1, terminated or truncated
    return steps / spent


def first_open_vector(envs: gym.vector.VectorEnv, seconds: float) -> float:
    """Return steps/s of a vector environment, resets included, whose agents take the first open action."""
    _, infos = envs.reset(seed=0)
    *_, infos = envs.step(infos["action_mask"].argmax(axis=1))  # the first call may load the kernel
    steps, spent = 0, 0.0
    while spent < seconds:
        actions = infos["action_mask"].argmax(axis=1)
        start = time.perf_counter()
        *_, infos = envs.step(actions)
        spent += time.perf_counter() - start
        steps += len(actions)
    envs.close()
    return steps / spent


def cartpole_like(env: gym.Env, seconds: float) -> float:
    """Return steps/s, resets included, where the agent's choice costs nothing: the oldest job, or left and right."""
    env.reset(seed=0)
    env.step(0)
    steps, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        for k in range(200):
            _, _, terminated, truncated, _ = env.step(k & 1 if env.action_space.n == 2 else 0)
            if terminated or truncated:
                env.reset()
        steps += 200
    env.close()
    return steps / elapsed


def cartpole_like_vector(envs: gym.vector.VectorEnv, seconds: float) -> float:
    """Return steps/s of a vector environment, resets included, where every agent takes action 0."""
    envs.reset(seed=0)
    actions = np.zeros(envs.num_envs, np.int64)
    for _ in range(3):
        envs.step(actions)
    steps, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        for _ in range(20):
            envs.step(actions)
        steps += 20 * envs.num_envs
    envs.close()
    return steps / elapsed

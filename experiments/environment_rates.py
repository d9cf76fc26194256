"""Steps per second of environments, scalar and vector, for `speed.py`."""

import time

import gymnasium as gym
import numpy as np
from measured import Measured

from llmqueue_gym.envs import ENVIRONMENTS

BESIDE_CARTPOLE = ("llmqueue/MG1-v0", "llmqueue/MG1Preemptive-v0")
ENVS, FEWER_ENVS = 1024, 256  # the latter for all other environments
SHORT = 10  # jobs of an episode that is mostly resets


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


def environments(measured: Measured, seconds: float = 1.0) -> None:
    """Time `step` of all environments but the large ones, those of one server beside CartPole."""
    rates = {}
    for name in (*BESIDE_CARTPOLE, "CartPole-v1"):
        slots = {"slots": 16} if name in BESIDE_CARTPOLE else {}
        in_place = {"copy": False} if slots else {}
        many = {"num_envs": ENVS, "vectorization_mode": "vector_entry_point", **slots, **in_place}
        scalar = [cartpole_like(gym.make(name, **slots), seconds) for _ in range(3)]
        vector = [cartpole_like_vector(gym.make_vec(name, **many), seconds) for _ in range(3)]
        rates[name] = (
            measured.add(f"{name}, scalar", "steps/s", scalar),
            measured.add(f"{name}, make_vec, {ENVS} runs", "steps/s", vector),
        )
    for name in BESIDE_CARTPOLE:
        measured.ratios[f"{name} / CartPole, scalar"] = rates[name][0] / rates["CartPole-v1"][0]
        measured.ratios[f"{name} / CartPole, make_vec"] = rates[name][1] / rates["CartPole-v1"][1]
    for name in ENVIRONMENTS:
        if "Azure" in name:
            continue
        if name not in BESIDE_CARTPOLE:
            measured.add(f"{name}, scalar", "steps/s", [first_open(gym.make(name), seconds) for _ in range(3)])
        vector = [first_open_vector(gym.make_vec(name, FEWER_ENVS, copy=False), seconds) for _ in range(3)]
        long = measured.add(f"{name}, make_vec, {FEWER_ENVS} runs", "steps/s", vector)
        brief = [first_open_vector(gym.make_vec(name, FEWER_ENVS, copy=False, n_jobs=SHORT), seconds) for _ in range(3)]
        short = measured.add(f"{name}, make_vec, {FEWER_ENVS} runs, episodes of {SHORT} jobs", "steps/s", brief)
        measured.ratios[f"{name}, make_vec, long episodes / episodes of {SHORT} jobs"] = long / short

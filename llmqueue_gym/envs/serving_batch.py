"""E replicas side by side: the tables that the kernel advances, and their reading for Gymnasium.

The scalar environment is a batch of one, so scalar and vector cannot differ.
"""

from typing import Any

import numpy as np

from llmqueue_gym._jit import records
from llmqueue_gym.engines.batching.cost import FORMS
from llmqueue_gym.engines.batching.stepping import step_batch
from llmqueue_gym.engines.batching.tables import AS_RULES, CONDUCT, REASONS, fresh_replica
from llmqueue_gym.engines.state import SKIP, START, STEP
from llmqueue_gym.envs.serving_config import ServingConfig
from llmqueue_gym.envs.serving_observation import FEATURES, SYSTEM, n_actions, n_slots

Report = tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]


class ServingBatch:
    """The state of E runs. No attribute is a view of another, so copies and pickles keep working.

    Attributes:
        config: the keyword arguments of the environment.
        replica: as in `step_batch`.
        steps: as in `step_batch`.
        actions: as in `step_batch`.
        observation: the buffers of the observation, each with E as its first axis.
    """

    def __init__(self, config: ServingConfig, size: int):
        window, seats, rules = int(config.window), int(config.seats), config.bound_rules
        self.config = config
        self.replica = fresh_replica(size, int(config.n_requests), 0, rules.max_seqs, rules.blocks or 0)
        self.steps = records(np.zeros(size, STEP))
        self.actions = np.full(size, SKIP, np.int64)
        self._asks = np.zeros(size, np.int64)
        self.observation: dict[str, np.ndarray] = {
            "jobs": np.zeros((size, n_slots(config.decides, window, seats), len(FEATURES)), np.float32),
            "system": np.zeros((size, len(SYSTEM)), np.float32),
            "action_mask": np.zeros((size, n_actions(config.decides, window, seats, int(config.levels))), np.int8),
        }
        conduct = np.zeros(1, CONDUCT)
        conduct["ranked"], conduct["preemption"] = config.decides == "ranking", AS_RULES
        profile = config.cost_profile
        self._rest = (
            rules.to_record(profile.kv_bytes_per_token),
            records(conduct)[0],
            FORMS.index(profile.form),
            np.ascontiguousarray(profile.numbers, np.float64),
            *(config.agent, window, seats),
        )

    def begin(self, e: int, seed: int) -> None:
        """Lay out the episode of a seed in row `e`; the next `advance` goes to its first decision."""
        given, replica = self.config.draw(seed), self.replica
        if (m := len(given.refreshed.total)) > replica.total.shape[1]:
            room = np.zeros((len(self.actions), 2 * m))
            room[:, : replica.total.shape[1]] = replica.total
            self.replica = replica = replica._replace(total=room)
        replica.give(e, given, self.config.cost(given))
        for buffer in self.observation.values():
            buffer[e] = 0
        self.actions[e] = START

    def advance(self) -> None:
        """Carry out `actions` in every run, up to its next decision."""
        step_batch(self.replica, self.steps, self._asks, self.actions, *self.observation.values(), *self._rest)

    def report(self, e: int) -> Report:
        """Return what `Env.step` returns of run `e`, in fresh arrays."""
        reward, dt, clock, in_system, illegal, terminated, truncated = self.steps.item(e)
        observation = {name: buffer[e].copy() for name, buffer in self.observation.items()}
        info = {"dt": dt, "clock": clock, "n_in_system": in_system, "action_mask": observation["action_mask"]}
        if illegal:
            info["illegal_action"] = True
        if terminated or truncated:
            info["episode_metrics"] = self.metrics(e)
        return observation, reward, terminated, truncated, info

    def response_times(self) -> np.ndarray:
        """Return completion minus arrival `(E, n)`, s; NaN for a request that has not left or does not exist."""
        return self.replica.service["completion"] - self.replica.requests["arrival"]

    def metrics(self, e: int) -> dict[str, Any]:
        """Return how the episode of run `e` ended, and times of its requests that have left, s."""
        n, state = int(self.replica.state["n"][e]), self.replica.state[e]
        service, arrival = self.replica.service[e, :n], self.replica.requests["arrival"][e, :n]
        times, first = service["completion"] - arrival, service["first_token"] - arrival
        done = np.isfinite(times)
        some = bool(done.any())
        return {
            "requests": n,
            "done": int(done.sum()),
            "ended": REASONS[int(state["reason"])],
            "mean_response_time": float(times[done].mean()) if some else float("nan"),
            "p99_response_time": _p99(times[done]) if some else float("nan"),
            "mean_ttft": float(first[done].mean()) if some else float("nan"),
            "preemptions": int(state["preemptions"]),
        }


def _p99(times: np.ndarray) -> float:
    """Return `np.percentile(times, 99)`, which is slow beside an episode."""
    return float(np.interp(0.99 * (len(times) - 1), np.arange(len(times)), np.sort(times)))

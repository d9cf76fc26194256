"""E replicas side by side."""

from typing import Any

import numpy as np

from llmqueue_gym._jit import records
from llmqueue_gym.engines.batching.cost import FORMS
from llmqueue_gym.engines.batching.stepping import step_batch
from llmqueue_gym.engines.batching.tables import AS_RULES, CONDUCT, REASONS, fresh_replica
from llmqueue_gym.envs.episodes import Episodes
from llmqueue_gym.envs.serving_config import ServingConfig


class ServingBatch(Episodes):
    """The state of E runs.

    Attributes:
        replica: as in `step_batch`.
    """

    config: ServingConfig
    config_type = ServingConfig

    def __init__(self, config: ServingConfig, size: int):
        super().__init__(config, size)
        rules, profile = config.bound_rules, config.cost_profile
        self.replica = fresh_replica(size, int(config.n_requests), 0, rules.max_seqs, rules.blocks or 0)
        self._asks = np.zeros(size, np.int64)
        conduct = np.zeros(1, CONDUCT)
        conduct["ranked"], conduct["preemption"] = config.decides == "ranking", AS_RULES
        self._rest = (
            rules.to_record(profile.kv_bytes_per_token),
            records(conduct)[0],
            FORMS.index(profile.form),
            np.ascontiguousarray(profile.numbers, np.float64),
            *(config.agent, int(config.window), int(config.seats)),
        )

    def lay_out(self, e: int, seed: int) -> None:
        """Draw the requests of a seed and write them to the tables of run `e`, whose replica is empty."""
        given, replica = self.config.draw(seed), self.replica
        if (m := len(given.refreshed.total)) > replica.total.shape[1]:
            room = np.zeros((len(self.actions), 2 * m))
            room[:, : replica.total.shape[1]] = replica.total
            self.replica = replica = replica._replace(total=room)
        replica.give(e, given, self.config.cost(given))
        for buffer in self.observation.values():
            buffer[e] = 0

    def advance(self) -> None:
        """Carry out `actions` in every run, up to its next decision."""
        step_batch(self.replica, self.steps, self._asks, self.actions, *self.observation.values(), *self._rest)

    def count(self, e: int) -> int:
        """Return the number of requests in the episode of run `e`."""
        return int(self.replica.state["n"][e])

    def response_times(self) -> np.ndarray:
        """Return completion minus arrival `(E, n)`, s; NaN for a request that has not left or does not exist."""
        return self.replica.service["completion"] - self.replica.requests["arrival"]

    def metrics(self, e: int) -> dict[str, Any]:
        """Return how the episode of run `e` ended, and times of its requests that have left, s."""
        n, state = self.count(e), self.replica.state[e]
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

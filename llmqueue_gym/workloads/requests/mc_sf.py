"""The synthetic instances on which MC-SF was compared with the optimum.

Source: Jaillet et al., "Online Scheduling for LLM Inference with KV Cache Constraints", arXiv 2502.07115 (2025):
memory M uniform on 30..50 tokens, prompts on 1..5, outputs on 1..M - prompt; either 40..60 requests at once, or
Poisson arrivals with a mean of 0.5 to 1.5 per round for 40..60 rounds. A round gives every request in progress one
token; here it lasts 1 s, and requests arrive at whole rounds from 0 on.
"""

from dataclasses import dataclass

import numpy as np

from llmqueue_gym.predictors.base import Predictor
from llmqueue_gym.predictors.lengths import LengthPredictor
from llmqueue_gym.requests import Requests, request_table
from llmqueue_gym.workloads.requests.workload import Rows, check_count, draw_requests
from llmqueue_gym.workloads.streams import stream, streams

MEMORY, PROMPT, COUNT, ROUNDS = (30, 50), (1, 5), (40, 60), (40, 60)  # least and most, both included
RATE = (0.5, 1.5)  # requests per round
EVERY = 10**6  # more requests than any instance has
SAMPLE = 100  # instances for `output_sample`


@dataclass(frozen=True)
class McSf:
    """Instances with a memory of their own; `draw` gives both, `memory` the memory that belongs to a seed.

    Attributes:
        online: requests arrive over time; otherwise all at once.
    """

    online: bool = False

    def draw(self, predictor: str | LengthPredictor | Predictor, seed: int) -> tuple[Requests, int]:
        """Return a whole instance: its requests, and its memory M, tokens."""
        return draw_requests(self, predictor, EVERY, seed), self.memory(seed)

    def memory(self, seed: int) -> int:
        """Return M of the instance that `draw_requests` draws from this seed, tokens."""
        return _uniform(MEMORY, stream(seed, "sizes"))

    def sample(self, n: int, arrival_rng: np.random.Generator, length_rng: np.random.Generator) -> Rows:
        """Return the first n requests of an instance, or all where it has no more."""
        check_count(n)
        memory = _uniform(MEMORY, length_rng)
        times = self._arrivals(arrival_rng)
        prompts = length_rng.integers(PROMPT[0], PROMPT[1] + 1, size=len(times))
        outputs = length_rng.integers(1, memory - prompts + 1)
        return request_table(times[:n], prompts[:n]), outputs[:n]

    def output_sample(self) -> np.ndarray:
        """Return the output lengths of 100 instances from fixed seeds."""
        return np.concatenate([self.sample(EVERY, *streams(seed, "arrivals", "sizes"))[1] for seed in range(SAMPLE)])

    def _arrivals(self, rng: np.random.Generator) -> np.ndarray:
        if not self.online:
            return np.zeros(_uniform(COUNT, rng))
        counts = np.zeros(0, np.int64)
        while not counts.sum():  # an instance has at least one request
            rounds, rate = _uniform(ROUNDS, rng), rng.uniform(*RATE)
            counts = rng.poisson(rate, size=rounds)
        return np.repeat(np.arange(len(counts), dtype=float), counts)


def _uniform(ends: tuple[int, int], rng: np.random.Generator) -> int:
    return int(rng.integers(ends[0], ends[1] + 1))

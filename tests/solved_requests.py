"""An instance of four requests solved by hand, to check an engine or a policy of KV-limited batching against.

Memory for M = 6 tokens, rounds of 1 s. A request that starts at k is given a token in each of the rounds k+1, ...,
k + output, holds prompt + j tokens in the j-th of them, and leaves at the end of the last. No other limit.

| request | arrival | prompt | output | fcfs        | mc-sf       | optimum     |
|---------|---------|--------|--------|-------------|-------------|-------------|
| A       | 0       | 2      | 2      | 0-2, 2      | 0-2, 2      | 0-2, 2      |
| B       | 0       | 2      | 3      | 2-5, 5      | 2-5, 5      | 4-7, 7      |
| C       | 0       | 2      | 4      | 5-9, 9      | 8-12, 12    | 7-11, 11    |
| D       | 1       | 1      | 3      | 9-12, 11    | 5-8, 7      | 1-4, 3      |
| sum of response times | | |       | 27          | 26          | 23          |

Each cell has start, end and response time, s. Why: A beside B would hold 4 + 4 tokens in round 2, so they go one after
the other. fcfs lets nothing pass B. mc-sf scans by output, B before D because it came first, and stops at B, which does
not fit at 1 (4 + 3 tokens in round 2). The optimum lets D, whose prompt is short, in beside A: 4 + 2 tokens in round 2.
From then on any two of the rest together would exceed M before the first of them leaves, so they follow one another.

An engine that keeps no keys for the token just delivered holds one token less for each request, prompt + j - 1. There
the optimum with the same M is 16: A 0-2, B 0-3, D 2-5, C 3-7.
"""

from dataclasses import dataclass

import numpy as np

from llmqueue_gym.requests import request_table
from llmqueue_gym.workloads.requests.workload import check_count

MEMORY = 6  # tokens
ARRIVALS = (0.0, 0.0, 0.0, 1.0)  # s
PROMPTS = (2, 2, 2, 1)  # tokens
OUTPUTS = (2, 3, 4, 3)  # tokens
STARTS = {"fcfs": (0, 2, 5, 9), "mc-sf": (0, 2, 8, 5), "optimum": (0, 4, 7, 1)}  # s
RESPONSE_TIMES = {"fcfs": (2.0, 5.0, 9.0, 11.0), "mc-sf": (2.0, 5.0, 12.0, 7.0), "optimum": (2.0, 7.0, 11.0, 3.0)}  # s
OPTIMUM = 23.0  # s, least sum of response times
OPTIMUM_WITHOUT_NEWEST = 16.0  # s, the same where the token just delivered takes no memory


@dataclass(frozen=True)
class RequestToy:
    """The four requests above, whatever the streams."""

    def sample(
        self, n: int, arrival_rng: np.random.Generator, length_rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the first n requests, all four where n is larger; nothing is random.

        Raises:
            BadInput: n is less than 1.
        """
        check_count(n)
        return request_table(np.array(ARRIVALS[:n]), np.array(PROMPTS[:n])), np.array(OUTPUTS[:n], np.int64)

    def output_sample(self) -> np.ndarray:
        """Return the four output lengths."""
        return np.array(OUTPUTS, np.int64)

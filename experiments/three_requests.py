"""The survey's three requests in all six orders: R1 and R2 begin with one long context, R3 is small and stands alone.

For `size_or_shared_prefix.py`. All are there at time 0, and there is one seat, so that the order is all there is. By
Smith's rule on what is done as one, R3 goes first where it takes less than half of R1 and, from the cache, R2 together;
an order by size puts it first where its prompt is shorter.
"""

from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np

from llmqueue_gym.policies.serving import ServingPolicy
from llmqueue_gym.requests import Contexts, request_table
from llmqueue_gym.systems import Scenario
from llmqueue_gym.workloads.contexts import of_blocks

NAMES, CONTEXT, OWN, OUTPUT = ("R1", "R2", "R3"), 8192, 256, 8  # tokens
CACHINGS = ("none", "vllm", "radix")
SMALL = (512, 2048, 4096, 6144, 8192)  # tokens of R3's prompt
AMPLE, TIGHT = 40_000, CONTEXT + 2 * OWN  # tokens of memory: for all, and for hardly more than R1


@dataclass(frozen=True)
class Three:
    """The three as a workload.

    Attributes:
        small: tokens of R3's prompt.
    """

    small: int

    def sample(self, n: int, arrival_rng: Any, length_rng: Any) -> tuple[np.ndarray, np.ndarray, Contexts]:
        """Return them; nothing is random."""
        prompts = np.array([CONTEXT + OWN, CONTEXT + OWN, self.small])
        shared = of_blocks([["context"], ["context"], []], prompts, CONTEXT)
        return request_table(np.zeros(3), prompts), self.output_sample(), shared

    def output_sample(self) -> np.ndarray:
        """Return the outputs `(3,)`, tokens."""
        return np.full(3, OUTPUT)


def in_order(request, system, params):
    """Rank by the place that the order gives."""
    return params[int(request.place)]


def played(small: int, caching: str, memory: int) -> dict[str, Any]:
    """Return the mean end-to-end time of every order, s, and what an order by size loses to the best."""
    rules, profile = f"vllm-v1:max_seqs=1,caching={caching}", f"a100-llama3-8b:kv_tokens={memory}"
    where = Scenario("replica", workload=Three(small), n_jobs=3, profile=profile, rules=rules, predictor="exact")
    means = {}
    for order in permutations(range(3)):
        policy = ServingPolicy("in-order", in_order, tuple(float(order.index(i)) for i in range(3)))
        means[" ".join(NAMES[i] for i in order)] = float(where.simulate(policy).response_times.mean())
    best = min(means, key=lambda order: means[order])
    by_size = "R3 R1 R2" if small < CONTEXT + OWN else "R1 R2 R3"
    told = {"small": small, "caching": caching, "memory": memory, "means": means, "best": best}
    return {**told, "size_over_best": means[by_size] / means[best]}


def three() -> list[dict[str, Any]]:
    """Return what every order gives, by R3's size, without a cache, with vLLM's and with a tree, and by memory."""
    return [played(k, caching, memory) for caching in CACHINGS for memory in (AMPLE, TIGHT) for k in SMALL]


def told_of_three(alone: list[dict[str, Any]]) -> list[str]:
    """Say which order is best, up to which size R3 goes first, and what that gains or loses."""
    words = []
    for caching in CACHINGS:
        for memory in (AMPLE, TIGHT):
            mine = [row for row in alone if (row["caching"], row["memory"]) == (caching, memory)]
            first = [row["small"] for row in mine if row["best"].startswith("R3")]
            between = mine[0]["means"]["R1 R3 R2"] / mine[0]["means"]["R1 R2 R3"]
            worst = max(mine, key=lambda row: row["size_over_best"])
            words.append(
                f"Three requests, cache {caching}, {memory:,} tokens: R3 goes first up to {max(first, default=0):,} "
                f"tokens; an order by size is at worst {worst['size_over_best'] - 1:.1%} above the best, at "
                f"{worst['small']:,}; R3 of {SMALL[0]} between gives {between:.3f} of the mean of R1 R2 R3."
            )
    return words

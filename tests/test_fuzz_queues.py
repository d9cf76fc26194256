"""A short run of the fuzzer of queues, which finds what nobody thought of; and what it found once."""

import fuzz_queues
import numpy as np
import pytest

from llmqueue_gym import _jit

RUNS = 16 if _jit.DISABLED else 480


@pytest.mark.parametrize("kind", range(len(fuzz_queues.KINDS)), ids=lambda k: fuzz_queues.KINDS[k].__name__)
def test_no_promise_is_broken(kind):
    for number in range(kind, RUNS, len(fuzz_queues.KINDS)):
        fuzz_queues.play(number, seed=0)


@pytest.mark.parametrize(
    "seed",
    [
        (1, 5614),  # an arrival at the very age of a jump downward
        (1, 3850),  # a job that waits with the rank of before its jump
        (2, 35),  # a completion and an arrival at one time, but for rounding
    ],
)
def test_what_it_found(seed):
    fuzz_queues.play_stepwise(np.random.default_rng(seed))

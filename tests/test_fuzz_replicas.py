"""Random replicas keep their promises: a short run of the fuzzer, and that it would see what it is there to see."""

from functools import cache

import fuzz_replicas as fuzz
import numpy as np
import pytest
from random_replicas import Case, draw_given

from llmqueue_gym import _jit
from llmqueue_gym.engines.batching.rules import Rules
from llmqueue_gym.policies.serving import serving_policy
from llmqueue_gym.profiles import profile

RUNS, PARTS = 100, 4


@pytest.fixture(scope="module", autouse=True)
def _compiled():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_jit, "pointer", cache(_jit.pointer))  # the wild functions read no globals
        fuzz.compile_loops()
        yield


@pytest.mark.parametrize("part", range(PARTS))
def test_random_replicas_keep_their_promises(part):
    for number in range(part * RUNS // PARTS, (part + 1) * RUNS // PARTS):
        fuzz.play(number, 0)


@pytest.mark.parametrize(
    ("column", "spoil", "words"),
    [
        ("completion", np.nan, "somebody is not done"),
        ("completion", 0.0, "not that of the times"),
        ("first_token", -1.0, "a token before the start"),
    ],
)
def test_a_spoilt_outcome_is_found_out(monkeypatch, column, spoil, words):
    rules = Rules(blocks=40)
    case = Case(draw_given(np.random.default_rng(1), rules), serving_policy("fcfs"), profile("unit"), rules)
    played = fuzz.serve

    def spoilt(*told):
        run = played(*told)
        run.outcome[column][0] = spoil
        return run

    assert fuzz.check(case) == "drained"
    monkeypatch.setattr(fuzz, "serve", spoilt)
    with pytest.raises(AssertionError, match=words):
        fuzz.check(case)

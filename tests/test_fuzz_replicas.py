"""Random replicas keep their promises: a short run of the fuzzer, and that it would see what it is there to see."""

import fuzz_replicas as fuzz
import numpy as np
import pytest

RUNS, PARTS = 120, 6


@pytest.mark.parametrize("part", range(PARTS))
def test_random_replicas_keep_their_promises(part):
    for number in range(part * RUNS // PARTS, (part + 1) * RUNS // PARTS):
        fuzz.play(number, 0, fuzz.KINDS)


@pytest.mark.parametrize(
    ("column", "spoil", "words"),
    [
        ("completion", np.nan, "somebody is not done"),
        ("completion", 0.0, "not that of the times"),
        ("first_token", -1.0, "a token before the start"),
    ],
)
def test_a_spoilt_outcome_is_found_out(monkeypatch, column, spoil, words):
    rules = fuzz.Rules(blocks=40)
    case = fuzz.Case(
        fuzz.draw_given(np.random.default_rng(1), rules), fuzz.SERVING_POLICIES("fcfs"), fuzz.profile("unit"), rules
    )
    played = fuzz.serve

    def spoilt(*told):
        run = played(*told)
        run.outcome[column][0] = spoil
        return run

    assert fuzz.check(case) == "drained"
    monkeypatch.setattr(fuzz, "serve", spoilt)
    with pytest.raises(AssertionError, match=words):
        fuzz.check(case)

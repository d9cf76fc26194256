"""The study of learned routers and orders: its rules on numbers made up for them, and the stored numbers again."""

import json

import learned_routers_and_orders as study
import numpy as np
import pytest

from llmqueue_gym import _jit
from llmqueue_gym.policies.learned import stored

STORED = study.OUT.with_suffix(".json")


def windows(mean, p99, spread=0.001):
    """Numbers of a policy by window, alike up to a little."""
    off = 1 + spread * np.linspace(-1, 1, study.WINDOWS)
    return {"mean": (mean * off).tolist(), "p99": (p99 * off[::-1]).tolist(), "undone": 0.0}


@pytest.mark.parametrize(
    ("mean", "p99", "best", "word"),
    [
        (0.9, 1.0, "plain", "win"),
        (1.1, 1.0, "plain", "loss"),
        (1.0, 1.0, "plain", "tie"),
        (0.9, 1.5, "plain", "tie"),  # the rival's tail is shorter by far
        (0.7, 2.0, "greedy", "win"),  # only a longer tail of one's own lets in who is greedy
        (0.9, 2.0, "greedy", "loss"),
    ],
)
def test_the_rival_has_no_longer_tail_and_a_win_needs_a_lead_and_a_tail(mean, p99, best, word):
    played = {"plain": windows(1.0, 1.0), "greedy": windows(0.8, 2.0), "mine": windows(mean, p99)}
    assert study.best_rival("mine", played, ["plain", "greedy"]) == best
    found = study.verdict("mine", played, best)
    assert found["verdict"] == word
    assert found["lead"]["low"] <= found["lead"]["mean"] <= found["lead"]["high"]


@pytest.mark.parametrize("system", list(study.KIND))
def test_everybody_by_hand_plays_and_nobody_who_is_told_the_truth(system):
    found = study.players(system)
    groups = [group for group, _ in found.values()]
    assert {"by hand", "knobs turned"} <= set(groups) and groups.count("by hand") > 10
    assert {name for name, (group, _) in found.items() if group == "learned"} == set(stored(study.KIND[system]))
    assert not {"srpt", "learned-llm"} & set(found)


def test_no_recording_is_played_that_was_trained_on():
    trained = {"azure2023_conv.csv.gz", "mooncake_conversation.csv.gz"}
    for place in study.PLACES:
        assert place.file not in trained or place.part[0] >= 0.5
    assert {place.file for place in study.TRAINED_ON} == trained
    assert all(place.part == (0.0, 0.5) for place in study.TRAINED_ON)


@pytest.mark.skipif(_jit.DISABLED, reason="too slow uncompiled")
def test_the_artefacts_give_the_stored_numbers_and_every_verdict_follows_from_its_windows():
    found = json.loads(STORED.read_text(encoding="utf-8"))
    systems = {name: system for system, kind in study.KIND.items() for name in stored(kind)}
    assert set(found["instance"]) == set(systems)
    for name, value in found["instance"].items():
        assert study.instance(name, systems[name]) == pytest.approx(value, rel=1e-9)
    for place in found["places"]:
        played = {row["policy"]: row for row in place["policies"]}
        hand = [name for name, row in played.items() if row["group"] == "by hand"]
        for told in place["verdicts"]:
            assert told["by hand"]["best"] == study.best_rival(told["policy"], played, hand)
            for group in set(study.RIVALS) & set(told):
                again = study.verdict(told["policy"], played, told[group]["best"])
                assert again["verdict"] == told[group]["verdict"]
                assert again["lead"]["mean"] == pytest.approx(told[group]["lead"]["mean"], abs=1e-4)

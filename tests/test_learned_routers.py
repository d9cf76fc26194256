"""The study of learned routers and orders: its rules on numbers made up for them, and the stored numbers again."""

import importlib.util
import json
from pathlib import Path

import learned_routers_and_orders as study
import numpy as np
import pytest

from llmqueue_gym import _jit
from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.learned import read_card, stored, zoo_folder

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


def evolution():
    """Return the script that trained them, as a module."""
    for name in ("cma", "torch", "tensorboard", "tyro"):
        pytest.importorskip(name, reason="training needs the extra `train`")
    path = Path(__file__).parents[1] / "agents" / "evolve_rank.py"
    spec = importlib.util.spec_from_file_location("evolve_rank", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("task", "mean", "p99", "cost"),
    [
        ("prefix-order", 0.9, 1.0, 0.9),
        ("prefix-order", 1.0, 0.81, 0.9),  # a shorter tail counts, too
        ("prefix-order", 1.0, 1.21, 1.1),
        ("llm", 0.9, 1.39, 0.9),
        ("llm", 1.0, 1.4 * 1.1, 1.1**5),
    ],
)
def test_a_candidate_counts_over_its_base_by_mean_and_tail(task, mean, p99, cost, monkeypatch):
    evolve = evolution()
    found = {"candidate": {"cost": 2 * mean, "p99": 7 * p99}}
    monkeypatch.setattr(evolve, "played", lambda place, policy, seed: found.get(policy, {"cost": 2.0, "p99": 7.0}))
    assert evolve.TASKS[task].cost(study.Scenario("replica", rate=1.0), "candidate", 0) == pytest.approx(cost)


def test_training_plays_the_first_half_of_a_recording_at_the_load_of_that_half(tmp_path, monkeypatch):
    evolve = evolution()
    monkeypatch.setenv("LLMQUEUE_DATA", str(tmp_path))
    rows = [f"{0.5 * k},{100 + k},{5 + k % 7}" for k in range(80)]
    (tmp_path / "small.csv").write_text("\n".join(["arrival_s,prompt_tokens,output_tokens", *rows]))
    monkeypatch.setattr(study.SYSTEMS.builder("fleet"), "sustains", lambda system, scenario: Sustained)
    made = evolve.place({"system": "fleet", "replicas": 2, "load": 0.9, "recording": "small.csv"}, jobs=20)
    assert made.workload.prompts.tolist() == list(range(100, 140)) and made.n_jobs == 20
    assert made.rate == pytest.approx(0.9 * Sustained.rate) and made.load is None
    monkeypatch.setenv("LLMQUEUE_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(BadInput, match="no such folder"):
        evolve.place({"system": "fleet", "load": 0.9, "recording": "small.csv"}, jobs=20)


class Sustained:
    """What a fleet is said to sustain."""

    rate = 10.0


def test_the_cards_name_the_tasks_and_halves_they_were_trained_on():
    evolve = evolution()
    cards = [read_card(zoo_folder() / kind / name) for kind in study.KIND.values() for name in stored(kind)]
    assert {card["name"] for card in cards} == {place.learned for place in study.PLACES}
    for card in cards:
        task = evolve.TASKS[card["trained_on"]["task"]]
        trained = next(place for place in study.TRAINED_ON if place.learned == card["name"])
        assert task.kind == card["kind"] and [one["recording"] for one in task.scenarios] == [trained.file]


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

"""Boards are data: what is read and refused, who may play, how scores, winners and sentences follow from numbers."""

import numpy as np
import pytest

from llmqueue_gym.boards import board, boards, load_boards, registered
from llmqueue_gym.boards.play import BOUND, bound, numbers
from llmqueue_gym.boards.standings import lead, ranking, scores, winners
from llmqueue_gym.boards.words import headline, markdown, sentences
from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.learned.artefact import TRAINING_SEEDS

MINE = """
[boards.mine]
title = "Mine"
system = "mg1"
seeds = 3

[boards.mine.scenarios]
a = {load = 0.5, n_jobs = 200}
"""


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "mine.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def small(small_boards):
    return load_boards(small_boards)


# What is read.


@pytest.mark.parametrize("on", boards().values(), ids=lambda on: on.name)
def test_every_board_of_the_library_can_be_played(on):
    names = [entry.name for entry in registered(on)]
    assert on.base in names and len(names) == len(set(names)) and set(on.beside) <= set(names)
    assert set(on.leave_out) <= set(on.kind.policies)  # a name that is none leaves nobody out
    assert len(on.fields) >= 3 and max(on.seeds) < TRAINING_SEEDS
    if on.stored:  # recorded work has to be read, and its capacity found
        view = on.kind.view(**on.view)
        for scenario in on.scenarios.values():
            view.check(scenario)


def test_a_board_of_a_file(written):
    (on,) = load_boards(written(MINE)).values()
    assert (on.name, on.track, on.base, on.seeds, on.cost) == (
        "mine",
        "mine",
        "fcfs",
        (0, 1, 2),
        "mean response time, s",
    )
    assert on.scenarios["a"].load == 0.5 and on.scenarios["a"].n_jobs == 200


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('title = "Mine"', "", "has no title"),
        ('title = "Mine"', 'titel = "Mine"', "no key 'titel'; did you mean 'title'"),
        ('system = "mg1"', 'system = "mg2"', "unknown system 'mg2'; did you mean 'mg1'"),
        ("seeds = 3", "seeds = 1", "seeds=1 must be how many there are, 2 or more"),
        ("seeds = 3", 'seeds = "3"', "seeds='3' must be"),
        ("load = 0.5", "laod = 0.5", "board 'mine', scenario 'a': .* no field 'laod'; did you mean 'load'"),
        ("load = 0.5", "load = -1", "board 'mine', scenario 'a': load=-1 must be positive"),
        ("load = 0.5", 'recording = "hour"', "unknown recording 'hour'"),
        ("[boards.mine]", "[board.mine]", "no key 'board'; did you mean 'boards'"),
        ("seeds = 3", "seeds = ", "not a TOML file"),
        ("[boards.mine]", '[boards."../mine"]', "name letters, digits"),
        ('title = "Mine"', "title = 5", "title=5 must be a text"),
        ('system = "mg1"', 'system = ["mg1"]', "must be a text"),
        ("seeds = 3", 'seeds = 3\nnumbers = "many"', "numbers='many' must be a whole number"),
        ("seeds = 3", "seeds = 3\nview = 5", "view=5 must be a table"),
        ("seeds = 3", 'seeds = 3\nleave_out = "fcfs"', "leave_out='fcfs' must be a list"),
        ("seeds = 3", 'seeds = 3\nstored = "no"', "stored='no' must be true or false"),
        ("a = {load = 0.5, n_jobs = 200}", "a = 5", "scenario 'a' must be a table"),
        ("n_jobs = 200", 'n_jobs = "200"', "scenario 'a' must be a table, and its n_jobs a whole number"),
    ],
)
def test_a_bad_board_is_told_in_a_line(old, new, told, written):
    with pytest.raises(BadInput, match=told) as error:
        (on,) = load_boards(written(MINE.replace(old, new))).values()
        _ = on.scenarios
    assert "\n" not in str(error.value)


def test_unknown_boards_are_refused(tmp_path):
    with pytest.raises(BadInput, match="did you mean 'central'"):
        board("centrl")
    with pytest.raises(BadInput, match="no such file"):
        load_boards(tmp_path / "none.toml")
    with pytest.raises(BadInput, match="unknown track 'lm'; did you mean 'llm'"):
        boards("lm")


def test_a_shorter_board_has_the_same_jobs_per_scenario():
    on = board("mg1").sized(2, 8000)
    assert on.seeds == (0, 1) and [scenario.n_jobs for scenario in on.scenarios.values()][:2] == [4000, 8000]
    assert board("mg1").sized(2).fields == board("mg1").fields


def test_traits_say_who_may_play(small):
    names = {entry.name for entry in registered(small["dispatch"])}
    assert "power-of-d" in names and "round-robin" in names and "join-shortest-queue" not in names
    assert not any(entry.player.preemptive for entry in registered(small["impatient"]))


@pytest.mark.parametrize("name", ["mg1", "central", "dispatch", "impatient", "packing", "llm"])
def test_nobody_undercuts_the_bound(name, small):
    on = small[name]
    for scenario in on.scenarios.values():
        least = np.array(bound(scenario, on.seeds))
        for entry in registered(on):
            played = numbers(scenario, entry, on.seeds, on.view)
            assert (np.array(played["cost"]) >= least * (1 - 1e-9)).all(), entry.name
            assert not any(np.isnan(values).any() for values in played.values()), entry.name


# What follows from numbers.


def results(on, told="prediction", p99=3.0, **costs):
    """Return results with the same costs by seed in every scenario."""
    rows = {}
    for name, cost in costs.items():
        scenarios = {scenario: {"cost": cost, "p99": [p99] * len(on.seeds)} for scenario in on.fields}
        row = {"policy": name, "told": told, "learned": name == "net", "description": "", "command": ""}
        rows[name] = {**row, "scenarios": scenarios}
    return rows


def test_scores_lie_between_the_base_and_what_cannot_be_beaten():
    base, best = np.array([10.0, 10.0, 10.0, 5.0, 5.0]), np.array([2.0, 2.0, 2.0, 5.0, 5.0])
    cost = np.array([2.0, 6.0, np.inf, 5.0, 6.0])  # where base and bound meet there is nothing to gain, only to lose
    assert scores(base, cost, best) == pytest.approx([1.0, 0.5, -1.0, 0.0, -1.0])


def test_the_ranking_is_a_function_of_the_results_alone(small):
    on = small["mg1"]
    found = results(on, fcfs=[4.0, 4.4, 4.8], sprpt=[2.5, 2.7, 3.0], _bound=[1.0, 1.1, 1.2])
    found |= results(on, told="truth", srpt=[1.0, 1.1, 1.2])
    rows = ranking(on, found)
    assert [row["policy"] for row in rows] == ["sprpt", "fcfs", "srpt"]  # who is told the truth stands apart
    by_name = {row["policy"]: row for row in rows}
    assert by_name["fcfs"]["score"]["mean"] == 0 and by_name["srpt"]["score"]["mean"] == pytest.approx(1)
    assert by_name["sprpt"]["better"] == 0.5 and by_name["fcfs"]["better"] == 0  # the best by hand ties with itself
    again = ranking(on, dict(reversed(found.items())))
    assert markdown(on, again) == markdown(on, rows)


def test_a_ranking_needs_base_and_bound_of_the_same_scenarios(small):
    on = small["mg1"]
    found = results(on, fcfs=[4.0, 4.4, 4.8], sprpt=[2.5, 2.7, 3.0], _bound=[1.0, 1.1, 1.2])
    for missing in ("fcfs", BOUND):
        with pytest.raises(BadInput, match=f"no result of '{missing}'"):
            ranking(on, {name: row for name, row in found.items() if name != missing})
    del found["sprpt"]["scenarios"]["b"]
    with pytest.raises(BadInput, match="'sprpt' is not of the scenarios of board 'mg1'"):
        ranking(on, found)


@pytest.mark.parametrize(
    ("net", "sprpt", "starts"),
    [
        (
            [2.0, 2.2, 2.4],
            [2.5, 2.75, 3.0],
            "net leads: its mean response time is 20.0 % less than that of sprpt, the best",
        ),
        (
            [2.5, 2.75, 3.0],
            [2.0, 2.2, 2.4],
            "sprpt leads: its mean response time is 20.0 % less than that of net, the next",
        ),
        ([2.0, 2.2, 2.4], [2.1, 2.1, 2.45], "net and sprpt, the best made by hand, are tied"),
    ],
)
def test_the_headline_tells_leads_and_ties(net, sprpt, starts, small):
    on = small["mg1"]
    found = results(on, fcfs=[4.0, 4.4, 4.8], sprpt=sprpt, net=net, _bound=[1.0, 1.1, 1.2])
    said = headline(on, ranking(on, found), found)
    assert said.startswith(starts) and "95 % interval" in said


def test_a_lead_is_of_the_same_jobs(small):
    found = results(small["mg1"], a=[2.0, 20.0, 4.0], b=[2.5, 25.0, 5.0])
    by = lead(small["mg1"], found, "a", "b")
    assert by.mean == pytest.approx(0.2, abs=1e-9) and by.low == pytest.approx(by.high)


def test_winners_are_clear_only_beyond_the_interval(small):
    on = small["mg1"]
    found = results(
        on, fcfs=[4.0, 4.4, 4.8], a=[2.0, 2.2, 2.4], twin=[2.0, 2.2, 2.4], b=[2.1, 2.1, 2.5], _bound=[1, 1, 1]
    )
    found |= results(on, told="truth", srpt=[1.0, 1.0, 1.0])
    for won in winners(on, found):
        assert (won["policy"], won["same"], won["second"], won["ties"]) == ("a", ["twin"], "b", ["b"])
        assert won["cost_over_base"] == pytest.approx(0.5) and won["lead"]["low"] < 0 < won["lead"]["high"]
    del found["b"]
    assert not any(won["ties"] for won in winners(on, found))


def test_sentences_say_who_wins_and_what_predictions_and_training_are_worth(small):
    on = small["mg1"]
    found = results(on, fcfs=[4.0, 4.4, 4.8], sprpt=[2.5, 2.7, 3.0], _bound=[1.0, 1.1, 1.2])
    found |= results(on, p99=6.0, net=[2.0, 2.2, 2.4]) | results(on, told="nothing", las=[3.0, 3.3, 3.6])
    rows = ranking(on, found)
    wins, worth, tail, trained = sentences(on, rows, winners(on, found))
    assert wins.startswith("net has the least mean response time in 2 of 2 scenarios; it leads the next by 19.")
    assert (
        worth
        == "By score net gains 67% of what there is to gain over fcfs; without predictions las is the best, with 33%."
    )
    assert "net has a mean 50.0 % below that of fcfs and a p99 2.0 times as high; in 2 of 2 scenarios" in tail
    assert trained.startswith("The best trained policy, net, is number 1 of 4")

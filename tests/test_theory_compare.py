"""`llmqueue theory --compare`: all policies that theory knows, in one table and one picture."""

import pytest

from llmqueue_gym import Scenario
from llmqueue_gym.evaluation.exact import exact
from llmqueue_gym.policies import POLICIES


def test_the_table_holds_what_is_known_of_each_policy(run_json):
    found = run_json("theory --compare --policies sprpt,edf,fcfs,srpt,spjf --load 0.7")
    rows = {row["policy"]: row for row in found["policies"]}
    assert list(rows) == ["srpt", "sprpt", "spjf", "fcfs"]
    assert found["unknown"] == ["edf"]
    for name, row in rows.items():
        alone = run_json(f"theory --policy {name} --load 0.7")["mean_response_time"]
        assert row["mean_response_time"] == pytest.approx(alone, rel=1e-12)
    # Clairvoyance wins nothing: the ratio is to the best of those that are not told the truth.
    assert found["best"] == "sprpt"
    assert rows["srpt"]["over_best"] < 1 == rows["sprpt"]["over_best"] < rows["fcfs"]["over_best"]


def test_all_policies_are_asked_unless_some_are_named():
    scenario = Scenario("mg1", size="deterministic", predictor="exact", load=0.5)
    found = exact(scenario, {name: POLICIES(name) for name in POLICIES if not name.startswith(("learned", "gittins"))})
    told = [*found["unknown"], *(row["policy"] for row in found["policies"])]
    assert sorted(told) == sorted(n for n in POLICIES if not n.startswith(("learned", "gittins")))


def test_bounds_are_told_as_bounds_and_where_all_is_unknown_nothing_is_best(run_json):
    rows = {row["policy"]: row for row in run_json("theory central --compare --servers 3")["policies"]}
    assert rows["srpt"]["kind"] == "bounds"
    assert rows["srpt"]["low"] < rows["srpt"]["high"]
    assert "mean_response_time" not in rows["srpt"]
    assert run_json("theory --compare --policies edf")["best"] is None


def test_a_picture_is_drawn(run, tmp_path):
    status, out, _ = run("theory", "--compare", "--policies", "fcfs,sprpt", "--plot", str(tmp_path / "all.svg"))
    assert status == 0
    assert "over sprpt" in out
    assert "SPRPT".lower() in (tmp_path / "all.svg").read_text()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("theory --load 0.8", "--policy is missing"),
        ("theory --compare --policy sprpt", "no place beside --compare"),
        ("theory --policy sprpt --plot a.png", "--plot a.png goes with --compare"),
        ("theory --compare --method soap", "--method soap has no place"),
        ("theory --compare --policies sprtp", "did you mean"),
        ("theory --compare --plot a.txt --policies fcfs", "end the name"),
        ("theory --compare --dispatch power-of-d --servers 10", "llmqueue theory dispatch --compare"),
    ],
)
def test_slips_get_a_line(run, line, words):
    status, _, told = run(*line.split())
    assert status == 2
    assert words in told
    assert len(told.strip().splitlines()) == 1

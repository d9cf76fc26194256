"""The study of models to choose from: findings follow from what is stored, and crossings by hand."""

import importlib
from pathlib import Path

import pytest

from llmqueue_gym.evaluation.results import plain, read_json

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(EXPERIMENTS)
    return importlib.import_module("which_model_for_a_call")


def test_stored_findings_follow_from_stored_numbers_of_a_clean_tree(study):
    stored = read_json(study.OUT.with_suffix(".json"))
    assert plain(study.findings(stored["cells"])) == stored["finding"]
    assert not stored["provenance"]["commit"].endswith("-dirty")
    assert study.OUT.with_suffix(".png").is_file() and study.OUT.with_suffix(".svg").is_file()


def test_a_crossing_is_where_values_stay_below(study):
    assert study.crossing([0, 1, 2], [3.0, 1.0, 0.5], 2.0) == 0.5
    assert study.crossing([0, 1, 2, 3], [1.0, 3.0, 1.0, 0.0], 2.0) == 1.5
    assert study.crossing([0, 1], [1.0, 0.0], 2.0) == 0 and study.crossing([0, 1], [3.0, 2.5], 2.0) is None


def test_each_family_leads_from_one_end_to_the_other(study):
    """At no load its dearest rule is right more often, and later, than its cheapest."""
    cell = study.front(0.02, 300, 2)
    for family in study.FAMILIES:
        rows = sorted((row for row in cell["points"] if row["family"] == family), key=lambda row: row["time"])
        assert rows[-1]["accuracy"] > rows[0]["accuracy"], family
    assert {row["family"] for row in cell["areas"]} == set(study.FAMILIES)
    assert all(0 < row["area"] < 1 and row["behind_best"] >= 0 for row in cell["areas"])

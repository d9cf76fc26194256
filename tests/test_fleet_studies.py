"""The studies of shared prompts, of fleets and of programs: findings follow from what is stored, rules hold by hand."""

import importlib
from pathlib import Path

import numpy as np
import pytest

from llmqueue_gym.evaluation.results import plain, read_json
from llmqueue_gym.workloads.contexts import of_blocks

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
STORED = {
    "size_or_shared_prefix": ("three", "rows"),
    "when_is_affinity_worth_its_imbalance": ("rows",),
    "one_large_or_several_small": ("cells",),
    "pooled_or_dedicated": ("cells",),
    "claims_of_fleets": ("claims", "counts"),
    "claims_of_programs": ("claims",),
    "from_which_gap_on_is_a_context_better_dropped": ("rows", "crossings"),
    "how_early_may_a_program_that_reasons_stop": ("cells", "volumes"),
    "what_does_a_wrong_depth_cost": ("cells",),
    "what_do_branches_gain_by_sharing": ("cells",),
    "whose_call_goes_first": ("rows",),
}


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(EXPERIMENTS)
    return importlib.import_module


@pytest.mark.parametrize("name", STORED)
def test_stored_findings_follow_from_stored_numbers_of_a_clean_tree(study, name):
    module = study(name)
    stored = read_json(module.OUT.with_suffix(".json"))
    assert plain(module.findings(*(stored[part] for part in STORED[name]))) == stored["finding"]
    assert not stored["provenance"]["commit"].endswith("-dirty")
    assert module.OUT.with_suffix(".png").is_file() and module.OUT.with_suffix(".svg").is_file()


@pytest.mark.parametrize("guess", [0.5, 3.0, 40.0])
def test_the_largest_rate_is_found_from_below_and_above(study, guess):
    found = study("goodput").largest_rate(lambda rate: rate <= 7.0, guess)
    assert 7.0 / 1.02 <= found <= 7.0
    assert study("goodput").largest_rate(lambda rate: False, guess) == 0.0


def test_designs_keep_to_a_budget_and_one_machine_more_would_not(study):
    designs = study("splitwise_designs")
    pooled = designs.Machines("bloom-176b", ("h100", 8))
    assert pooled.price == pytest.approx(8 * 8 * 3.99) and pooled.kilowatts == pytest.approx(81.6)
    for design, (reader, writer) in designs.DESIGNS.items():
        told = list(designs.splits("bloom-176b", design, 0.8 * pooled.price, pooled.kilowatts))
        assert [made.readers for made in told] == [(reader, k + 1) for k in range(len(told))]
        for made in told:
            more = designs.Machines("bloom-176b", made.readers, (writer, made.writers[1] + 1))
            assert made.price <= 0.8 * pooled.price < more.price or more.kilowatts > pooled.kilowatts


def test_what_is_shared_counts_the_first_who_has_it_too(study, monkeypatch):
    claims = study("claims_of_fleets")
    contexts = of_blocks([["a", "b"], ["a"], ["c"]], np.array([32, 16, 16]), 16)
    monkeypatch.setattr(claims, "load_trace", lambda file: type("Trace", (), {"contexts": contexts}))
    told = claims.counted("three", Path("three.csv"))
    assert told["shared"] == 32 / 64 and told["repeats"] == 16 / 64 and told["verdict"] == "smaller"


def test_a_verdict_of_sides_needs_a_whole_interval(study):
    side = study("when_is_affinity_worth_its_imbalance").side
    assert [side({"low": low, "high": high}) for low, high in ((0.5, 0.9), (0.9, 1.1), (1.1, 1.2))] == [-1, 0, 1]


def test_a_front_dominates_what_lies_below_and_behind_it(study):
    area = study("reasoning_programs").hypervolume
    assert area([(2.0, 0.5)], 4.0) == 0.25 and area([(4.0, 0.9)], 4.0) == 0.0 == area([], 4.0)
    assert area([(1.0, 0.4), (2.0, 0.8), (3.0, 0.6)], 4.0) == pytest.approx(
        (0.4 * 1 + 0.8 * 2) / 4
    )  # the third adds nothing


def test_a_ratio_crosses_one_between_two_gaps(study):
    crossing = study("from_which_gap_on_is_a_context_better_dropped").crossing
    gaps = np.array([1.0, 2.0, 4.0, 8.0])
    assert crossing(gaps, np.array([0.5, 0.5, 2.0, 9.0])) == pytest.approx(2.0 * 2**0.5)
    assert np.isnan(crossing(gaps, np.array([0.5, 0.5, 0.9, 0.8]))) and np.isnan(crossing(gaps, np.full(4, 2.0)))

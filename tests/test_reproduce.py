"""The verdict rule, and what it says of the survey's printed numbers."""

import json

import numpy as np
import pytest

from llmqueue_gym import analyse, policy, predictor, size_law
from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.reproduce import NOISE, RIGHT, WRONG, compare, print_error, reproduce, table, verdict
from llmqueue_gym.evaluation.results import plain
from llmqueue_gym.evaluation.survey_tables import LEVELS, PRINT_JOBS, TABLES, sprpt_exponential
from llmqueue_gym.theory.closed_forms import one_bit_exponential

KNOWN_WRONG = {
    *(("table1", "SPRPT", load) for load in (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)),
    *(("table1", "PSPJF", load) for load in (0.98, 0.99)),
    ("table3", "FIFO", 0.9),
    ("table3", "threshold, preempt", 0.98),
    *(("table3", "prediction, preempt", load) for load in (0.95, 0.98)),
}


@pytest.fixture(scope="module")
def cells():
    """Every printed number beside its exact value, nothing simulated."""
    return [cell for name in TABLES for load in TABLES[name].loads for cell in compare(name, load)]


@pytest.mark.parametrize(
    ("printed", "exact", "rounding", "error", "expected"),
    [
        (2.0, 2.0, 0.0, None, RIGHT),
        (2.0005, 2.0, 0.0, None, RIGHT),  # .025 % off
        (2.001, 2.0, 0.0, None, WRONG),
        (2.001, 2.0, 0.0005, None, RIGHT),  # most of it is rounding
        (1.999, 2.0, 0.0, None, WRONG),
        (2.0 + 2.0 * 0.0195, 2.0, 0.0, 0.01, RIGHT),
        (2.0 - 2.0 * 0.02, 2.0, 0.0, 0.01, NOISE),
        (2.0 + 2.0 * 0.032, 2.0, 0.0, 0.01, NOISE),
        (2.0 + 2.0 * 0.034, 2.0, 0.0, 0.01, WRONG),
    ],
)
def test_verdict(printed, exact, rounding, error, expected):
    assert verdict(printed, exact, rounding, error) == expected


def test_standard_error_of_the_print_grows_with_load_and_variance():
    assert print_error("exponential", 0.5) == print_error("exponential", 0.6) == 1e-3
    assert print_error("exponential", 0.98) == pytest.approx(98 / np.sqrt(PRINT_JOBS), rel=1e-6)
    assert print_error("weibull:shape=0.5", 0.98) == pytest.approx(np.sqrt(3) * print_error("exponential", 0.98))


def test_the_rule_finds_the_known_errata_and_nothing_else(cells):
    found = {(c["table"], c["column"], c["load"]) for c in cells if c["verdict"] == WRONG}
    assert found == KNOWN_WRONG


@pytest.mark.parametrize(
    ("where", "right"),
    [
        (("table1", "SPRPT", 0.5), 1.6583),
        (("table1", "SPRPT", 0.99), 28.94),
        (("table1", "PSPJF", 0.98), 17.1189),
        (("table1", "PSPJF", 0.99), 29.4154),
        (("table3", "FIFO", 0.9), 28.0),
        (("table3", "prediction, preempt", 0.95), 9.684),
        (("table3", "prediction, preempt", 0.98), 19.045),
    ],
)
def test_right_values(cells, where, right):
    (cell,) = (c for c in cells if (c["table"], c["column"], c["load"]) == where)
    assert cell["exact"] == pytest.approx(right, rel=1e-4)
    assert cell["note"]


def test_wrong_thresholds_are_those_of_a_capped_search(cells):
    capped = [c for c in cells if c["verdict"] == WRONG and c["threshold"]]
    assert len(capped) == 3
    assert all(7 < c["threshold_of_print"] < 7.8 < c["threshold"] for c in capped)


def test_weibull_without_preemption_at_98_is_noise(cells):
    where = ("table3", "prediction, no preempt", 0.98)
    (cell,) = (c for c in cells if (c["table"], c["column"], c["load"]) == where)
    assert cell["verdict"] == NOISE
    assert cell["error"] == pytest.approx(-0.025, abs=0.001)


def test_assumed_length_of_the_prints_simulations_fits_their_scatter(cells):
    """Half of normal errors lie within .674 standard errors."""
    heavy = [c for c in cells if c["source"] == "simulation" and c["load"] >= 0.9]
    scatter = np.median([abs(c["error"]) / print_error(c["size"], c["load"]) for c in heavy]) / 0.674
    assert 0.75 < scatter < 1.33
    assert LEVELS == (1.96, 3.29)


def test_exact_values_are_those_of_analyse(cells):
    some = {("table1", "SPJF"), ("table1", "SPRPT"), ("table3", "threshold, preempt")}
    for cell in (c for c in cells if c["load"] == 0.8 and (c["table"], c["column"]) in some):
        spec = cell["policy"] + (f":threshold={cell['threshold']!r}" if cell["threshold"] else "")
        law = size_law(cell["size"])
        found = analyse(policy(spec), law, predictor(cell["predictor"]), 0.8, method="formula")
        assert cell["exact"] == pytest.approx(found.mean_response_time, rel=1e-12)


def test_closed_forms():
    for load in (0.5, 0.98):
        t1, t2 = one_bit_exponential(load, 2.0)
        assert t1 == pytest.approx(load * t2 + 1)
    assert sprpt_exponential(0.8) == pytest.approx(3.1375, abs=5e-5)
    assert sprpt_exponential(0.98) == pytest.approx(16.764, abs=5e-4)


def test_reproduce_simulates_and_reports_progress():
    seen = []
    found = reproduce("closed-forms", jobs=80_000, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (7 * 17, 7 * 17)
    assert found["counts"] == {RIGHT: 21, NOISE: 0, WRONG: 0}
    light = [c for c in found["cells"] if c["load"] <= 0.8]  # so few jobs tell nothing at heavy load
    assert all(c["agrees"] for c in light)
    assert all(c["ci99.9"][0] < c["ci95"][0] < c["simulated"] < c["ci95"][1] < c["ci99.9"][1] for c in found["cells"])
    again = reproduce("closed-forms", jobs=80_000)
    assert again["cells"] == found["cells"]
    json.dumps(plain(found), allow_nan=False)
    assert table(found).row_count == 21


def test_wrong_input():
    with pytest.raises(BadInput, match="table1"):
        reproduce("table11")
    with pytest.raises(BadInput, match="at least"):
        reproduce("table1", jobs=10)


def test_many_jobs_are_dealt_out_to_more_runs_and_not_to_longer_ones(monkeypatch):
    played = []
    monkeypatch.setattr("llmqueue_gym.evaluation.reproduce.LONGEST", 200)
    monkeypatch.setattr(
        "llmqueue_gym.evaluation.reproduce._play",
        lambda name, row, jobs, seed: (
            played.append((jobs, seed)) or dict.fromkeys(["fcfs", *(c["column"] for c in row)], seed)
        ),
    )
    reproduce("closed-forms", jobs=10_000, seed=1)
    assert {jobs for jobs, _ in played} == {200} and {seed for _, seed in played} == set(range(50, 100))

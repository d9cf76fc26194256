"""What is foreseen of programs: the truth without error, and the error that is documented with one."""

import numpy as np
import pytest

from llmqueue_gym.errors import BadInput
from llmqueue_gym.predictors.programs import (
    Foresight,
    foreseen_calls,
    foreseen_depth,
    foreseen_gaps,
    foreseen_right,
    foreseen_tokens,
)
from llmqueue_gym.programs import Answers, depths, longest_path, sizes, to_come
from llmqueue_gym.workloads.requests import ProgramWorkload, draw_programs

GOOD = Foresight(auc=1.0)


def near(sample, mean):
    """Within four standard errors."""
    assert abs(np.mean(sample) - mean) <= 4 * np.std(sample) / np.sqrt(len(sample)) + 1e-9


@pytest.fixture(scope="module")
def run():
    return draw_programs(ProgramWorkload("self-consistency:aggregate=50", 1.0), "exact", GOOD, 1000, 3)


def test_exactly(run):
    requests, programs = run.requests, run.requests.programs
    tokens = requests.requests["prompt"] + requests.outputs
    np.testing.assert_array_equal(run.foreseen.gap, programs.gap)
    np.testing.assert_array_equal(run.foreseen.calls, to_come(programs, np.ones(len(tokens))))
    np.testing.assert_array_equal(run.foreseen.to_come, to_come(programs, tokens))
    np.testing.assert_array_equal(run.foreseen.path, longest_path(programs, tokens))
    gives = run.answers.cluster >= 0
    np.testing.assert_array_equal(run.foreseen.right[gives], run.answers.right[gives])
    assert np.isnan(run.foreseen.right[~gives]).all() and np.isnan(run.foreseen.depth).all()


def test_what_is_to_come_of_a_chain():
    run = draw_programs(ProgramWorkload("tool-calls", 1.0), "exact", GOOD, 400, 3)
    programs = run.requests.programs
    size = sizes(programs)[programs.program]
    np.testing.assert_array_equal(run.foreseen.calls, size - depths(programs))
    np.testing.assert_allclose(run.foreseen.to_come, run.foreseen.path)  # a chain is its longest path
    assert run.answers is None and np.isnan(run.foreseen.right).all()


def test_tokens_rest_on_predicted_outputs():
    workload = ProgramWorkload("map-reduce", 1.0)
    exact = draw_programs(workload, "exact", GOOD, 50, 3)
    none = draw_programs(workload, "none", GOOD, 50, 3)
    rows = none.requests.requests
    expected = to_come(none.requests.programs, rows["prompt"] + rows["predicted"])
    np.testing.assert_array_equal(none.foreseen.to_come, expected)
    assert (none.foreseen.to_come != exact.foreseen.to_come).any()


def test_gaps_err_by_a_share_of_themselves():
    gaps = np.repeat([0.0, 1.0, 50.0], 20_000)
    found = foreseen_gaps(gaps, 0.3, np.random.default_rng(0))
    assert (found[:20_000] == 0).all() and (found >= 0).all()
    for gap in (1.0, 50.0):
        near(found[gaps == gap], gap)
        near((found[gaps == gap] / gap - 1) ** 2, 0.09)
    clipped = foreseen_gaps(gaps, 3.0, np.random.default_rng(0))
    assert clipped.min() == 0.0 and np.mean(clipped[gaps > 0] == 0) == pytest.approx(0.3694, abs=0.01)  # Phi(-1/3)


def test_calls_err_alike_in_a_program(run):
    programs = run.requests.programs
    true = to_come(programs, np.ones(len(programs.program)))
    found = foreseen_calls(programs, 0.5, np.random.default_rng(0))
    ratio = np.log(found / true)
    first = np.flatnonzero(np.diff(programs.first) == 0)
    near(ratio[first[::8]], 0.0)  # one of the 8 branches of each program, which have one error
    near(ratio[first[::8]] ** 2, 0.25)
    assert (found >= 1).all()
    same = ratio[first].reshape(-1, 8)
    np.testing.assert_allclose(same, same[:, :1].repeat(8, axis=1))


def test_tokens_of_a_call_are_the_same_whoever_asks(run):
    programs = run.requests.programs
    amounts = np.full(len(programs.program), 100.0)
    come, path = foreseen_tokens(programs, amounts, 0.2, np.random.default_rng(0))
    joins = np.diff(programs.first) > 0
    np.testing.assert_array_equal(come[joins], path[joins])  # the last call of a program has itself to come
    near(come[joins], 100.0)
    near((come[joins] - 100) ** 2, 400.0)
    assert (path <= come + 1e-9).all()


@pytest.mark.parametrize("auc", [0.6, 0.9])
def test_answers_are_told_apart_as_well_as_promised(auc):
    rng = np.random.default_rng(0)
    n = 40_000
    right = rng.random(n) < 0.3
    answers = Answers(np.zeros(n, np.int64), right, np.zeros(n), np.zeros(1), np.array([-1]), np.array([False]))
    found = foreseen_right(answers, auc, rng)
    better = found[right][:3000, None] > found[~right][None, :3000]
    assert better.mean() == pytest.approx(auc, abs=0.02)
    for low in (0.1, 0.3, 0.5):
        here = (found > low) & (found < low + 0.2)
        if here.sum() > 100:
            near(right[here] - found[here], 0.0)  # calibrated
    np.testing.assert_allclose(foreseen_right(answers, 0.5, rng), right.mean())
    all_right = answers._replace(right=np.ones(n, bool))
    assert (foreseen_right(all_right, auc, rng) == 1).all()


def test_depths_say_how_sure_they_are():
    depths_ = np.append(np.full(100_000, 400), -1)
    found, sure = foreseen_depth(depths_, 0.8, np.random.default_rng(0))
    assert np.isnan(found[-1]) and np.isnan(sure[-1])
    log, sure = np.log(found[:-1] / 400), sure[:-1]
    near(log, 0.0)
    within = np.abs(log) <= np.log(2)
    for low in (0.4, 0.6, 0.8):
        here = (sure > low) & (sure < low + 0.2)
        near(within[here] - sure[here], 0.0)
    exact, certain = foreseen_depth(depths_, 0.0, np.random.default_rng(0))
    assert (exact[:-1] == 400).all() and (certain[:-1] == 1).all()


def test_no_prediction_tells_whether_a_thought_ends_rightly():
    run = draw_programs(ProgramWorkload("reasoning:thought=500", 1.0), "exact", Foresight(depth=0.2), 150, 1)
    assert np.isfinite(run.foreseen.depth).all() and not run.answers.correct.all()


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"gap": -1.0}, "gap=-1 must be from 0 to 100"),
        ({"auc": 0.4}, "auc=0.4 must be from 0.5 to 1"),
        ({"tokens": np.nan}, "tokens=nan must be"),
    ],
)
def test_bad_foresight(named, message):
    with pytest.raises(BadInput, match=message):
        Foresight(**named)

"""Fronts of two aims: by hand, and against counting points of a grid."""

import numpy as np
import pytest

from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.tradeoff import cost_at, gain_at, hypervolume, undominated


def test_by_hand():
    costs, gains = np.array([1.0, 2.0, 2.0, 3.0, 4.0]), np.array([0.5, 0.4, 0.8, 0.8, 0.9])
    assert undominated(costs, gains).tolist() == [0, 2, 4]
    assert hypervolume(costs, gains, 5.0, 0.0) == pytest.approx(1 * 0.5 + 2 * 0.8 + 1 * 0.9)
    assert hypervolume(costs, gains, 2.0, 0.4) == pytest.approx(0.1)
    assert hypervolume(costs, gains, 1.0, 0.0) == 0 == hypervolume(costs, gains, 9.0, 0.9)
    assert hypervolume([], [], 1.0, 0.0) == 0
    assert gain_at(costs, gains, 1.5) == pytest.approx(0.65) and gain_at(costs, gains, 9) == 0.9
    assert cost_at(costs, gains, 0.65) == pytest.approx(1.5) and cost_at(costs, gains, 0.1) == 1
    assert np.isnan(gain_at(costs, gains, 0.5)) and np.isnan(cost_at(costs, gains, 0.95))
    # What lies below the line between two others is mixed away.
    assert gain_at([0, 1, 2], [0, 0.2, 1], 1) == 0.5 and cost_at([0, 1, 2], [0, 0.2, 1], 0.5) == 1


def test_equal_points_count_once():
    assert undominated([1, 1, 1], [0.5, 0.5, 0.4]).tolist() == [0]
    assert hypervolume([1, 1], [0.5, 0.5], 2, 0) == 0.5


def test_the_area_is_that_of_the_points_of_a_grid_that_are_dominated():
    rng = np.random.default_rng(0)
    for _ in range(20):
        costs, gains = rng.random(8).round(1), rng.random(8).round(1)
        middles = (np.arange(10) + 0.5) / 10
        x, y = np.meshgrid(middles, middles)
        covered = ((costs[:, None, None] <= x) & (gains[:, None, None] >= y)).any(axis=0)
        assert hypervolume(costs, gains, 1.0, 0.0) == pytest.approx(covered.mean())
        rows = undominated(costs, gains)
        assert (np.diff(costs[rows]) > 0).all() and (np.diff(gains[rows]) > 0).all()
        assert hypervolume(costs[rows], gains[rows], 1, 0) == pytest.approx(covered.mean())


def test_bad_points_are_refused():
    for wrong in (([1, 2], [1]), ([np.nan], [1]), ([[1]], [[1]])):
        with pytest.raises(BadInput, match="must be"):
            undominated(*wrong)

"""The rules of `experiments/several_servers_against_theory.py`, on runs small enough to count by hand."""

import numpy as np
import pytest
import several_servers_against_theory as theory

from llmqueue_gym.evaluation import Estimate
from llmqueue_gym.systems import Scenario


def test_time_in_tails_is_what_counting_at_every_event_gives():
    run = Scenario("dispatch", servers=5, load=0.95, n_jobs=400, order="fcfs").simulate("power-of-d", 2)
    came, left, site = run.jobs["arrival"], run.outcome["completion"], run.jobs["site"]
    start, end = came[80], came[-1]
    times = np.unique(np.concatenate([came, left]).clip(start, end))
    spans, middles = np.diff(times), (times[1:] + times[:-1]) / 2
    there = (came <= middles[:, None]) & (middles[:, None] < left)
    lengths = np.stack([there[:, site == s].sum(axis=1) for s in range(5)])
    found = theory.time_in_tails(run, 5, start, end)
    exact = [((lengths >= i).mean(axis=0) * spans).sum() / (end - start) for i in range(1, len(found) + 1)]
    assert lengths.max() >= 4
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-9)
    assert found.sum() == pytest.approx((lengths.sum(axis=0) * spans).sum() / (end - start) / 5)


def test_verdicts():
    found = Estimate(1.005, 1.0, 1.01, 0.99, 10)
    assert theory.inside("", "", 1.001, found)["holds"]
    assert not theory.inside("", "", 1.02, found)["holds"]
    assert theory.near("", "", 1.0, found)["holds"]
    assert not theory.near("", "", 1.1, found)["holds"]
    assert theory.between("", "", (1.0, np.inf), found)["holds"]
    assert not theory.between("", "", (0.0, 1.0), found)["holds"]
    assert 1 - theory.part_level(8) == pytest.approx(0.01 / 8)


def test_one_server_is_the_same_to_the_last_bit():
    rows = theory.one_server("sprpt", 2_000)
    assert [row["rule"] for row in rows] == ["to the last bit"] * 2
    assert all(row["holds"] for row in rows)

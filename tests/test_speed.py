"""The parts of `experiments/speed.py` that can be wrong without being slow."""

import aisimulate
import numpy as np
import pytest

from llmqueue_gym.systems import Scenario
from llmqueue_gym.workloads.contexts import of_blocks
from llmqueue_gym.workloads.requests import TraceRequests

PROMPTS = np.array([1024, 700, 1030])
NAMES = [["a", "b"], ["a", "c"], ["a", "b", "d"]]


def test_another_simulator_is_given_our_requests():
    contexts = of_blocks(NAMES, PROMPTS, aisimulate.BLOCK)
    workload = TraceRequests(np.array([0.0, 1.5, 2.0]), PROMPTS, np.array([7, 8, 9]), order="first", contexts=contexts)
    rows = aisimulate.rows(Scenario("fleet", replicas=2, workload=workload, n_jobs=3))
    assert [(row["timestamp"], row["input_length"], row["output_length"]) for row in rows] == [
        (0.0, 1024, 7),
        (1500.0, 700, 8),
        (2000.0, 1030, 9),
    ]
    names = [row["hash_ids"] for row in rows]
    assert [len(own) for own in names] == [2, 2, 3]
    assert names[2][:2] == names[0]
    assert (names[1][0] == names[0][0], names[1][1] == names[0][1]) == (True, False)


@pytest.mark.parametrize("named", [None, "", "python-that-has-none"])
def test_it_is_skipped_where_there_is_none(monkeypatch, named, tmp_path):
    monkeypatch.delenv(aisimulate.VARIABLE, raising=False)
    if named is not None:
        monkeypatch.setenv(aisimulate.VARIABLE, str(tmp_path / named) if named else "")
    assert aisimulate.interpreter() is None

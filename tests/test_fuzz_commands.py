"""A short run of the fuzzer of command lines; `python experiments/fuzz_commands.py` has the long ones."""

import pytest
from fuzz_commands import calls, judge

RUNS, BLOCKS = 30, 4


@pytest.mark.parametrize("seed", range(BLOCKS))
def test_no_command_line_ends_in_anything_but_a_result_or_a_line(tmp_path, seed):
    (tmp_path / "out").mkdir()
    broken = {}
    for call in calls(RUNS, 1000 + seed, tmp_path):
        _, found = judge(call, tmp_path)
        if found:
            broken[" ".join(call)] = found
    assert broken == {}


def test_the_fuzzer_sees_what_is_broken(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()

    def breaks(*_, **__):
        (tmp_path / "out" / "half.csv").write_text("half")
        raise ZeroDivisionError

    monkeypatch.setattr("llmqueue_gym.systems.Scenario.simulate", breaks)
    ended, found = judge(["simulate", "--policy", "fcfs"], tmp_path)
    assert ended == "done" and found == ["traceback: ZeroDivisionError"]
    assert judge(["simulate", "--policy", "none"], tmp_path)[1] == []

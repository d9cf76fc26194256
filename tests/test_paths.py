"""Paths that no file can have: one line that names them, whoever reads or writes."""

import gymnasium as gym
import pytest

import llmqueue_gym  # noqa: F401 (registers the environments)
from llmqueue_gym.boards.board import load_boards
from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.rows import check_rows
from llmqueue_gym.evaluation.timeline import check_timeline
from llmqueue_gym.policies.file import names_in
from llmqueue_gym.policies.learned.artefact import load
from llmqueue_gym.profiles.iterations import read_iterations
from llmqueue_gym.storage import check_place, write_text
from llmqueue_gym.systems import Scenario
from llmqueue_gym.workloads.traces import load_trace

NUL = "a\0b"
READ = {
    "fleet": lambda: Scenario("fleet", fleet=NUL, rate=1.0),
    "fleet of an environment": lambda: gym.make("llmqueue/Routing-v0", fleet=NUL),
    "profile": lambda: Scenario("replica", profile=f"file:{NUL}", rate=1.0),
    "log": lambda: Scenario("replica", profile=f"h100x4-llama3.1-70b:kv_log={NUL}", rate=1.0),
    "sizes": lambda: Scenario("mg1", size=f"empirical:{NUL}"),
    "trace": lambda: load_trace(NUL),
    "packed trace": lambda: load_trace(f"{NUL}.csv.gz"),
    "iterations": lambda: read_iterations(NUL, 100),
    "boards": lambda: load_boards(NUL),
    "policy": lambda: names_in(NUL),
    "artefact": lambda: load(NUL),
    "folder": lambda: check_rows(f"{NUL}/x.csv"),
}


@pytest.mark.parametrize("what", READ)
def test_a_nul_in_a_path_is_said_in_one_line(what):
    with pytest.raises(BadInput) as refused:
        READ[what]()
    assert "\n" not in str(refused.value)


def test_a_file_is_written_into_a_folder_that_there_is(tmp_path):
    with pytest.raises(OSError, match="null byte"):
        write_text(tmp_path / NUL, "")
    for path, words in ((tmp_path / "no" / "x.json", "no such folder"), (tmp_path, "it is a folder")):
        for check in (check_place, lambda path: check_timeline(str(path), 9)):
            with pytest.raises(BadInput, match=words):
                check(path)
    assert not list(tmp_path.iterdir())
    check_place(tmp_path / "x.json")

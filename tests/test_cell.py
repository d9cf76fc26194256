"""The cell in which an entry is played, and that processes end with their parent."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmqueue_gym.boards import cell, load_boards, outside
from llmqueue_gym.boards.workers import pool, progress
from llmqueue_gym.errors import BadInput

OURS = {**os.environ, "PYTHONPATH": str(Path(cell.__file__).parents[2])}


@pytest.fixture
def small(small_boards):
    return load_boards(small_boards)


def misuse(scenario, player, seeds, what, path):
    """Do what an entry could not say, once the cell is closed."""
    if player.made_by is None:  # the harmless one, before
        return None
    if what == "wait":
        time.sleep(600)
    while what == "spin":
        pass
    found = []
    for flags in (os.O_RDONLY, os.O_CREAT | os.O_WRONLY):
        try:
            os.open(path if flags else __file__, flags)
        except OSError as error:
            found.append(error.errno)
    try:
        bytearray(2**34)
    except MemoryError:
        found.append("memory")
    return found


def in_cell(entry, small, what, path):
    on, made = outside.read(entry(), small)
    tasks = [(misuse, (on.scenarios["a"], made, [0], what, path))]
    with progress(None) as bar:
        return cell.confined(made, tasks, bar, what)


def test_a_cell_opens_writes_and_takes_nothing(entry, small, tmp_path):
    (found,) = in_cell(entry, small, "open", str(tmp_path / "new"))
    assert found == [errno.EMFILE, errno.EMFILE, "memory"] and not (tmp_path / "new").exists()


@pytest.mark.parametrize(("what", "limits"), [("spin", cell.Limits(seconds=1)), ("wait", cell.Limits(patience=1))])
def test_a_cell_ends(what, limits, entry, small, monkeypatch):
    monkeypatch.setattr(cell, "LIMITS", limits)
    with pytest.raises(BadInput, match="'mine' does not end within its limits"):
        in_cell(entry, small, what, "")


def test_processes_leave_the_environment_of_those_that_come_after():
    before = dict(os.environ)
    with pool(1) as run:
        assert run.submit(os.getenv, "PYTHONSAFEPATH").result() == "1"
        assert dict(os.environ) == before


def test_workers_end_with_their_parent_however_it_ends(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, time\n"
        "from llmqueue_gym.boards.workers import pool\n"
        "if __name__ == '__main__':\n"
        "    with pool(2) as run:\n"
        "        for one in [run.submit(os.getpid), run.submit(time.sleep, 1), run.submit(os.getpid)]:\n"
        "            one.result()\n"
        "        busy = [run.submit(time.sleep, 600) for _ in range(2)]\n"
        "        print(*run._processes, flush=True)\n"
        "        time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, env=OURS, text=True) as parent:
        children = [int(pid) for pid in parent.stdout.readline().split()]
        parent.send_signal(signal.SIGKILL)
    assert len(children) == 2
    until = time.monotonic() + 20
    while any(map(_runs, children)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(map(_runs, children))


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False

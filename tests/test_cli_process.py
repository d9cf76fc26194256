"""The command line as a process: what it prints, what it imports, and how it ends what would not."""

import json
import signal
import subprocess
import sys
import time

import pytest

from llmqueue_gym import _jit

SIMULATE = "simulate --policy fcfs"
LOOPS = """
import numpy as np


def for_some(job, params):
    left = job.predicted
    while left > 4.0:
        left += 0.0
    return left


def inside(job, params):
    return helper(job.predicted)


def helper(left):
    while left > 4.0:
        left += 0.0
    return left


def slow(job, params):
    left = job.predicted
    for _ in range(100_000):
        left = np.sin(left)
    return left
"""


def test_the_installed_command_speaks_json_alone(run):
    command = [
        sys.executable,
        "-c",
        "from llmqueue_gym.cli import main; main()",
        *SIMULATE.split(),
        "--jobs",
        "9",
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["policy"] == "fcfs" and done.stderr == ""
    assert run("--version") == (0, "llmqueue, version 0.1.0\n", "") and run()[1].startswith("Usage: llmqueue")


@pytest.mark.parametrize(
    "command, unwanted",
    [
        ("--help", "numba scipy rich torch"),
        ("predictors", "numba torch stable_baselines3"),
        ("simulate mg1 --policy fcfs --jobs 9 --json", "rich torch matplotlib llmqueue_gym.envs.vector"),
        ("policies", "torch matplotlib stable_baselines3"),
    ],
)
def test_a_command_imports_no_more_than_it_needs(command, unwanted):
    look = f"""
import sys
from llmqueue_gym.cli import main
try:
    main({command.split()!r})
except SystemExit:
    print([name for name in {unwanted.split()!r} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


# What would not end.


def test_an_interrupt_ends_what_hears_none():
    program = """
import signal, time
from llmqueue_gym.cli import _end_when_interrupted
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background has it ignored
_end_when_interrupted()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # of this thread, as if it were in compiled code
print("ready", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(1)  # until it sleeps: before, an interrupt is heard at once
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130


@pytest.mark.skipif(_jit.DISABLED, reason="uncompiled code hears of interrupts")
@pytest.mark.parametrize("command", ["simulate --jobs 2000 --policy", "theory --policy"])
@pytest.mark.parametrize("function", ["for_some", "inside"])
def test_a_function_that_loops_for_ever_is_an_error(tmp_path, command, function):
    path = tmp_path / "mine.py"
    path.write_text(LOOPS)
    done = played([*command.split(), f"{path}:{function}"])
    line = f"llmqueue: error: function {function!r} does not come back from a call within 0.5 s; look at its loops\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)


@pytest.mark.skipif(_jit.DISABLED, reason="uncompiled code hears of interrupts")
def test_a_slow_function_ends(tmp_path):
    """All its calls together take far longer than one of them may."""
    path = tmp_path / "mine.py"
    path.write_text(LOOPS)
    done = played(["simulate", "--jobs", "20", "--policy", f"{path}:slow"])
    assert (done.returncode, done.stderr) == (0, "")


def played(args):
    """Run a command in a process that grants a call half a second."""
    program = "from llmqueue_gym import cli; cli.CALL = 0.5; cli.main()"
    return subprocess.run([sys.executable, "-c", program, *args], capture_output=True, text=True, timeout=300)

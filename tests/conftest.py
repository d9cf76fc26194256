"""What the tests share."""

import json
import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def _capacities(tmp_path_factory):
    """Look for what a replica sustains once in a session, whoever asks, and leave the user's cache alone."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMQUEUE_CACHE", str(shared / "capacities"))
        yield


@pytest.fixture
def run(capsys):
    """Run the command line in this process; returns exit status, stdout and stderr."""
    from llmqueue_gym.cli import main

    def call(*args):
        with pytest.raises(SystemExit) as ended:
            main([str(arg) for arg in args])
        return ended.value.code, *capsys.readouterr()

    return call


@pytest.fixture
def run_json(run):
    """Run the command line with --json; returns what it printed, which is all that it printed."""

    def call(command, *args):
        status, out, err = run(*command.split(), *args, "--json")
        assert (status, err) == (0, "")
        return json.loads(out, parse_constant=pytest.fail)

    return call


@pytest.fixture
def refused(run):
    """Run the command line; returns the one line with which it refuses, exit status 2, nothing on stdout."""

    def call(command, *args):
        status, out, err = run(*command.split(), *args)
        assert (status, out) == (2, "")
        assert err.startswith("llmqueue: error: ") and err.count("\n") == 1 and err.endswith("\n")
        return err

    return call

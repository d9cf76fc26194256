"""What the tests share."""

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

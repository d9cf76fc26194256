"""The exported proxy before vLLM's own server and engine, behind which a made-up model answers."""

import os
from pathlib import Path

import pytest

load = pytest.importorskip("proxy_under_load", reason="experiments are not there, or starlette is not")
SERVED = "0.33.0"
PYTHON = Path(__file__).parents[2] / f".venv-engines-{SERVED}" / "bin" / "python"
pytestmark = pytest.mark.skipif(
    SERVED not in os.environ.get("ENGINES", "").split(), reason=f"needs vLLM's server: make test-engines VLLM={SERVED}"
)


def test_two_hundred_streams_through_the_proxy_to_vllm():
    """One in ten goes away and the server is killed: nothing is lost or mixed up, and seats go by the ranks.

    Every request is in vLLM's queue at once, so that its own scheduler is what puts them in order.
    """
    found = load.trial(200, 2, None, restart=1, seats=8, vllm=str(PYTHON))
    assert all(load.holds(found, 1).values()), found
    assert found["at the engine"]["seats taken while others waited"] > 100

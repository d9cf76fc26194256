"""Exported classes in vLLM's own engine: step by step they admit, order and preempt as the simulator does.

`make test-engines` installs vLLM without a GPU and runs this for the versions in `ENGINES`. The simulator runs here as
plain Python (NUMBA_DISABLE_JIT), which decides what the compiled one does.
"""

import json
import os
import subprocess
from functools import cache
from pathlib import Path

import pytest
from engine_cases import POLICIES, case_of, first_difference

ROOT = Path(__file__).parents[2]
VERSIONS = os.environ.get("ENGINES", "").split()
SEEDS = range(4)
pytestmark = pytest.mark.skipif(not VERSIONS, reason="needs vLLM's engine: make test-engines")


@cache
def decided(version, folder):
    """Return what the engine decided in each case, by (spec, seed, asynchronous), with the case; run once."""
    python = ROOT / f".venv-engines-{version}" / "bin" / "python"
    keys = [(spec, seed, asynchronous) for spec in POLICIES for seed in SEEDS for asynchronous in (False, True)]
    cases = {(spec, seed, a): case_of(spec, seed, version, a, folder) for spec, seed, a in keys}
    given, results = folder / "cases.jsonl", folder / "results.jsonl"
    given.write_text("".join(json.dumps(case.engine) + "\n" for case in cases.values()))
    ran = subprocess.run(
        [python, Path(__file__).with_name("drive_vllm.py"), given, results], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    found = [json.loads(line) for line in results.read_text().splitlines()]
    return {key: (case, result) for (key, case), result in zip(cases.items(), found, strict=True)}


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return {version: tmp_path_factory.mktemp(version) for version in VERSIONS}


@pytest.mark.parametrize("spec", POLICIES, ids=lambda spec: spec.rpartition("/")[2])
@pytest.mark.parametrize("version", VERSIONS)
def test_decides_as_the_simulator_does(version, spec, folder):
    preempted = waited = 0
    for seed in SEEDS:
        for asynchronous in (False, True):
            case, found = decided(version, folder[version])[spec, seed, asynchronous]
            assert found["vllm"] == version
            assert found["scheduler"] == case.engine["scheduler"]
            assert not (difference := first_difference(case, found)), f"seed {seed}, {asynchronous=}: {difference}"
            preempted += sum(len(call[4]) for call in found["calls"])
            waited += sum(len(call[6]) for call in found["calls"])
    assert preempted > 20 and waited > 2000  # memory and seats were short


@pytest.mark.parametrize("version", VERSIONS)
def test_a_wrong_order_is_found_out(version, folder):
    case, _ = decided(version, folder[version])["sjf", 0, True]
    _, other = decided(version, folder[version])["sjf-total", 0, True]
    assert "admitted" in first_difference(case, other) or "scheduled" in first_difference(case, other)

"""The examples for other libraries, each run as a user runs it; those that are not installed are left out."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from llmqueue_gym import _jit

AGENTS = Path(__file__).parents[1] / "agents"
SHORT = {
    "minari": ("minari_episodes.py", "--episodes 2 --env-args n_jobs=30", "llmqueue/mg1preemptive/gittins-v0"),
    "torchrl": ("torchrl_ppo.py", "--total-steps 256 --frames 128 --epochs 1 --eval-jobs 30", "learnt"),
    "skrl": ("skrl_ppo.py", "--total-steps 256 --num-envs 2 --num-steps 64 --eval-jobs 30", "learnt"),
    "tianshou": ("tianshou_ppo.py", "--total-steps 256 --frames 128 --num-envs 2 --eval-jobs 30", "learnt"),
}


@pytest.mark.skipif(_jit.DISABLED or not AGENTS.is_dir(), reason="needs compiled kernels and a checkout")
@pytest.mark.parametrize("library", SHORT)
def test_an_example_runs(library, tmp_path):
    if importlib.util.find_spec(library) is None or importlib.util.find_spec("tyro") is None:
        pytest.skip("needs pip install -r agents/requirements-clients.txt")
    script, budget, told = SHORT[library]
    around = {**os.environ, "MINARI_DATASETS_PATH": str(tmp_path)}
    command = [sys.executable, str(AGENTS / script), *budget.split()]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=around)
    assert done.returncode == 0 and told in done.stdout, done.stderr[-2000:]

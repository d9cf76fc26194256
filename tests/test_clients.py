"""The examples for other libraries, each run as a user runs it; those that are not installed are left out."""

import importlib.util
import os
import subprocess
import sys
import warnings
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from llmqueue_gym import _jit
from llmqueue_gym.envs import ENVIRONMENTS

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


def recorded(minari, name):
    """Two episodes as Minari reads them back, and the last info of each."""
    recorder, ends = minari.DataCollector(gymnasium.make(name, n_jobs=10), record_infos=True), []
    for seed in range(2):
        _, info = recorder.reset(seed=seed)
        over = False
        while not over:
            *_, terminated, truncated, info = recorder.step(int(info["action_mask"].argmax()))
            over = terminated or truncated
        ends.append(info)
    episodes = list(recorder.create_dataset("llmqueue/recorded-v0").iterate_episodes())
    recorder.close()
    return episodes, ends


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_minari_records_infos(name, tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    minari = pytest.importorskip("minari", reason="needs pip install -r agents/requirements-clients.txt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what a data set does not say, and of folders that Minari leaves
        episodes, ends = recorded(minari, name)
    for episode, info in zip(episodes, ends, strict=True):
        told = episode.infos["episode_metrics"]["mean_response_time"]
        assert told[-1] == info["episode_metrics"]["mean_response_time"] and not told[:-1].any()
        assert episode.infos["return"][-1] == info["return"] and len(told) == len(episode.rewards) + 1
        np.testing.assert_array_equal(episode.infos["action_mask"], episode.observations["action_mask"])

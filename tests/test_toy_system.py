"""A new kind of system, written as docs/new_system.md says: by its line in the table it is everywhere."""

import importlib.util
import inspect
import re
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import test_conformance as conformance
from click.testing import CliRunner

from llmqueue_gym import _jit
from llmqueue_gym.envs import ENVIRONMENTS, Environment, register_all
from llmqueue_gym.envs.opened import baseline_agent
from llmqueue_gym.envs.rollout import rollout
from llmqueue_gym.systems import SYSTEMS, Scenario

PAGE = Path(__file__).parents[1] / "docs" / "new_system.md"
KIND, ID = "warm-up", "llmqueue/WarmUp-v0"
if not PAGE.is_file():
    pytest.skip("docs/ is only in a checkout", allow_module_level=True)


@pytest.fixture(scope="module")
def blocks():
    """The Python on the page: kernel, system, use."""
    return re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def system(blocks, tmp_path_factory):
    """The class on the page, from files that lie where they must not: the package is not touched."""
    with pytest.MonkeyPatch.context() as patch:
        for name, code in zip(("llmqueue_gym.engines.warm_up", "llmqueue_gym.systems.warm_up"), blocks, strict=False):
            path = tmp_path_factory.mktemp("written") / "warm_up.py"
            path.write_text(code)
            spec = importlib.util.spec_from_file_location(name, path)
            module = importlib.util.module_from_spec(spec)
            patch.setitem(sys.modules, name, module)
            spec.loader.exec_module(module)
        yield module.WarmUp


@pytest.fixture(autouse=True)
def _line(system, monkeypatch):
    monkeypatch.setitem(SYSTEMS._entries, KIND, system)
    monkeypatch.setitem(ENVIRONMENTS, ID, Environment("A server that cools down.", KIND, {"cold": 2.0}))
    register_all()
    yield
    del gym.registry[ID]


CLAIMS = [claim for name, claim in vars(conformance).items() if name.startswith("test_") and inspect.isfunction(claim)]


@pytest.mark.skipif(_jit.DISABLED, reason="the page's kernels want numba's records")
@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
def test_it_keeps_every_promise_of_the_conformance_suite(claim):
    takes = inspect.signature(claim).parameters
    told = {"kind": KIND} if "kind" in takes else {"name": ID} if "name" in takes else {}
    for mode in conformance.AutoresetMode if "mode" in takes else [None]:
        claim(**told, **({} if mode is None else {"mode": mode}))


def test_the_page_is_short(blocks):
    assert sum(1 for block in blocks[:2] for line in block.splitlines() if line.strip()) < 120


def test_who_finds_the_server_cold_waits_until_it_is_warm():
    scenario = Scenario(KIND, cold=1.0, load=0.5, n_jobs=400)
    run, warm = scenario.simulate("fcfs", 3), Scenario("mg1", load=0.5, n_jobs=400).simulate("fcfs", 3)
    begin, arrival, end = run.outcome["start"], run.jobs["arrival"], run.outcome["completion"]
    idle = arrival > np.concatenate([[-1.0], end[:-1]])
    np.testing.assert_allclose(begin[idle], arrival[idle] + 1.0)
    np.testing.assert_allclose(begin[~idle], end[:-1][~idle[1:]])
    assert 0.2 < idle.mean() < 0.8 and (run.response_times >= warm.response_times).all()


def test_it_is_in_scenarios_rollouts_and_environments(blocks, capsys):
    exec(compile(blocks[2], str(PAGE), "exec"), {})  # what the page shows
    told = float(capsys.readouterr().out)
    scenario = Scenario("warm-up:cold=2,load=0.5,n_jobs=1000")
    assert told == pytest.approx(scenario.simulate("spjf", 0).response_times.mean(), abs=1e-9)
    env = gym.make(ID, load=0.5, n_jobs=1000, slots=1000)
    run = rollout(baseline_agent("spjf", env), scenario, 0, slots=1000)
    assert run.response_times.mean() == pytest.approx(told, rel=1e-9)
    envs = gym.make_vec(ID, num_envs=4, n_jobs=50)
    observation, _ = envs.reset(seed=0)
    assert observation["jobs"].shape == (4, 16, 6) and envs.unwrapped.scenario.system.cold == 2.0


def test_it_is_on_the_command_line():
    from llmqueue_gym.cli import main

    told = CliRunner().invoke(main, ["simulate", KIND, "--cold", "2", "--load", "0.5", "--policy", "spjf", "--json"])
    assert told.exit_code == 0, told.output
    assert "--cold" in CliRunner().invoke(main, ["simulate", KIND, "--help"]).output

"""A new kind of system, written as docs/new_system.md says: by its line in the table it is everywhere."""

import importlib.util
import inspect
import json
import re
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import test_conformance
import test_conformance_envs
from gymnasium.vector import AutoresetMode

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


CLAIMS = [
    claim
    for promises in (test_conformance, test_conformance_envs)
    for name, claim in vars(promises).items()
    if name.startswith("test_") and inspect.isfunction(claim)
]


@pytest.mark.skipif(_jit.DISABLED, reason="the page's kernels want numba's records")
@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
def test_it_keeps_every_promise_of_the_conformance_suite(claim):
    takes = inspect.signature(claim).parameters
    told = {"kind": KIND} if "kind" in takes else {"name": ID} if "name" in takes else {}
    for mode in AutoresetMode if "mode" in takes else [None]:
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


def test_equal_ranks_go_to_the_later_arrival_where_a_policy_says_so_on_every_path():
    scenario = Scenario(KIND, load=0.8, n_jobs=400)
    lcfs, fcfs = (scenario.simulate(name, 3).outcome["completion"] for name in ("lcfs", "fcfs"))
    played = rollout(baseline_agent("lcfs", scenario.env(slots=400)), scenario, 3, slots=400)
    np.testing.assert_allclose(played.outcome["completion"], lcfs)
    assert not np.allclose(lcfs, fcfs)


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


def test_it_is_on_the_command_line(run, run_json, refused):
    told = run_json(f"simulate {KIND} --cold 2 --load 0.5 --jobs 1000 --policy spjf --seed 0")
    assert told["cold"] == told["options"]["cold"] == 2.0
    mean = Scenario(KIND, cold=2.0, load=0.5, n_jobs=1000).simulate("spjf", 0).after_warmup().response_times.mean()
    assert f"{mean:.6g}"[:6] in json.dumps(told)
    assert "--cold" in run("simulate", KIND, "--help")[1] and KIND in run("systems")[1]
    assert "--cold -1" in refused(f"simulate {KIND} --cold -1 --policy fcfs")


BOARD = """
title = "Cold servers"
[boards.cold]
title = "A server that cools down"
system = "warm-up"
seeds = 2
[boards.cold.scenarios]
"load .5" = {cold = 2.0, load = 0.5, n_jobs = 300}
"""


def test_it_is_on_boards_and_their_pages(tmp_path, run, run_json):
    (tmp_path / "cold.toml").write_text(BOARD)
    (tmp_path / "agent.py").write_text("class A:\n    def act(self, seen):\n        return 0\n\nagent = A()\n")
    board = ("--board", tmp_path / "cold.toml", "--workers", "1")
    found = run_json("bench", *board, "--quick", "--out", tmp_path / "out")
    rows = found["tracks"]["cold"]["boards"]["cold"]["ranking"]
    score = {row["policy"]: row["score"]["mean"] for row in rows}
    assert score["fcfs"] == 0 and 0 < score["spjf"] < score["srpt"] <= 1
    assert "A server that cools down" in (tmp_path / "out" / "bench.html").read_text()
    kept = (*board, "--folder", tmp_path / "kept")
    assert run("leaderboard", "run", *kept)[0] == 0
    rows = run_json("leaderboard run", *kept, "--agent", tmp_path / "agent.py")["cold"]
    (agent,) = (row for row in rows if row["policy"] == "agent")
    assert agent["score"]["mean"] == pytest.approx(0)  # who always serves the earliest
    assert run("leaderboard", "render", *kept[:2], *kept[4:], "--out", tmp_path / "site")[0] == 0
    assert "A server that cools down" in (tmp_path / "site" / "index.html").read_text()

"""Learned policies: artefacts keep what they were given, kernels compute the network, and the zoo is fit to play."""

import importlib.util
import json
import os
import pickle
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from played import finish, same_outcome

from llmqueue_gym import _jit
from llmqueue_gym.distributions import size_law
from llmqueue_gym.envs.opened import baseline_agent
from llmqueue_gym.errors import BadInput
from llmqueue_gym.jobs import JOB, QUEUE
from llmqueue_gym.policies import POLICIES, policy
from llmqueue_gym.policies.dispatch import DISPATCH_POLICIES
from llmqueue_gym.policies.learned import load, read_card, save, zoo_folder
from llmqueue_gym.policies.learned.artefact import CARD, NUMBERS
from llmqueue_gym.policies.learned.cluster_order import cluster_order
from llmqueue_gym.policies.learned.dispatch_score import dispatch_score
from llmqueue_gym.policies.learned.network import Weights, random_weights, size, unpack
from llmqueue_gym.policies.learned.order import features, order
from llmqueue_gym.policies.learned.packing_order import packing_order
from llmqueue_gym.policies.learned.prefix_rank import prefix_rank
from llmqueue_gym.policies.learned.routing_score import routing_score
from llmqueue_gym.policies.learned.serving_rank import serving_rank
from llmqueue_gym.policies.packing import PACKING
from llmqueue_gym.policies.routing import ROUTING_POLICIES
from llmqueue_gym.policies.serving import SERVING_POLICIES
from llmqueue_gym.predictors import predictor
from llmqueue_gym.requests import REQUEST, SITE, SYSTEM
from llmqueue_gym.systems import Scenario
from llmqueue_gym.theory import analyse

ROOT = Path(__file__).parents[1]
CARD_OF_ORDER = {
    "name": "made-up",
    "kind": "order",
    "traits": {"preemptive": True, "shape": "falling"},
    "description": "SPRPT as a network.",
    "trained_on": {"size": "exponential"},
    "seeds": [[1_000_000, 1_000_001]],
    "command": "python nothing.py",
    "commit": None,
    "cost": {"seconds": 0.0},
    "curve": [],
}
REGISTRIES = {
    "order": POLICIES,
    "cluster-order": POLICIES,
    "packing": PACKING,
    "dispatch": DISPATCH_POLICIES,
    "serving": SERVING_POLICIES,
    "prefix-order": SERVING_POLICIES,
    "routing": ROUTING_POLICIES,
}
ZOO = sorted(path.parent for path in zoo_folder().glob(f"*/*/{CARD}"))
BY_NAME = {"argnames": "folder", "argvalues": ZOO, "ids": [folder.name for folder in ZOO]}


def direct(*linear, scale=1.0):
    """The vector of a network without hidden units."""
    n = len(linear)
    return Weights(np.array(linear, float), np.zeros((0, n)), np.zeros(0), np.zeros(0), scale).pack()


def evaluated(weights, x):
    """The network in NumPy, at features `(n, F)`."""
    z = x @ weights.weights.T + weights.bias
    return x @ weights.linear + (z / (1 + np.abs(z))) @ weights.out


# Artefacts.


def test_an_artefact_comes_back_as_it_was(tmp_path):
    params = random_weights(4, 5, np.random.default_rng(1), 2.5).pack()
    folder = save(tmp_path / "deep" / "made-up", params, CARD_OF_ORDER)
    made = load(folder)
    assert made.params == tuple(params) and made.name == "made-up" and made.shape == "falling"
    assert "python nothing.py" in made.source and read_card(folder) == CARD_OF_ORDER
    assert pickle.loads(pickle.dumps(made)) == made
    save(folder, direct(0, 0, 1, -1), CARD_OF_ORDER)  # replaced
    assert load(folder).params == tuple(direct(0, 0, 1, -1))
    assert [path.name for path in folder.parent.iterdir()] == ["made-up"]  # nothing half-made is left
    np.testing.assert_array_equal(unpack(params, 4).pack(), params)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "ordr"}, "did you mean 'order'"),
        ({"kind": 3}, "'kind' is missing or is not text"),
        ({"traits": {"preemptve": True}}, "preemptve"),
        ({"traits": {"shape": "round"}}, "shape='round'"),
        ({"traits": []}, "'traits' is missing or is not an object"),
        ({"command": " "}, "command that made the policy"),
        ({"seeds": [[10_000, 10_009]] * 500 + [[3, 9]]}, "seeds must be a list of pairs .*, not [3, 9]$"),
        ({"seeds": None}, "seeds must be a list of pairs .*, not None$"),
    ],
)
def test_a_bad_card_is_refused_in_one_line(tmp_path, change, words):
    folder = save(tmp_path / "made-up", direct(0, 0, 1, -1), CARD_OF_ORDER)
    (folder / CARD).write_text(json.dumps({**CARD_OF_ORDER, **change}))
    with pytest.raises(BadInput, match=words.replace("[", r"\[")) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        (direct(0, 0, 1), "5 numbers are not a network of 4 features"),
        (direct(0, 0, np.nan, -1), "finite"),
        (direct(0, 0, 1, -1, scale=0.0), "scale positive"),
        (np.zeros(0), "not a network"),
        (np.full(6, 1e300), "not a network"),
    ],
)
def test_bad_numbers_are_refused_in_one_line_and_not_kept(tmp_path, numbers, words):
    with pytest.raises(BadInput, match=words) as caught:
        save(tmp_path / "made-up", numbers, CARD_OF_ORDER)
    assert "\n" not in str(caught.value) and not (tmp_path / "made-up").exists()


def test_missing_and_broken_files_are_named(tmp_path):
    with pytest.raises(BadInput, match=r"card\.json: no such file"):
        load(tmp_path)
    folder = save(tmp_path / "made-up", direct(0, 0, 1, -1), CARD_OF_ORDER)
    (folder / NUMBERS).write_text("no numbers")
    with pytest.raises(BadInput, match=r"policy\.npz: not a file of an artefact"):
        load(folder)
    (folder / NUMBERS).unlink()
    with pytest.raises(BadInput, match=r"policy\.npz: no such file"):
        load(folder)
    (folder / CARD).write_text("{")
    with pytest.raises(BadInput, match="not JSON"):
        load(folder)


# The network.


@st.composite
def networks(draw, n_features):
    hidden = draw(st.integers(0, 4))
    numbers = draw(
        st.lists(st.floats(-3, 3), min_size=size(n_features, hidden) - 2, max_size=size(n_features, hidden) - 2)
    )
    return np.array([hidden, draw(st.floats(0.1, 10)), *numbers])


@settings(max_examples=5 if _jit.DISABLED else 30, deadline=None)
@given(params=networks(4), seed=st.integers(0, 2**32))
def test_the_compiled_rank_is_the_network(params, seed):
    """The engine writes down the rank that each job has at age 0; a policy without preemption never ranks it again."""
    made = order("made-up", params, "test", preemptive=False, shape="constant")
    run = Scenario(n_jobs=40).simulate(made, seed)
    x = features(run.jobs["predicted"], np.zeros(40), params[1])
    np.testing.assert_allclose(run.jobs["rank"], evaluated(unpack(params, 4), x), rtol=1e-9, atol=1e-9)
    job = np.zeros(1, JOB).view(np.recarray)[0]
    for job.predicted, job.age in [(0.0, 0.0), (0.3, 2.0), (5.0, 0.1)]:
        x = features(job.predicted, job.age, params[1])[None]
        assert made.rank(job, params) == pytest.approx(evaluated(unpack(params, 4), x)[0], rel=1e-9, abs=1e-9)


SHARED = {
    **{"lengths": "prefixes:texts=12,zipf=0.8,prefix=2048,own=lognormal:prompt=256;output=64"},
    **{"predictor": "exact", "rules": "vllm-v1:max_seqs=8,caching=vllm"},
}
CENTRAL = {"system": "central", "servers": 3, "patience": "exponential", "told": True, "load": 1.2}


@pytest.mark.parametrize(
    ("scenario", "made", "heuristic"),
    [
        ({"system": "mg1"}, order("x", direct(0, 0, 1, -1), "test", shape="falling"), "sprpt"),
        (CENTRAL, cluster_order("x", np.append(direct(0, 1, 0), 0.0), "test"), "spjf"),
        (CENTRAL, cluster_order("x", np.append(direct(0, 0, 0), 0.0), "test"), "fcfs"),  # all alike
        (
            {"system": "dispatch", "servers": 5},
            dispatch_score("x", direct(0, 0, 0, 0, 1, 0, 0, 0), "test", looks="sample", d=2),
            "least-work-left:d=2",
        ),
        (
            {"system": "packing", "predictor": "exponential"},
            packing_order("x", np.append(direct(0, 1, 0), 0.0), "test", packing="skip", preemptive=True),
            lambda job, params: job.predicted - job.age,
        ),
        (
            {
                "system": "replica",
                "size": "lognormal",
                "predictor": "exact",
                "rules": "vllm-v1:max_seqs=4",
                "rate": 4.0,
            },
            serving_rank("x", np.append(direct(0, 0, 1, 0), 0.0), "test"),
            "sjf",
        ),
        (
            {"system": "replica", **SHARED, "rate": 12.0},
            prefix_rank("x", np.append(direct(0, 1, 0, 0, 0, 0), 0.0), "test"),
            "shortest-uncached",
        ),
        (
            {"system": "fleet", "replicas": 3, **SHARED, "rate": 40.0},
            routing_score("x", direct(1, *[0] * 10), "test"),
            "least-outstanding",
        ),
        (
            {"system": "fleet", "replicas": 3, **SHARED, "rate": 40.0},
            routing_score("x", direct(0, 0, 1, *[0] * 8), "test"),
            lambda request, site, params: site.pending + request.prompt - site.cached,
        ),
    ],
)
def test_linear_networks_are_the_heuristics_that_they_express(scenario, made, heuristic):
    scenario = Scenario(**scenario, n_jobs=300)
    mine, theirs = (scenario.simulate(policy, 1) for policy in (made, heuristic))
    np.testing.assert_allclose(mine.outcome["completion"], theirs.outcome["completion"])


def test_closed_loop_and_env_agree_job_by_job():
    """The rank falls with age, as its weights on age and left are of one sign, so no rank has to be taken anew."""
    weights = random_weights(4, 6, np.random.default_rng(3))
    inner, out = np.abs(weights.weights), np.abs(np.random.default_rng(4).normal(size=6))
    inner[:, [1, 3]] *= -1
    params = Weights(np.array([0.3, -0.2, 0.5, -0.1]), inner, weights.bias, out, 1.0).pack()
    made, scenario = order("made-up", params, "test", shape="falling"), Scenario(n_jobs=200)
    env = scenario.env(slots=200)
    finish(env, baseline_agent(made, env).act_env, 5)
    run = scenario.simulate(made, 5)
    same_outcome(env.run(), run)
    assert run.outcome["preemptions"].sum() > 10


def test_a_change_of_the_network_reaches_the_rank_that_calls_it(tmp_path):
    """The cache of a C pointer is stale when any file of its folder changes, as that of a kernel is."""
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    helper = "from llmqueue_gym._jit import inner_kernel\n\n\n@inner_kernel\ndef helper(x):\n    return x + {}\n"
    (folder / "helper.py").write_text(helper.format(1))
    caller = "from made.helper import helper\n\n\ndef rank(job, params):\n    return helper(job.predicted)\n"
    (folder / "caller.py").write_text(caller)
    words = (
        "from llmqueue_gym._jit import pointer; from llmqueue_gym.jobs import JOB\n"
        "from llmqueue_gym.policies import policy; from llmqueue_gym.policies.base import Policy\n"
        "from llmqueue_gym.systems import Scenario; from made.caller import rank\n"
        "made = pointer(rank, (JOB,), True)\n"
        "Policy.compiled = lambda self: (made,)\n"
        "run = Scenario(n_jobs=3).simulate(Policy('x', rank, preemptive=False, shape='constant'), 1)\n"
        "print(round(run.jobs['rank'][0] - run.jobs['predicted'][0], 6), made.cache_hits)"
    )

    def run():
        env = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
        env.pop("NUMBA_DISABLE_JIT", None)
        done = subprocess.run([sys.executable, "-c", words], env=env, capture_output=True, text=True, check=True)
        return done.stdout.split()

    assert run() == ["1.0", "0"]
    assert run() == ["1.0", "1"]
    (folder / "helper.py").write_text(helper.format(10))
    assert run() == ["10.0", "0"]


# The zoo.


def row(kind, **columns):
    made = np.zeros(1, kind).view(np.recarray)[0]
    for name, value in columns.items():
        made[name] = value
    return made


def values(made, kind):
    """The rank or score on a grid."""
    params = np.array(made.params)
    for predicted in (0.0, 1e-9, 0.3, 1.0, 50.0, 1e6):
        for other in (0.0, 0.3, 50.0, 1e6):
            job = row(JOB, predicted=predicted, age=other, arrival=3.0, deadline=3.0 + other, need=4)
            patient = row(JOB, predicted=predicted, age=other, deadline=np.inf, need=1)
            if kind == "dispatch":
                queue = row(QUEUE, jobs=int(other), work=other, left=other / 2, alike=1, speed=0.5)
                yield made.score(job, queue, params)
            elif kind in ("serving", "prefix-order"):
                request = row(REQUEST, predicted=predicted, generated=int(other), prompt=7, cached=6, arrival=other)
                yield made.rank(request, row(SYSTEM), params)
            elif kind == "routing":
                request = row(REQUEST, predicted=predicted, prompt=7)
                site = row(SITE, work=other, pending=other, waiting=int(other), outstanding=int(other), cached=6)
                site.blocks, site.sites = 10, 1
                yield made.score(request, site, params)
            else:
                yield made.rank(job, params)
                yield made.rank(patient, params)


@pytest.mark.parametrize(**BY_NAME)
def test_every_entry_is_registered_finite_and_says_where_it_is_from(folder):
    card = read_card(folder)
    assert folder.parent.name == card["kind"] and folder.name == card["name"]
    made = REGISTRIES[card["kind"]].make(folder.name)
    assert made == load(folder) and made.name == folder.name
    assert np.isfinite(list(values(made, card["kind"]))).all()
    assert shlex.split(card["command"])[1].startswith("agents/")
    assert (ROOT / shlex.split(card["command"])[1]).is_file()
    assert all(10_000 <= first < end for first, end in card["seeds"])
    assert card["cost"]["seconds"] > 0 and len(card["curve"]) > 0


def test_no_name_of_the_zoo_is_taken():
    tables = {id(table): table for table in (POLICIES, *REGISTRIES.values())}.values()  # each registry once
    names = [name for table in tables for name in table if name.startswith("learned-")]
    assert len(names) == len(set(names)) and sorted(names) == sorted(folder.name for folder in ZOO)
    assert not [folder.name for folder in ZOO if not folder.name.startswith("learned-")]


def test_importing_the_package_reads_the_zoo_without_numba_or_torch():
    words = "import sys, llmqueue_gym.policies.serving; print(sorted({'numba', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(_jit.DISABLED, reason="too slow uncompiled")
@pytest.mark.parametrize(
    ("name", "law", "load_", "within"),
    [
        ("learned-gittins-exponential", "exponential", 0.8, 0.01),
        ("learned-gittins-weibull", "weibull:shape=0.5", 0.9, 0.02),
    ],
)
def test_an_order_learned_from_samples_is_nearly_gittins(name, law, load_, within):
    """By the exact mean response time of each; better than SPRPT, and within 1 % (2 % for Weibull) of the optimum."""
    exact = {
        p: analyse(policy(p), size_law(law), predictor("exponential"), load_).mean_response_time
        for p in (name, "gittins", "sprpt")
    }
    assert exact["gittins"] * (1 - 1e-3) <= exact[name] <= exact["gittins"] * (1 + within)
    assert exact[name] < exact["sprpt"]


def test_the_same_numbers_uncompiled():
    words = (
        "import numpy as np; from llmqueue_gym import Scenario, rollout\n"
        "from llmqueue_gym.policies.learned.network import random_weights\n"
        "from llmqueue_gym.policies.learned.order import order\n"
        "made = order('x', random_weights(4, 3, np.random.default_rng(1)).pack(), 'test')\n"
        "print(repr(rollout(made, Scenario(n_jobs=50), 1).response_times.sum()))"
    )
    found = set()
    for value in ("0", "1"):
        env = {**os.environ, "NUMBA_DISABLE_JIT": value}
        done = subprocess.run([sys.executable, "-c", words], env=env, capture_output=True, text=True, check=True)
        found.add(round(float(done.stdout.replace("np.float64(", "").rstrip(")\n")), 9))
    assert len(found) == 1


# Training again.

AGENTS = pytest.mark.skipif(
    _jit.DISABLED or not all(importlib.util.find_spec(name) for name in ("torch", "cma", "tyro", "tensorboard")),
    reason="training needs compiled kernels and the extra `train`: pip install 'llmqueue-gym[train]'",
)


def trained(tmp_path, script, *budget):
    command = [sys.executable, str(ROOT / "agents" / script), "--folder", ".", "--runs", "runs"]
    done = subprocess.run([*command, *budget], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@AGENTS
def test_evolution_leaves_an_artefact_and_goes_on_from_its_checkpoint(tmp_path):
    budget = ("--task", "dispatch", "--name", "learned-x", "--jobs", "500", "--checks", "3", "--population", "4")
    told = trained(tmp_path, "evolve_rank.py", *budget, "--generations", "2")
    folder = tmp_path / "dispatch" / "learned-x"
    assert "cost over that of the beginning" in told and len(read_card(folder)["curve"]) == 2
    trained(tmp_path, "evolve_rank.py", *budget, "--generations", "4", "--resume")
    card = read_card(folder)
    assert len(card["curve"]) == 4 and card["seeds"][0] == [1_000_000, 1_000_009]
    assert load(folder).looks == "sample" and (tmp_path / "runs" / "learned-x" / "checkpoint.json").is_file()


@AGENTS
def test_imitation_leaves_an_artefact(tmp_path):
    budget = "--pairs 1000 --hazard-steps 30 --fit-steps 30 --check-jobs 500 --check-seeds 2 --grid 20 --name learned-x"
    assert "mean response time over SPRPT's" in trained(tmp_path, "imitate_gittins.py", *budget.split())
    assert load(tmp_path / "learned-x").preemptive

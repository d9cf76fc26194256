"""Exported modules: they rank as the policies do, need nothing of the package, and are refused where they must be."""

import ast
import json
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from vllm_stubs import request

from llmqueue_gym._jit import kernel
from llmqueue_gym.errors import BadInput
from llmqueue_gym.export import export
from llmqueue_gym.export.chosen import chosen
from llmqueue_gym.policies.learned import zoo_folder
from llmqueue_gym.policies.serving import SERVING_POLICIES, ServingPolicy
from llmqueue_gym.requests import REQUEST, SYSTEM

RUNS_IN_VLLM = [
    "vllm-priority",
    "vllm-priority:by=stated",
    "sjf",
    "sjf-total",
    "ssjf",
    "tie",
    "gittins-lengths",
    "memory-time",
    "remaining-seconds",
    "class-priority",
    "edf",
    "sageserve-like",
    "learned-llm-azure-conv",
]
REFUSED = {
    "sprpt": "displaces",
    "srpt": "true lengths",
    "las": "one queue",
    "mc-sf": "peak",
    "vtc": "accounts",
    "hrrn-like": "request.cached",
    "least-laxity": "system.mean_step_time",
}
ALLOWED = {"collections", "math", "operator", "time", "numpy", "vllm"}


def rows(n, seed=0):
    """Return n random requests and replicas as policies are shown them."""
    rng = np.random.default_rng(seed)
    requests, systems = np.zeros(n, REQUEST), np.zeros(n, SYSTEM)
    for column in ("prompt", "generated", "computed", "klass", "priority", "preemptions"):
        requests[column] = rng.integers(1 if column == "prompt" else 0, 3 if column == "klass" else 4000, n)
    for column in ("predicted", "first_predicted", "lower", "upper", "weight"):
        requests[column] = rng.uniform(1, 3000, n)
    requests["arrival"] = rng.uniform(0, 1e4, n)
    requests["deadline"] = np.where(rng.random(n) < 0.3, np.inf, requests["arrival"] + rng.uniform(0, 100, n))
    systems["clock"] = requests["arrival"] + rng.exponential(60, n)
    return requests, systems


@kernel
def _values(function, requests, systems, params, out):
    for k in range(len(requests)):
        out[k] = function(requests[k], systems[k], params)


@pytest.mark.parametrize("spec", RUNS_IN_VLLM)
def test_ranks_are_those_of_the_compiled_policy(spec, tmp_path, load):
    module = load(export(spec, "vllm", tmp_path / "out"))
    one = chosen(spec)
    assert one.params == module.PARAMS
    requests, systems = rows(300)
    plain = [types.SimpleNamespace(**dict(zip(REQUEST.names, row.item(), strict=True))) for row in requests]
    replicas = [types.SimpleNamespace(**dict(zip(SYSTEM.names, row.item(), strict=True))) for row in systems]
    for field, function in zip(one.policy.functions, one.policy.compiled(), strict=True):
        if getattr(one.policy, field) is not None and field in ("rank", "victim"):
            wanted = np.empty(len(requests))
            _values(function, requests, systems, np.array(one.params), wanted)
            found = [
                getattr(module, field)(row, replica, module.PARAMS)
                for row, replica in zip(plain, replicas, strict=True)
            ]
            np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("spec", RUNS_IN_VLLM)
def test_needs_nothing_but_the_engine(spec, tmp_path):
    folder = export(spec, "vllm", tmp_path / "out")
    tree = ast.parse((folder / "llmqueue_scheduler.py").read_text())
    imported = [one.name for node in ast.walk(tree) if isinstance(node, ast.Import) for one in node.names]
    imported += [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert {name.partition(".")[0] for name in imported} <= ALLOWED
    assert {path.name for path in folder.iterdir()} == {"llmqueue_scheduler.py", "README.md", "card.json"}
    card = json.loads((folder / "card.json").read_text())
    assert card["run"] in (folder / "README.md").read_text()


@pytest.mark.parametrize("spec", REFUSED)
def test_what_the_engine_cannot_do_is_refused(spec, tmp_path):
    with pytest.raises(BadInput, match=REFUSED[spec]):
        export(spec, "vllm", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_is_the_same_each_time(tmp_path):
    one, other = (export("ssjf", "vllm", tmp_path / name) for name in ("a", "b"))
    assert all((one / path.name).read_text() == path.read_text() for path in other.iterdir())


def test_other_files_are_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    for bad in (tmp_path / "mine", tmp_path / "mine" / "thesis.txt", tmp_path / "none" / "there"):
        with pytest.raises(BadInput, match="--out"):
            export("sjf", "vllm", bad)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "x"
    export("sjf", "vllm", tmp_path / "out")
    assert "Tie" in (export("tie", "vllm", tmp_path / "out") / "README.md").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "out"]


TABLE = np.array([1.0, np.inf])


def Shown(x, scale=2.0):
    return x * scale + TABLE[0]


def test_function_with_helpers_constants_and_arrays(tmp_path, load):
    """Names of the template and of Python's modules are no trouble; a captured number is written out."""
    bonus = 3.0

    def mine(request, system, params):
        return Shown(request.predicted) - bonus * (system.clock - request.arrival)

    module = load(export(ServingPolicy.from_function(mine), "vllm", tmp_path / "out"))
    shown = types.SimpleNamespace(predicted=5.0, arrival=1.0)
    assert module.rank(shown, types.SimpleNamespace(clock=3.0), ()) == 11.0 - 6.0
    assert module.Mine.__mro__[-2].__name__ == "Base"


def test_scheduler_ranks_ages_and_preempts(tmp_path, load):
    module = load(export("ssjf:longest_wait=10", "vllm", tmp_path / "out"))
    scheduler = module.Ssjf()
    scheduler.now = lambda: 100.0
    scheduler.add_request(request(100.0, told={"predicted": 50}, name="long"))
    scheduler.add_request(request(100.0, told={"predicted": "5"}, name="short"))
    scheduler.add_request(request(100.0, told={"predicted": "no number"}, name="cap"))
    assert scheduler.in_order() == [(5.0, "short"), (50.0, "long"), (99.0, "cap")]
    scheduler.now = lambda: 111.0
    scheduler.schedule()
    assert [name for _, name in scheduler.in_order()] == ["cap", "long", "short"]  # all starve; equal arrivals, by name
    scheduler.running = [scheduler.waiting._heap.pop(), scheduler.waiting._heap.pop()]
    of_victims = {one.request_id: one.shown.predicted for one in scheduler.running}
    gone = scheduler.preempt()
    assert gone.shown.predicted == max(of_victims.values())
    assert scheduler.running[0].priority == min(of_victims.values())
    assert gone.priority == pytest.approx(-1e12)  # as one that waits


def test_queue_is_left_where_nobody_can_join(tmp_path, load):
    module = load(export("ssjf:longest_wait=10", "vllm", tmp_path / "out"))
    for blocks, ranked in ((1, False), (2, True)):  # 20 tokens take two
        scheduler = module.SsjfSync(free=blocks)
        scheduler.now = lambda: 0.0
        scheduler.add_request(request(told={"predicted": 5}, prompt=20))
        scheduler.now = lambda: 20.0
        scheduler.schedule()
        assert (scheduler.waiting._heap[0].priority < 0) == ranked


def test_order_that_does_not_age_is_never_ranked_again(tmp_path):
    text = (export("sjf", "vllm", tmp_path / "out") / "llmqueue_scheduler.py").read_text()
    assert "rank_again" not in text and "sort" not in text


def test_long_queue_is_ranked_in_parts(tmp_path, load):
    module = load(export("ssjf:longest_wait=10", "vllm", tmp_path / "out"))
    scheduler = module.Ssjf()
    scheduler.now = lambda: 0.0
    n = 3 * module.MOST_RANKED
    for k in range(n):
        scheduler.add_request(request(told={"predicted": k + 1}, name=f"{k:06d}"))
    scheduler.now, ranked = (lambda: 20.0), []
    for _ in range(8):
        scheduler.schedule()
        ranked.append(sum(one.priority < 0 for one in scheduler.waiting._heap))
    assert ranked[0] == module.MOST_RANKED and ranked[-1] > 2 * module.MOST_RANKED


def test_policy_is_shown_the_engine_as_it_is(tmp_path, load):
    def mine(request, system, params):
        return 1000.0 * system.iterations + 100.0 * system.running + 10.0 * system.waiting + system.free / system.blocks

    scheduler = load(export(ServingPolicy.from_function(mine), "vllm", tmp_path / "out")).Mine(free=50)
    for name in "abc":
        scheduler.add_request(request(name=name))
    assert [value for value, _ in scheduler.in_order()] == [0.5, 10.5, 20.5]  # each before it is there itself
    scheduler.running = [scheduler.waiting._heap.pop(0)]
    scheduler.schedule()
    assert {value for value, _ in scheduler.in_order()} == {120.5}


def test_predictions_made_anew(tmp_path, load):
    module = load(export("sjf", "vllm", tmp_path / "out"))
    for told in ([40, 30, 20], "40, 30,20"):
        given = request(told={"predicted": told, "predicted_every": 10})
        scheduler = module.Sjf()
        scheduler.add_request(given)
        seen = []
        for given.num_output_tokens in (0, 9, 10, 25, 99):
            seen.append(given.shown.predicted)
        assert seen == [40, 40, 30, 20, 20]


def test_predictor_in_the_engine_goes_before_what_is_stated(tmp_path, load):
    module, asked = load(export("sjf", "vllm", tmp_path / "out")), []

    class Mine(module.Sjf):
        predict_every = 10

        def predict(self, request):
            asked.append(request.num_output_tokens)
            return {0: 70.0, 12: None}.get(request.num_output_tokens, 50.0)

    given, scheduler, seen = request(told={"predicted": 40}), Mine(), []
    scheduler.add_request(given)
    for given.num_output_tokens in (0, 9, 12, 19, 20):
        seen.append((given.shown.predicted, given.shown.first_predicted))
    assert seen == [(70.0, 70.0), (70.0, 70.0), (70.0, 70.0), (70.0, 70.0), (50.0, 70.0)]
    assert asked == [0, 12, 20] and given.priority == 70.0


def test_wrong_order_of_the_engine_is_told(tmp_path, load):
    with pytest.raises(ValueError, match="--scheduling-policy priority"):
        load(export("sjf", "vllm", tmp_path / "out")).Sjf(order="fcfs")
    assert load(export("fcfs", "vllm", tmp_path / "out")).Fcfs(order="fcfs").policy.value == "fcfs"


def test_command_takes_names_files_and_folders(tmp_path):
    (tmp_path / "mine.py").write_text("def mine(request, system, params):\n    return -request.prompt\n")
    trained = zoo_folder() / "serving" / "learned-llm"
    for given in ("sjf", f"{tmp_path / 'mine.py'}:mine", str(trained)):
        out = ["--to", "vllm", "--out", str(tmp_path / "out"), "--json"]
        found = subprocess.run(
            [sys.executable, "-m", "llmqueue_gym.cli", "export", given, *out], capture_output=True, text=True
        )
        assert found.returncode == 0, found.stderr
        assert json.loads(found.stdout)["spec"] in (given, "mine")


def test_every_policy_is_exported_or_refused_in_one_line(tmp_path):
    for name in SERVING_POLICIES:
        try:
            assert Path(export(name, "vllm", tmp_path / "out")).is_dir()
        except BadInput as error:
            assert "\n" not in str(error)


def test_sglang_puts_its_queue_in_order(tmp_path):
    folder = export("shortest-uncached", "sglang", tmp_path / "out")
    assert "--schedule-policy lpm" in (folder / "README.md").read_text()
    assert 'llmqueue_order = "llmqueue_order:register"' in (folder / "pyproject.toml").read_text()
    module = types.ModuleType("exported")
    exec((folder / "llmqueue_order.py").read_text(), module.__dict__)
    queue, called = [sgl("a", 50, 10), sgl("b", 90, 85), sgl("c", 20, 0), sgl("d", 5, 0)], []
    module.ordered(lambda *given: called.append(given), "policy", queue, None)
    assert [req.rid for req in queue] == ["b", "d", "c", "a"] and called == [("policy", queue, None)]


def sgl(rid, prompt, cached):
    params = types.SimpleNamespace(custom_params=None, max_new_tokens=9)
    more = {"time_stats": types.SimpleNamespace(wait_queue_entry_time=1.0), "sampling_params": params, "priority": None}
    known = {"origin_input_ids": [0] * prompt, "output_ids": [], "num_matched_prefix_tokens": cached}
    return types.SimpleNamespace(rid=rid, **known, **more)


def test_sglang_refuses_what_it_decides_itself(tmp_path):
    with pytest.raises(BadInput, match="whom to preempt"):
        export("ssjf", "sglang", tmp_path / "out")


def test_what_requests_have_to_state_is_told(run, tmp_path):
    out = run("export", "edf", "--to", "priority-proxy", "--out", tmp_path / "out")[1]
    assert "each request states its deadline: see the README there" in out

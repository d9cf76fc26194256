"""Classes of requests: told in a line, drawn from a stream of their own, ordered by class or deadline, told apart."""

from dataclasses import replace

import numpy as np
import pytest
from crowded_replica import requests_of

from llmqueue_gym import Scenario
from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.classes import in_time
from llmqueue_gym.evaluation.serving import measure
from llmqueue_gym.policies.serving import serving_policy
from llmqueue_gym.requests import REQUEST, SYSTEM
from llmqueue_gym.systems.serve import serve
from llmqueue_gym.workloads.requests import TraceRequests
from llmqueue_gym.workloads.requests.classes import RequestClass, request_classes

TOLD = "interactive:0.72:10,batch:0.28:3600"
UNIT, SMALL = "unit:kv_tokens=100000", {"block_size": 1, "token_budget": 100_000}  # an iteration takes 1 s
ORDERS = ("class-priority", "edf", "least-laxity", "sageserve-like", "class-shares")


def test_classes_are_read_from_a_line():
    assert request_classes(TOLD) == (RequestClass("interactive", 0.72, 10.0), RequestClass("batch", 0.28, 3600.0))
    fast, rest = request_classes("fast:0.1:0.5:ttft; rest:0.9")
    assert fast == ("fast", 0.1, 0.5, "ttft") and rest == ("rest", 0.9, np.inf, "e2e")
    (only,) = request_classes("a::3")
    assert np.isnan(only.share) and only.deadline == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a:0.5:1,b:0.4:2", "the shares add up to 0.9, not to 1"),
        ("a:0.5,b", "give every class a share, or none"),
        ("a:0.5,a:0.5", "'a' is there twice"),
        ("a:half", "'a:half' has a number that is none"),
        ("a:1:-3", "the deadline -3 of 'a' must be positive"),
        ("a:1:3:tttf", "'tttf'; did you mean 'ttft'"),
        ("a:1:3:ttft:5", "'a:1:3:ttft:5' is none"),
        ("a:2", "the share 2 of 'a' must be above 0, and 1 at most"),
        ("", "'' is none"),
    ],
)
def test_wrong_classes_are_refused_in_one_line(text, message):
    with pytest.raises(BadInput, match=message) as error:
        request_classes(text)
    assert "\n" not in str(error.value)


def test_classes_are_drawn_from_their_own_stream_and_deadlines_follow_arrivals():
    plain = Scenario("replica", n_jobs=4000, rate=2.0)
    classed = Scenario("replica", n_jobs=4000, rate=2.0, classes=TOLD)
    without, drawn = plain.draw(3), classed.draw(3)
    rest = [name for name in REQUEST.names if name not in ("klass", "deadline", "_room")]
    for name in rest:
        np.testing.assert_array_equal(drawn.work[name], without.work[name])
    assert np.isinf(without.work["deadline"]).all() and not without.work["klass"].any()
    klass = drawn.work["klass"]
    assert abs((klass == 0).mean() - 0.72) < 4 * np.sqrt(0.72 * 0.28 / 4000)
    np.testing.assert_allclose(drawn.work["deadline"] - drawn.work["arrival"], np.array([10.0, 3600.0])[klass])
    assert (classed.draw(4).work["klass"] != klass).any()
    faster = Scenario("replica", n_jobs=4000, rate=8.0, classes=TOLD).draw(3).work
    np.testing.assert_array_equal(faster["klass"], klass)  # also where times are stretched
    np.testing.assert_allclose(faster["deadline"] - faster["arrival"], np.array([10.0, 3600.0])[klass])
    assert Scenario(f"replica:classes={TOLD.replace(',', ';')}").system.request_classes == request_classes(TOLD)


def test_requests_may_have_their_classes_already():
    workload = TraceRequests(np.arange(6.0), np.full(6, 5), np.full(6, 5), classes=np.arange(6) % 3)
    drawn = Scenario("replica", workload=workload, classes="a::1,b::2,c").draw(0).work
    assert drawn["klass"].tolist() == [0, 1, 2, 0, 1, 2]
    assert (drawn["deadline"] - drawn["arrival"]).tolist() == [1, 2, np.inf, 1, 2, np.inf]
    with pytest.raises(BadInput, match="2 classes are told, but there are requests of class 2"):
        Scenario("replica", workload=workload, classes="a::1,b::2").draw(0)
    with pytest.raises(BadInput, match="have deadlines, which nobody knows of clients"):
        Scenario("replica", concurrency=4, classes=TOLD)
    assert Scenario("replica", concurrency=4, classes="a:0.5,b:0.5", n_jobs=50).simulate("class-priority").done.all()


# Orders.


def served(policy, klass, deadlines, prompts=4, outputs=2, arrivals=0.0):
    """Return the order in which a single seat serves requests, and the run."""
    n = len(klass)
    given = requests_of(np.full(n, arrivals), np.full(n, prompts), np.broadcast_to(outputs, n), klass=klass)
    given.requests["deadline"] = deadlines
    run = serve(given, policy, UNIT, max_seqs=1, **SMALL)
    return np.argsort(run.outcome["scheduled"], kind="stable").tolist(), run


def test_strict_priority_and_earliest_deadline():
    klass, deadlines = [1, 0, 2, 0], [9.0, 30.0, np.inf, 20.0]
    assert served("class-priority", klass, deadlines)[0] == [1, 3, 0, 2]
    assert served("edf", klass, deadlines)[0] == [0, 3, 1, 2]
    inf = [np.inf] * 4
    for policy in ("edf", "least-laxity", "sageserve-like"):  # first come first served where nobody has a deadline
        assert served(policy, [0] * 4, inf)[0] == [0, 1, 2, 3]
    long = requests_of([0, 1.0], [4, 4], [50, 2], klass=[1, 0])
    for displaces, first in (("false", 0), ("true", 1)):
        run = serve(long, f"class-priority:displaces={displaces}", UNIT, max_seqs=1, **SMALL)
        assert np.argmin(run.outcome["completion"]) == first


def test_earliest_deadline_meets_what_can_be_met():
    """Jackson: one machine, all jobs there; if any order meets all deadlines, that of the deadlines does."""
    missed = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        outputs, order, deadlines = rng.integers(1, 9, 12), rng.permutation(12), np.empty(12)
        deadlines[order] = np.cumsum(outputs[order])
        assert in_time(served("edf", [0] * 12, deadlines, 1, outputs)[1]).all()
        missed += not in_time(served("fcfs", [0] * 12, deadlines, 1, outputs)[1]).all()
    assert missed == 20


def test_least_laxity_counts_the_work_that_is_left():
    p = serving_policy("least-laxity")
    system, request = np.zeros(1, SYSTEM).view(np.recarray)[0], np.zeros(1, REQUEST).view(np.recarray)[0]
    system.mean_step_time, params = 0.5, np.array([100.0])
    request.deadline, request.prompt, request.predicted = 60.0, 200, 20.0
    assert p.rank(request, system, params) == 60 - (2 + 20) * 0.5
    request.computed, request.generated = 204, 5
    assert p.rank(request, system, params) == 60 - (0.01 + 15) * 0.5
    # Of two deadlines the later one is first where more work is left; predictions are exact here.
    given = requests_of([0, 0, 0], [1, 1, 1], [5, 3, 40])
    given.requests["deadline"] = [1000.0, 60.0, 70.0]
    run = serve(given, "least-laxity", UNIT, max_seqs=1, **SMALL)
    assert np.argsort(run.outcome["scheduled"])[1] == 2  # when an iteration has been timed


@pytest.mark.parametrize(
    ("klass", "late", "tier"),
    [(0, 11.0, 0), (1, 11.0, 0), (0, -3.0, 1), (1, -3.0, 2), (5, -3.0, 2), (0, -8.0, 3), (1, -8.0, 4), (0, 9.0, 5)],
)
def test_sageserve_has_tiers(klass, late, tier):
    """Ten s are allowed: five are left when it becomes urgent, and ten too late is badly."""
    p = serving_policy("sageserve-like")
    system, request = np.zeros(1, SYSTEM).view(np.recarray)[0], np.zeros(1, REQUEST).view(np.recarray)[0]
    request.arrival, request.deadline, request.klass = 100.0, 110.0, klass
    system.clock = 110.0 + late
    assert p.rank(request, system, np.array(p.params)) == tier * 1e12 + 110
    request.klass = 2
    system.clock = 101.0
    assert p.rank(request, system, np.array(p.params)) == 6e12 + 110
    with pytest.raises(BadInput, match="urgent=2 must lie between 0 and 1"):
        serving_policy("sageserve-like:urgent=2")


def test_orders_serve_everybody_and_the_interactive_class_sooner():
    scenario = Scenario("replica", n_jobs=800, rate=20.0, classes=TOLD)  # overload, until all are there
    base, mean = scenario.simulate("fcfs", 0), {}
    for policy in ORDERS:
        run = scenario.simulate(policy, 0)
        assert run.done.all()
        mean[policy] = run.response_times[run.jobs["klass"] == 0].mean()
    fcfs = base.response_times[base.jobs["klass"] == 0].mean()
    assert all(mean[policy] < 0.9 * fcfs for policy in ("class-priority", "edf", "least-laxity", "sageserve-like"))


def test_agents_that_cannot_see_what_an_order_reads_refuse_it():
    scenario = Scenario("replica", n_jobs=10)
    view = scenario.env().unwrapped.view
    observation = scenario.env().reset(seed=0)[0]
    for policy, column in (("edf", "deadline"), ("class-priority", "klass"), ("vllm-priority:by=stated", "priority")):
        agent = scenario.system.agent(serving_policy(policy), scenario, view)
        with pytest.raises(BadInput, match=rf"reads request\.{column}, which observations do not hold"):
            agent.read(observation)


# What is told.


def test_who_is_in_time_depends_on_the_token_that_counts():
    given = requests_of([0, 0], [4, 4], [10, 10], klass=[0, 1])
    given.requests["deadline"] = [5.0, 5.0]
    run = serve(given, "fcfs", UNIT, **SMALL)
    assert in_time(run).tolist() == [False, False]  # done after 10 s
    told = replace(run, system=replace(run.system, classes="a::5:ttft,b::5"))
    assert in_time(told).tolist() == [True, False]


def test_measures_and_tables_name_the_classes(run, run_json, refused):
    options = f"--load 0.9 --requests 300 --classes {TOLD}"
    found = run_json(f"simulate replica --policy edf {options}")
    assert [row["class"] for row in found["by_class"]] == ["interactive", "batch"] and "by_tenant" not in found
    assert found["options"]["classes"] == TOLD and 0 <= found["by_class"][0]["in_time"] <= 1
    scenario = Scenario("replica", n_jobs=300, load=0.9, classes=TOLD)
    again = measure(scenario.simulate("edf", 0), warmup=0.1)
    assert again["by_class"][1]["e2e_p99"] == pytest.approx(found["by_class"][1]["e2e_p99"])
    status, shown, _ = run(*f"compare replica --policies fcfs,edf {options}".split())
    assert status == 0 and "by class" in shown and "batch" in shown and "between tenants" not in shown
    status, shown, _ = run(*["simulate", "replica", "--policy", "edf", "--load", "0.9", "--requests", "300"])
    assert status == 0 and "by class" not in shown
    assert "the shares add up to 0.5" in refused("simulate replica --policy edf --classes a:0.5")


def test_tenants_of_a_trace_are_shown(tmp_path, run):
    rows = "\n".join(f"{i / 50},{100 + i},20,{i % 2}" for i in range(200))
    (tmp_path / "t.csv").write_text(f"arrival_s,prompt_tokens,output_tokens,client\n{rows}\n")
    status, shown, _ = run("compare", "replica", "--policies", "fcfs,vtc", "--trace", tmp_path / "t.csv")
    assert status == 0 and "between tenants" in shown and "by tenant" in shown

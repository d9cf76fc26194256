"""Accounts of what tenants and classes have received: every admission as a slow reference has it, and VTC's bound."""

import numpy as np
import pytest
from crowded_replica import requests_of

from llmqueue_gym import Scenario
from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.classes import jain, service_by, service_difference, waits_throughout
from llmqueue_gym.evaluation.serving import measure
from llmqueue_gym.policies.serving import ServingPolicy, serving_policy
from llmqueue_gym.systems.serve import serve
from llmqueue_gym.workloads.requests import TraceRequests

UNIT, SMALL = "unit:kv_tokens=100000", {"block_size": 1, "token_budget": 100_000}  # an iteration takes 1 s


def some(seed, n=40, tenants=3, gap=4):
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.integers(0, gap, n))
    given = requests_of(arrivals, rng.integers(1, 20, n), rng.integers(1, 12, n), klass=rng.integers(0, 2, n))
    given.requests["tenant"] = rng.integers(0, tenants, n)
    return given


def by_hand(given, owners, seats, shares, lifts):
    """Serve requests one iteration after another, each 1 s, and return when they are done."""
    arrivals, prompts = given.requests["arrival"], given.requests["prompt"]
    counters = dict.fromkeys(owners.tolist(), 0.0)
    waiting, running, ends, t, come = [], {}, np.zeros(len(owners)), 0, 0
    while come < len(owners) or waiting or running:
        if not waiting and not running:
            t = max(t, int(arrivals[come]))
        while come < len(owners) and arrivals[come] <= t:
            mine, queued = owners[come], [owners[i] for i in waiting]
            if lifts and queued and mine not in queued:
                counters[mine] = max(counters[mine], min(counters[u] for u in queued))
            waiting.append(come)
            come += 1
        while waiting and len(running) < seats:
            i = min(waiting, key=lambda i: (counters[owners[i]], i))
            waiting.remove(i)
            running[i] = 0
            counters[owners[i]] += prompts[i] / shares.get(int(owners[i]), 1.0)
        t += 1
        for i in list(running):
            running[i] += 1
            counters[owners[i]] += 2 / shares.get(int(owners[i]), 1.0)
            if running[i] == given.outputs[i]:
                ends[i] = t
                del running[i]
    return ends


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("seats", [1, 3])
def test_who_is_admitted_next_is_as_by_hand(seed, seats):
    given = some(seed)
    lifts, weights = seed % 2 == 0, {0: 3.0, 1: 0.5} if seed % 3 == 0 else {}
    told = "3;0.5" if weights else ""
    run = serve(given, f"vtc:lift={str(lifts).lower()},weights={told}", UNIT, max_seqs=seats, **SMALL)
    wanted = by_hand(given, given.requests["tenant"], seats, weights, lifts)
    np.testing.assert_array_equal(run.outcome["completion"], wanted)
    by_class = serve(given, f"class-shares:shares={told}", UNIT, max_seqs=seats, **SMALL)
    np.testing.assert_array_equal(
        by_class.outcome["completion"], by_hand(given, given.requests["klass"], seats, weights, True)
    )


def test_one_tenant_is_first_come_first_served():
    given = some(1, tenants=1)
    runs = [serve(given, policy, UNIT, max_seqs=2, **SMALL) for policy in ("vtc", "fcfs")]
    np.testing.assert_array_equal(*(run.outcome["completion"] for run in runs))


def backlog(n=120):
    """Two tenants with all their requests there from the start: one sends many, first, and long ones."""
    owner = (np.arange(n) >= 80).astype(int)
    given = requests_of(np.zeros(n), np.where(owner, 5, 40), np.where(owner, 10, 30))
    given.requests["tenant"] = owner
    return given


def test_backlogged_tenants_are_within_the_bound_of_the_paper():
    """Theorem: two backlogged tenants differ by 2 max(longest prompt, 2 M) at most, M the tokens in a batch."""
    given, memory = backlog(), 300
    bound = 2 * max(40, 2 * memory)
    runs = {p: serve(given, p, f"unit:kv_tokens={memory}", **SMALL) for p in ("fcfs", "vtc")}
    difference = {}
    for policy, run in runs.items():
        both = run.outcome["scheduled"]  # until the last of either is admitted both are backlogged
        until = min(both[given.requests["tenant"] == k].max() for k in (0, 1))
        times = np.arange(0.0, until + 1)
        served = [service_by(run, given.requests["tenant"] == k, times) for k in (0, 1)]
        difference[policy] = np.abs(served[0] - served[1]).max()
    assert difference["vtc"] <= bound < difference["fcfs"]


def test_who_was_away_is_lifted_and_does_not_take_all():
    """Tenant 1 sends one request at once and many after 60 s, while tenant 0 always has some waiting."""
    arrivals = np.concatenate([np.zeros(61), np.full(40, 60.0)])
    given = requests_of(arrivals, np.ones(101, int), np.full(101, 2))
    given.requests["tenant"] = np.concatenate([np.zeros(60, int), np.ones(41, int)])
    turns = {}
    for lift in ("true", "false"):
        run = serve(given, f"vtc:lift={lift}", UNIT, max_seqs=1, **SMALL)
        back = run.outcome["scheduled"][given.requests["tenant"] == 1][1:]
        turns[lift] = int((back < 100).sum())  # of the 20 requests between 60 and 100 s
    assert turns == {"true": 10, "false": 20}


def test_shares_are_kept_where_both_classes_always_wait():
    given = requests_of(np.zeros(400), np.full(400, 10), np.full(400, 5), klass=np.arange(400) % 2)
    run = serve(given, "class-shares:shares=3;1", UNIT, max_seqs=1, **SMALL)
    first = np.argsort(run.outcome["scheduled"])[:160]
    assert (given.requests["klass"][first] == 0).sum() == 120


def test_a_function_of_ones_own_may_read_what_was_received():
    def least(request, system, params):
        return request.received

    given = some(3)
    runs = [serve(given, p, UNIT, max_seqs=2, **SMALL) for p in (least, "vtc")]
    np.testing.assert_array_equal(*(run.outcome["completion"] for run in runs))
    with pytest.raises(BadInput, match=r"reads request\.received, so it can neither merge"):
        ServingPolicy("mine", least, merged=True)
    with pytest.raises(BadInput, match="owners='classes'; did you mean 'class'"):
        ServingPolicy("mine", least, owners="classes")
    with pytest.raises(BadInput, match=r"vtc: weights='1;0' must be positive numbers"):
        serving_policy("vtc:weights=1;0")
    for wrong in (-1, 10**6):
        given.requests["tenant"][0] = wrong
        with pytest.raises(BadInput, match="number each tenant from 0 on"):
            serve(given, "vtc", UNIT)
    with pytest.raises(BadInput, match=r"reads request\.received, which agents see of classes"):
        scenario = Scenario("replica", n_jobs=10)
        scenario.system.agent(serving_policy("vtc"), scenario, scenario.env().unwrapped.view)


def test_nothing_is_lost_where_memory_is_short():
    given = some(5, n=200, gap=2)
    run = serve(given, "vtc", "unit:kv_tokens=60", max_seqs=8, **SMALL)
    assert run.done.all() and run.totals["preemptions"] > 0
    np.testing.assert_array_equal(run.jobs["generated"], given.outputs)


# What is told of a run.


def test_measures_of_service_are_as_by_hand():
    """One seat: tenant 0 has 20 s of work at once; tenant 1 sends 5 requests at 0, served last."""
    given = requests_of(np.zeros(15), np.full(15, 3), np.full(15, 2))
    given.requests["tenant"] = (np.arange(15) >= 10).astype(int)
    run = serve(given, "fcfs", UNIT, max_seqs=1, **SMALL)
    mine = given.requests["tenant"] == 0
    # A request: 3 when it is scheduled, 2 when its first token is there a second later, 2 more after another second.
    np.testing.assert_allclose(service_by(run, mine, np.array([-1, 0, 1, 1.5, 2, 20.0])), [0, 3, 5, 6, 10, 70])
    assert waits_throughout(run, mine, np.array([0.0, 5, 18, 18.5, 30])).tolist() == [True, True, False, False]
    assert waits_throughout(run, ~mine, np.array([-1.0, 5, 18, 28, 29])).tolist() == [False, True, True, False]
    # Both wait until 18 s, and tenant 1 gets nothing. Up to 0, 9 and 18 s tenant 0 has 3, 4 * 7 + 5 and 9 * 7 + 3.
    assert service_difference(run, 9.0) == pytest.approx(66 - 33)
    assert np.isnan(service_difference(run, 29.0))
    assert jain(np.array([1.0, 1, 1])) == 1 and jain(np.array([1.0, 0, 0, 0])) == 0.25


def test_tenants_are_told_only_where_there_are_several():
    given = some(2)
    found = measure(serve(given, "vtc", UNIT, max_seqs=2, **SMALL), ttft_slo=30.0)
    assert [row["tenant"] for row in found["by_tenant"]] == [0, 1, 2]
    assert sum(row["requests"] for row in found["by_tenant"]) == 40 == sum(row["done"] for row in found["by_class"])
    assert sum(row["goodput"] for row in found["by_tenant"]) == pytest.approx(found["goodput"])
    assert max(row["longest_wait"] for row in found["by_tenant"]) == found["longest_wait"]
    weights = np.array([row["requests"] for row in found["by_class"]])
    mean = np.dot(weights, [row["e2e_mean"] for row in found["by_class"]]) / 40
    assert mean == pytest.approx(found["e2e"]["mean"]) and 1 / 3 <= found["tenant_jain"] <= 1
    given.requests["tenant"] = given.requests["klass"] = 0
    plain = measure(serve(given, "fcfs", UNIT, max_seqs=2, **SMALL))
    assert not {"by_tenant", "by_class", "tenant_jain", "service_difference"} & set(plain)


@pytest.mark.parametrize("prefill", [0, 1])
def test_replicas_of_a_fleet_have_accounts_of_their_own(prefill):
    """One replica is the replica alone; where prompts are read elsewhere, who decodes charges the outputs alone."""
    given = some(7, n=60, gap=3)
    columns = given.requests["arrival"], given.requests["prompt"], given.outputs
    workload = TraceRequests(*columns, order="first", tenants=given.requests["tenant"])
    told = {"profile": UNIT, "rules": "vllm-v1:max_seqs=1", "workload": workload, "n_jobs": 60}
    runs = [Scenario("replica", **told).simulate(policy, 0) for policy in ("vtc", "fcfs")]
    if not prefill:
        one = Scenario("fleet", replicas=1, order="vtc", **told).simulate("round-robin", 0)
        np.testing.assert_array_equal(one.outcome["completion"], runs[0].outcome["completion"])
        assert (runs[0].outcome["completion"] != runs[1].outcome["completion"]).any()
    run = Scenario("fleet", replicas=2, prefill=prefill, order="vtc:weights=2;1", **told).simulate("round-robin", 0)
    assert run.done.all() and (run.jobs["generated"] == given.outputs).all()

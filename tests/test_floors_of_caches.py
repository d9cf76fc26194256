"""Nobody undercuts the floors where prompts are in caches, replicas differ, or deadlines are scored."""

from dataclasses import replace

import numpy as np
import pytest
from crowded_replica import requests_of

from llmqueue_gym import Scenario
from llmqueue_gym.errors import BadInput, NotApplicable
from llmqueue_gym.profiles.base import Profile
from llmqueue_gym.systems.base import Drawn
from llmqueue_gym.systems.fleet import Fleet
from llmqueue_gym.systems.replica import Replica
from llmqueue_gym.systems.serve import as_drawn
from llmqueue_gym.theory.clairvoyant import busy_server
from llmqueue_gym.workloads.contexts import of_blocks, of_sessions, shared_tokens


def latest(request, system, params):
    """Who came last is first, so that the earlier find what the later have left in the cache."""
    return -request.arrival


ORDERS = ["fcfs", latest, "longest-prefix", "shortest-uncached", "sprpt"]
FLEETS = """
model = ["Llama-3-8B", "Llama-3.1-8B"]

[[replica]]
count = 2
profile = "a100-llama3-8b:kv_tokens=800"
rules = "vllm-v1:max_seqs=4{caching}"

[[replica]]
profile = "h100-llama3.1-8b:kv_tokens=1600"
rules = "vllm-v1:max_seqs=16{caching}"
"""


def drawn_sessions(rng, n=30, longest=60):
    """Return requests of a few sessions whose prompts go on from one another, some at one time."""
    arrivals = np.sort(rng.uniform(0, rng.choice([0.01, 1, 10]), n))
    prompts, outputs = rng.integers(1, longest, n), rng.integers(1, 40, n)
    prefixes = rng.integers(0, longest, n) if rng.random() < 0.5 else None
    contexts = of_sessions(rng.integers(4, size=n).tolist(), np.arange(n), prompts, outputs, prefixes)
    predicted = np.maximum(1, outputs * rng.lognormal(0, 0.5, n))
    klass = rng.integers(2, size=n)
    return as_drawn(requests_of(arrivals, prompts, outputs, predicted, klass=klass)._replace(contexts=contexts))


def drawn_profile(rng):
    """Return a roofline of a replica of 400 tokens, some of whose costs are nothing."""
    scale = [0.01, 0.01, 1e-3, 1e-4, 1e-4] * (rng.random(5) < 0.7)
    numbers = rng.exponential(1, 5) * scale + [1e-4, 0, 0, 0, 0]
    return Profile("drawn", "any", "any", "roofline", numbers, 400, 1e5, "drawn")


@pytest.mark.parametrize("caching", ["vllm", "radix"])
@pytest.mark.parametrize("order", ORDERS, ids=lambda order: getattr(order, "__name__", order))
def test_no_order_undercuts_the_floor_of_a_replica_that_caches(order, caching):
    for seed in range(8):
        rng = np.random.default_rng(seed)
        block = int(rng.choice([1, 4]))
        rules = f"vllm-v1:caching={caching},token_budget=24,max_seqs={rng.choice([2, 64])},block_size={block}"
        replica, drawn = Replica(drawn_profile(rng), rules), drawn_sessions(rng)
        run = replica.simulate(drawn, replica.policies(order))
        if run.reason != "drained":
            continue
        cost, floor = replica.numbers(run)["cost"], replica.bound(drawn)
        assert 0 < floor <= cost * (1 + 1e-9)
        alone = replace(replica, rules=replica.rules.replace(f"caching={caching}", "caching=none"))
        assert floor <= alone.bound(drawn) * (1 + 1e-9)


@pytest.mark.parametrize("caching", ["vllm", "radix"])
def test_who_comes_alone_and_finds_all_that_others_have_meets_the_floor(caching):
    """All but the first, so that no hit may be counted as less; a floor without hits would be undercut by far."""
    n, law = (
        40,
        Profile("drawn", "any", "any", "roofline", np.array([0.01, 8e-3, 1e-3, 1e-5, 1e-6]), 2000, 1e5, "drawn"),
    )
    contexts = of_blocks([["all", f"own {i}"] for i in range(n)], np.full(n, 305), 300)
    given = requests_of(100.0 * np.arange(n), np.full(n, 305), np.full(n, 3))._replace(contexts=contexts)
    replica = Replica(law, f"vllm-v1:caching={caching},block_size=1")
    cost = replica.numbers(replica.simulate(as_drawn(given), replica.policies("fcfs")))["cost"]
    floor, without = replica.bound(as_drawn(given)), replica.bound(as_drawn(given._replace(contexts=None)))
    assert floor == pytest.approx(cost - (without - floor) / n, rel=1e-9) and cost < 0.5 * without


@pytest.mark.parametrize("caching", ["", ",caching=vllm"])
@pytest.mark.parametrize("router", ["round-robin", "least-kv", "llm-d", "cache-aware-like"])
def test_no_router_undercuts_the_floor_of_replicas_that_differ(router, caching, tmp_path):
    file = tmp_path / "fleet.toml"
    file.write_text(FLEETS.format(caching=caching))
    for seed in range(4):
        rng = np.random.default_rng(seed)
        fleet, work = Fleet(fleet=str(file), order=str(rng.choice(["fcfs", "sprpt"]))), drawn_sessions(rng, 60, 300)
        drawn = Drawn(work.work, {**work.truth, "choices": np.zeros((60, 0), int), "ties": rng.random(60)})
        run = fleet.simulate(drawn, fleet.policies(router))
        assert run.done.all() and 0 < fleet.bound(drawn) <= fleet.numbers(run)["cost"] * (1 + 1e-9)
        if not caching:  # as good as the best in every number
            parts = {"profile": "h100-llama3.1-8b:kv_tokens=1600", "rules": "vllm-v1:max_seqs=16"}
            best = replace(fleet, fleet=None, replicas=3, **parts)
            assert fleet.bound(drawn) == pytest.approx(best.bound(drawn), rel=1e-12)


@pytest.mark.parametrize("order", ["fcfs", "edf", "class-priority", "sjf-total", pytest.param(latest, id="latest")])
def test_no_order_undercuts_the_floor_of_deadlines(order):
    for seed in range(8):
        rng = np.random.default_rng(seed)
        classes = str(rng.choice(["a::0.5:ttft,b::20", "a::1,b::1", "a::3,b::0.2"]))
        rules = f"vllm-v1:token_budget=24,max_seqs={rng.choice([1, 4, 64])}"
        replica = Replica(drawn_profile(rng), rules, classes=classes, scored="deadlines")
        drawn = drawn_sessions(rng)
        run = replica.simulate(drawn, replica.policies(order))
        if run.reason != "drained":
            continue
        cost, floor = replica.numbers(run)["cost"], replica.bound(drawn)
        assert 0 < floor <= cost * (1 + 1e-9)
        plain = replace(replica, scored="latency")
        if classes == "a::1,b::1":  # a second over a second allowed
            assert cost == plain.numbers(run)["cost"] and floor <= plain.bound(drawn) * (1 + 1e-12)


def test_what_is_scored_is_the_time_to_the_token_of_the_deadline():
    replica = Replica(classes="first::2:ttft,all::10", scored="deadlines")
    given = requests_of([0.0, 0.5], [10, 20], [3, 4], klass=[0, 1])
    run = replica.simulate(as_drawn(given), replica.policies("fcfs"))
    first, last = run.outcome["first_token"][0], run.outcome["completion"][1] - 0.5
    assert replica.numbers(run)["cost"] == pytest.approx((first / 2 + last / 10) / 2)
    assert replica.cost == "mean time taken over the time allowed" != Replica().cost


def test_one_server_serves_most_weight_over_work():
    arrivals, work, weights = np.array([0.0, 1.0]), np.array([4.0, 6.0]), np.array([1.0, 3.0])
    # 1 interrupts 0 from 1 to 7; 0 is served from 0 to 1 and from 7 to 10.
    means = [(1 * 0.5 + 3 * 8.5) / 4, 3 * (4 - 1)]
    assert busy_server(arrivals, work, weights, False)[1] == pytest.approx(np.mean(means))
    assert busy_server(arrivals, work, weights, False)[0] == pytest.approx((10 + 3 * 6) / 2)


@pytest.mark.parametrize("seed", range(3))
def test_a_floor_counts_what_others_have_before_or_after(seed):
    drawn = drawn_sessions(np.random.default_rng(seed))
    replica = Replica(rules="vllm-v1:caching=vllm")
    same = shared_tokens(drawn.truth["contexts"], drawn.sizes)
    backwards = drawn_sessions(np.random.default_rng(seed))
    assert same.max() > 0 and replica.bound(drawn) == replica.bound(backwards)
    lonely = Drawn(drawn.work, {name: t for name, t in drawn.truth.items() if name != "contexts"})
    assert replica.bound(drawn) < replica.bound(lonely)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"scored": "deadline"}, "scored='deadline'; did you mean 'deadlines'"),
        ({"scored": "deadlines"}, "needs classes that all have one, not classes=None"),
        ({"scored": "deadlines", "classes": "a:0.5:3,b:0.5"}, "needs classes that all have one"),
    ],
)
def test_what_cannot_be_scored_is_told_in_a_line(fields, told):
    with pytest.raises(BadInput, match=told):
        Scenario("replica", rate=1.0, **fields)


def test_no_floor_where_replicas_decide_in_turns():
    with pytest.raises(NotApplicable, match="no floor is known under the rule set 'distserve'"):
        Scenario("fleet", rate=1.0, n_jobs=10, profile="distserve-opt-13b-tp1", rules="distserve").bound(0)

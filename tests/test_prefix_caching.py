"""Prefix caching and the asynchronous scheduler of a replica, beyond the decisions of `test_vllm_fidelity`."""

import random

import numba
import numpy as np
import pytest
from fidelity import vllm
from reference_vllm import Stuck, VllmReference, linear_cost, random_case

from llmqueue_gym._jit import kernel
from llmqueue_gym.engines.batching.blocks import cached_tokens
from llmqueue_gym.engines.batching.cache import END, PREFIX, USERS, free_blocks
from llmqueue_gym.engines.batching.closed_loop import proceed
from llmqueue_gym.engines.batching.prefixes import mixed
from llmqueue_gym.engines.batching.rule_sets import rule_set
from llmqueue_gym.engines.batching.rules import Rules
from llmqueue_gym.engines.batching.tables import ENDLESS
from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.watch import watch
from llmqueue_gym.policies.serving import serving_policy
from llmqueue_gym.requests import OUTPUT, SEGMENT, Contexts, Requests, never_refreshed, request_table
from llmqueue_gym.systems import Scenario
from llmqueue_gym.systems.replica_tables import kernel_arguments, loaded
from llmqueue_gym.systems.serve import as_drawn, placed, serve

CASES = 120
KEYS = ("id", "arrival", "prompt", "out", "priority", "segs")


def cached_case(number, **changes):
    """Return a random case with prefix caching: its configuration, its requests, and what the rules give."""
    rng = random.Random(1000 + number)
    while True:
        config, requests = random_case(rng)
        config |= {"enable_prefix_caching": True, **changes}
        reference = VllmReference(config, config["version"], linear_cost(config["c0"], config["c1"]))
        try:
            reference.run(requests)
        except Stuck:
            continue
        return config, requests, reference


def served(config, requests):
    """Return what `serve` takes."""
    rows = [dict(zip(KEYS, request, strict=True)) for request in requests]
    return vllm.as_served({"config": config, "vllm": config["version"]}, rows)[2:]


def after(given, policy, profile, rules):
    """Return the tables of a replica that has served all."""
    place, chosen = placed(policy, profile, rules, {})
    bound = place.under(chosen).bound_rules
    replica = loaded(as_drawn(given), bound)
    *loop, functions = kernel_arguments(chosen, place.cost_profile, bound)
    proceed(0, replica, *loop, 0, 0, *functions, ENDLESS)
    return replica


@numba.njit
def held(r, size, found):
    for i in range(len(found)):
        found[i] = cached_tokens(r.cells, r.state[0], r.requests[i], r.truth[i].path, size)


@pytest.mark.parametrize("part", range(4))
def test_unwatched_runs_by_the_plain_rules(part):
    """Many iterations are passed at once here, which are looked at one by one where decisions are compared."""
    for number in range(part * CASES // 4, (part + 1) * CASES // 4):
        config, requests, reference = cached_case(number, async_scheduling=False)
        ends, hits = {}, 0
        for call in reference.calls:
            ends |= dict.fromkeys(call[7], call[1] + config["c0"] + config["c1"] * call[11])
            hits += sum(tokens for _, tokens, _ in call[4])
        run = serve(*served(config, requests))
        assert run.outcome["completion"].tolist() == [ends[i] for i in range(len(requests))], f"{number}: {config}"
        assert run.totals["hit_tokens"] == hits
        assert run.totals["preemptions"] == sum(len(call[5]) for call in reference.calls)


@pytest.mark.parametrize("ahead", [False, True])
def test_all_blocks_come_back_and_hold_what_the_plain_rules_say(ahead):
    for number in range(CASES // 2):
        config, requests, reference = cached_case(number, async_scheduling=ahead)
        replica = after(*served(config, requests))
        cells, size = replica.cells, config["block_size"]
        free = free_blocks(replica, 0)
        assert (cells[free + USERS] <= 0).all()
        assert replica.system["free"][0] == replica.system["blocks"][0] == len(set(free.tolist()))
        order = (cells[free + PREFIX] != 0).tolist()
        assert order == [block["prefix"] is not None for block in reference.pool.queue]
        before, found = cells.copy(), np.zeros(len(requests), np.int64)
        held(replica, size, found)
        tokens = [reference.request(*request)["tokens"] for request in requests]
        assert found.tolist() == [len(reference.pool.hits(own)) * size for own in tokens]
        assert (cells == before).all()


def test_a_prompt_is_looked_up_and_its_row_told():
    pieces = np.array([(7, 0, 40), (7, 0, 40), (7, 0, 33)], SEGMENT)
    table = request_table(np.array([0.0, 100.0, 200.0]), np.array([40, 40, 33]))
    outputs = np.array([8, 1, 1])
    contexts = Contexts(pieces, np.arange(4), OUTPUT + np.arange(3))
    given = Requests(table, outputs, never_refreshed(3), contexts)
    run = serve(given, "fcfs", "unit", Rules(blocks=40, caching="vllm"))
    assert run.jobs["cached"].tolist() == [0, 32, 32]
    assert run.totals["hit_tokens"] == 64
    assert serve(given, "fcfs", "unit", Rules(blocks=40)).jobs["cached"].tolist() == [0, 0, 0]
    alone = serve(given._replace(contexts=None), "fcfs", "unit", Rules(blocks=40, caching="vllm"))
    assert alone.totals["hit_tokens"] == 0


def test_blocks_that_are_found_again_and_again_stay_in_order():
    """The queue of free blocks goes round its ring many times, over the gaps that hits leave."""
    n = 200
    pieces = np.zeros(n, SEGMENT)
    pieces["text"], pieces["length"] = np.arange(n) % 3, 33
    contexts = Contexts(pieces, np.arange(n + 1), OUTPUT + np.arange(n))
    table = request_table(100.0 * np.arange(n), np.full(n, 33))
    given = Requests(table, np.full(n, 5), never_refreshed(n), contexts)
    rules = Rules(blocks=40, block_size=4, caching="vllm")
    assert serve(given, "fcfs", "unit", rules).totals["hit_tokens"] == 32 * (n - 3)
    replica = after(given, "fcfs", "unit", rules)
    assert len(set(free_blocks(replica, 0).tolist())) == 40
    ring = int(replica.state["bucket_mask"][0]) + 1
    assert replica.cells[int(replica.state["queue"][0]) + END] > 2 * ring


def test_a_talk_goes_on_from_the_output_of_its_last_turn():
    pieces = np.array([(1, 0, 10), (1, 0, 10), (OUTPUT, 0, 22), (2, 0, 5)], SEGMENT)
    contexts = Contexts(pieces, np.array([0, 1, 4]), OUTPUT + np.arange(2))
    given = Requests(request_table(np.array([0.0, 100.0]), [10, 37]), np.array([23, 1]), never_refreshed(2), contexts)
    run = serve(given, "fcfs", "unit", Rules(blocks=40, block_size=4, caching="vllm"))
    assert run.jobs["cached"].tolist() == [0, 32]  # the keys and values of the last output token are not computed


def test_the_asynchronous_scheduler_puts_a_step_together_when_the_one_before_begins():
    given = Requests(request_table(np.array([0.0]), 5), np.array([3]), never_refreshed(1))
    calls = list(watch(given, "fcfs", "unit", Rules(blocks=40, asynchronous=True)))
    times, tokens = [call.clock for call in calls], [sum(n for _, n in call.scheduled) for call in calls]
    assert tokens == [5, 1, 1, 0]
    assert times[:2] == [0.0, 0.0]
    assert times[2:] == np.cumsum([run for run in _durations(given)][:2]).tolist()
    by_itself = Rules(blocks=40, asynchronous=True, ends_known=False)
    calls = list(watch(given, "fcfs", "unit", by_itself))
    assert [sum(n for _, n in call.scheduled) for call in calls] == [5, 1, 1, 1]  # the last one is dropped
    assert [call.finished for call in calls] == [[], [], [0], []]
    assert (
        serve(given, "fcfs", "unit", by_itself).outcome["completion"]
        == serve(given, "fcfs", "unit").outcome["completion"]
    )


def _durations(given):
    """Return how long the iterations of a replica take that looks one step ahead, s."""
    clocks = [call.clock for call in watch(given, "fcfs", "unit", Rules(blocks=40))]
    return np.diff(clocks)


def test_environments_cache_prefixes():
    env = Scenario("replica", rules="vllm-v1:caching=vllm,asynchronous=true", n_jobs=30, load=0.5).env()
    _, info = env.reset(seed=1)
    over = False
    while not over:
        _, _, terminated, truncated, info = env.step(int(np.argmax(info["action_mask"])))
        over = terminated or truncated
    assert env.run().done.all()
    with pytest.raises(BadInput, match="cannot move blocks"):
        Scenario("replica", rules="vllm-v1:caching=vllm", n_jobs=30).env(decides="evict")


@pytest.mark.parametrize("ahead", ["false", "true"])
def test_a_fleet_of_one_is_the_replica(ahead):
    """Requests that were preempted find here what they had computed."""
    told = {"rules": f"vllm-v1:caching=vllm,asynchronous={ahead}", "profile": "a100-llama3-8b:kv_tokens=9000"}
    told |= {"rate": 6.0, "n_jobs": 200, "max_tokens": 4096}
    alone = Scenario("replica", **told).simulate("fcfs", 2)
    one = Scenario("fleet", replicas=1, **told).simulate("least-outstanding", 2)
    assert alone.totals["hit_tokens"] > 0
    for name in ("scheduled", "first_token", "completion"):
        np.testing.assert_array_equal(one.outcome[name], alone.outcome[name])


def test_nobody_is_handed_over_by_the_asynchronous_scheduler():
    with pytest.raises(BadInput, match="too late to hand anybody over"):
        Scenario("fleet", replicas=2, prefill=1, rules="vllm-v1:asynchronous=true")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("vllm-v1:caching=lru", "caching='lru'"),
        ("static:asynchronous=true", "asynchronous=true has no place beside allocation=longest"),
        ("vllm-v1:caching=vllm,preemption=swap", "caching=vllm has no place beside preemption=swap"),
    ],
)
def test_what_cannot_go_together_is_refused(spec, words):
    with pytest.raises(BadInput, match=words):
        rule_set(spec)


def test_a_policy_that_reserves_memory_is_refused():
    given = Requests(request_table(np.array([0.0]), 5), np.array([3]), never_refreshed(1))
    reserving = next(name for name in ("s3-like", "a-max") if serving_policy(name).admission == "reserve")
    with pytest.raises(BadInput, match="reserves or moves memory"):
        serve(given, reserving, "unit", "vllm-v1:caching=vllm,blocks=40")


@kernel
def number_all(pieces, found):
    for k in range(len(pieces)):
        found[k] = mixed(pieces[k, 0], pieces[k, 1], pieces[k, 2], pieces[k, 3])


def test_prefixes_that_differ_have_numbers_that_differ():
    told = np.array([(p, text, start, 16) for p in (1, 2) for text in range(50) for start in range(0, 1600, 16)])
    found = np.zeros(len(told), np.int64)
    number_all(told, found)
    seen = set(found.tolist())
    assert len(seen) == 2 * 50 * 100
    assert all(0 <= one < 2**63 for one in seen)

"""Small fleets agree request by request with a slow simulator, whose replica agrees with vLLM's rules."""

import random
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from random_fleets import MERGED, UNIT, Case, draw_case
from random_members import PLAIN, STEERED
from reference_fleet import Fleet
from reference_vllm import OUTPUT as OUTPUT_TEXT
from reference_vllm import Stuck, VllmReference, linear_cost
from reference_vllm import random_case as random_call_log

from llmqueue_gym import _jit
from llmqueue_gym.engines.batching.rule_sets import rule_set
from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.routing import ROUTING_POLICIES
from llmqueue_gym.policies.serving import ServingPolicy
from llmqueue_gym.profiles import Profile
from llmqueue_gym.requests import BOTH, DECODE, OUTPUT, PREFILL, never_refreshed, request_table
from llmqueue_gym.systems import Drawn, Scenario
from llmqueue_gym.systems.control import NEVER
from llmqueue_gym.systems.fleet import Fleet as System
from llmqueue_gym.systems.members import Member, Plan

CASES, STEERED_CASES, PARTS = 120, 48, 4
VERSIONS = {"vllm-v1": "0.33.0", "vllm-0.19.1": "0.19.1"}
TEXTS = OUTPUT - OUTPUT_TEXT  # what is the output of request 0 has another number in logs


@pytest.fixture(scope="module", autouse=True)
def _compiled():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_jit, "pointer", cache(_jit.pointer))  # the wild functions read no globals
        yield


def agree(case):
    """Check that the engine and the slow simulator say the same of a case; return why the run ended."""
    run, slow = case.fleet.simulate(case.drawn, case.router, unit=UNIT), Fleet(case.fleet, case.router, UNIT)
    requests = slow.run(case.drawn)
    assert run.reason == slow.reason
    if run.reason == "livelock":  # other replicas may have gone on meanwhile
        return run.reason
    for column in ("scheduled", "first_token", "completion"):
        told = np.array([getattr(one, column) for one in requests])
        np.testing.assert_allclose(
            run.outcome[column], np.where(told < np.inf, told, np.nan), rtol=1e-12, err_msg=column
        )
    for column in ("site", "preemptions", "generated", "blocks"):
        np.testing.assert_array_equal(run.jobs[column], [getattr(one, column) for one in requests], column)
    assert run.totals["transfers"] == slow.moves
    assert run.totals["iterations"] == sum(one.iterations for one in slow.replicas)
    assert run.totals["on_time"] == pytest.approx(sum(slow.steering.paid()))
    return run.reason


def agree_one_by_one(case):
    """Check that each replica serves what was sent to it as the reading of vLLM's rules does; return why the run ended.

    Its requests come when they were sent to it, in that order.
    """
    run = case.fleet.simulate(case.drawn, case.router)
    contexts, jobs = case.drawn.truth["contexts"], run.jobs
    for q, member in enumerate(case.fleet.members):
        mine = np.flatnonzero(jobs["site"] == q)
        mine = mine[
            np.argsort(jobs["place"][mine] if case.fleet.discipline.rank else jobs["ready"][mine], kind="stable")
        ]
        calls = []
        for i in mine.tolist():
            pieces = contexts.segments[contexts.first[i] : contexts.first[i + 1]].tolist()
            pieces = [(text - TEXTS if text >= OUTPUT else -1 - text, *rest) for text, *rest in pieces]
            job = jobs[i]
            calls.append((i, job["ready"], int(job["prompt"]), int(case.drawn.sizes[i]), int(job["priority"]), pieces))
        _, base, token, *_ = member.profile.numbers.tolist()
        config, cost = as_config(member.rules, case.fleet.discipline), linear_cost(base, token)
        reference = VllmReference(config, config["version"], cost)
        try:
            told = reference.run(calls)
        except Stuck:
            assert run.reason == "livelock"
            return run.reason
        if run.reason != "drained":
            continue
        ends, end = {}, 0.0
        for _, t, *call in told:  # one computes after the other, two of which may have been put together
            end = max(t, end) + (cost(call[-1]) if call[-1] else 0.0)
            ends |= dict.fromkeys(call[5], end)
        assert run.outcome["completion"][mine] == pytest.approx([ends[i] for i in mine.tolist()], abs=1e-8)
    return run.reason


def as_config(rules, order):
    """Return the header of a log of these rules."""
    told = {"num_blocks": rules.blocks + 1, "block_size": rules.block_size, "max_num_active_seqs": None}
    told |= {"max_num_batched_tokens": rules.token_budget, "max_num_seqs": rules.max_seqs}
    told |= {"max_model_len": rules.longest, "enable_chunked_prefill": rules.chunked, "watermark": rules.watermark}
    told |= {"policy": "fcfs" if order.rank is None else "priority", "version": VERSIONS[rules.name]}
    told |= {"long_prefill_token_threshold": rules.long_prefill_threshold, "async_scheduling": rules.asynchronous}
    told |= {"scheduler_reserve_full_isl": rules.reserve_known, "enable_prefix_caching": rules.caching != "none"}
    return told | {"stop": "max_tokens" if rules.ends_known else "eos"}


@pytest.mark.parametrize("part", range(PARTS))
def test_small_fleets_agree_request_by_request(part):
    for number in range(part * CASES // PARTS, (part + 1) * CASES // PARTS):
        case = draw_case(np.random.default_rng([7, number]), PLAIN)
        assert agree(case) in ("drained", "horizon", "livelock"), f"case {number}: {case}"


@pytest.mark.parametrize("part", range(PARTS))
def test_small_fleets_that_are_steered_agree_request_by_request(part):
    for number in range(part * STEERED_CASES // PARTS, (part + 1) * STEERED_CASES // PARTS):
        case = draw_case(np.random.default_rng([7, number]), STEERED)
        assert agree(case) in ("drained", "horizon", "livelock"), f"case {number}: {case}"


def test_the_slow_replica_follows_vllms_rules():
    rng, compared = random.Random(5), 0
    for _ in range(100):
        config, calls = random_call_log(rng)
        config |= {"enable_prefix_caching": False, "async_scheduling": False}
        calls = [call[:5] for call in calls]  # without what they share
        rules = as_rules(config)
        table = request_table(np.array([t for _, t, *_ in calls]), np.array([p for _, _, p, *_ in calls]))
        table["priority"] = [k for *_, k in calls]
        order = "vllm-priority:by=stated" if config["policy"] == "priority" else "fcfs"
        profile = roofline(config["c0"], config["c1"])
        fleet = planned([Member(profile, rules)], order=order)
        slow = Fleet(fleet, ROUTING_POLICIES("round-robin"))
        requests = slow.run(drawn_of(table, [out for _, _, _, out, _ in calls]))
        reference = VllmReference(config, config["version"], linear_cost(config["c0"], config["c1"]))
        try:
            told = reference.run(calls)
        except Stuck:
            assert slow.reason == "livelock"
            continue
        ends = {i: t + linear_cost(config["c0"], config["c1"])(call[-1]) for _, t, *call in told for i in call[5]}
        assert [one.completion for one in requests] == pytest.approx([ends[i] for i in range(len(ends))], abs=1e-8)
        compared += 1
    assert compared > 80


def as_rules(config):
    """Return the rules of the header of a log."""
    told = {"blocks": config["num_blocks"] - 1, "block_size": config["block_size"], "patience": 1000}
    told |= {"token_budget": config["max_num_batched_tokens"], "chunked": config["enable_chunked_prefill"]}
    told |= {"max_seqs": config["max_num_active_seqs"] or config["max_num_seqs"], "watermark": config["watermark"]}
    told |= {"max_model_len": config["max_model_len"], "reserve_known": config["scheduler_reserve_full_isl"]}
    told["long_prefill_threshold"] = config["long_prefill_token_threshold"]
    return replace(rule_set({version: name for name, version in VERSIONS.items()}[config["version"]]), **told)


def roofline(seconds, per_token=0.0, kv_bytes=1.0):
    """A replica whose iterations take a constant time, and a time for each token."""
    return Profile("plain", "", "", "roofline", np.array([0.0, seconds, per_token, 0.0, 0.0]), 1000, kv_bytes, "a test")


def planned(members, latency=0.0, byte_time=0.0, **told):
    """Return a fleet of these replicas, and of links that are alike."""
    shape = (len(members), len(members))
    plan = Plan(tuple(members), np.full(shape, latency), np.full(shape, byte_time))
    return System(**{"rules": members[0].rules, "profile": members[0].profile, "order": "fcfs", **told}, fleet=plan)


def drawn_of(table, outputs, replicas_shown=0):
    """Return requests whose predictions are exact, for routers that look at all replicas."""
    n = len(table)
    for column in ("predicted", "first_predicted", "lower", "upper"):
        table[column] = outputs
    truth = {"sizes": np.array(outputs, np.int64), "refreshed": never_refreshed(n), "ties": np.zeros(n)}
    return Drawn(table, {**truth, "choices": np.zeros((n, replicas_shown), np.int64)})


def readers_and_writers(readers, writers, router, times, prompts, outputs, rules=None, **told):
    """Serve requests at replicas that read and others that decode; return the run and whether the reference agrees."""
    rules = rules or replace(rule_set("vllm-v1"), blocks=1000, block_size=1, token_budget=2048, max_seqs=64)
    profile = roofline(1 / 64, 1 / 512)
    members = [Member(profile, rules, role) for role in (PREFILL,) * readers + (DECODE,) * writers]
    fleet = planned(members, **told)
    case = Case(fleet, ROUTING_POLICIES(router), drawn_of(request_table(np.array(times), np.array(prompts)), outputs))
    agree(case)
    return fleet.simulate(case.drawn, case.router)


def test_a_fleet_of_one_ends_at_its_horizon_what_it_has_begun():
    given = {"profile": "a100-llama3-8b:kv_tokens=16000", "rate": 5.0, "n_jobs": 30, "max_tokens": 1000, "cut_off": 1.0}
    alone = Scenario("replica", **given).simulate("fcfs", 2)
    one = Scenario("fleet", replicas=1, order="fcfs", **given).simulate("round-robin", 2)
    assert alone.reason == one.reason == "horizon"
    np.testing.assert_array_equal(one.jobs["generated"], alone.jobs["generated"])
    assert one.totals["clock"] == alone.totals["clock"]


def test_who_goes_on_takes_turns_of_its_own():
    run = readers_and_writers(1, 3, "round-robin", [0.0] * 6, [10] * 6, [9] * 6, handover="round-robin")
    assert sorted(run.jobs["site"].tolist()) == [1, 1, 2, 2, 3, 3]


def test_whoever_hands_over_sees_the_last_report():
    # The second is read long after the first has begun to decode, and long after anybody has arrived.
    rules = replace(rule_set("vllm-v1"), blocks=1000, block_size=1, token_budget=64, max_seqs=1)
    told = {"handover": "least-kv", "staleness": 1 / 4}
    run = readers_and_writers(1, 2, "round-robin", [0.0, 0.0], [10, 900], [400, 9], rules=rules, **told)
    assert run.jobs["site"].tolist() == [1, 2]


def test_prompts_on_their_way_count_as_outstanding():
    told = {"handover": "least-tokens", "latency": 10.0}
    run = readers_and_writers(1, 2, "round-robin", [0.0, 0.0], [10, 10], [9, 9], **told)
    assert sorted(run.jobs["site"].tolist()) == [1, 2]


def test_who_comes_first_to_decode_is_first_there():
    # The long prompt came first, and is read last; one seat decodes them in the order in which they were read.
    rules = replace(rule_set("vllm-v1"), blocks=1000, block_size=1, token_budget=2048, max_seqs=1)
    run = readers_and_writers(
        3, 1, "round-robin", [0.0, 0.0, 0.0], [500, 10, 20], [9, 900, 9], rules=rules, handover="least-kv"
    )
    assert run.outcome["completion"][2] < run.outcome["completion"][0]


def test_a_request_alone_beside_caches_that_wait_goes_on():
    # Caches that wait take all memory but a little; without room for all it knows it would go and come for ever.
    told = {"blocks": 30, "block_size": 1, "token_budget": 4, "max_seqs": 1, "reserve_known": False, "patience": 500}
    rules = replace(rule_set("vllm-v1"), **told)
    run = readers_and_writers(2, 1, "round-robin", [0.0, 0.0, 0.0], [5, 11, 11], [20, 3, 3], rules=rules)
    assert run.reason == "drained"


def test_caches_that_wait_are_given_up_where_admission_goes_past_those_that_do_not_fit():
    # Each of two that came from elsewhere is predicted to need more than the other leaves.
    rules = replace(rule_set("vllm-v1"), blocks=10, block_size=1, token_budget=64, max_seqs=4)
    order = ServingPolicy("reserves", admission="reserve", skips=True)
    members = [Member(roofline(1 / 64), rules, PREFILL)] * 2 + [Member(roofline(1 / 64), rules, DECODE)]
    fleet = planned(members, order=order)
    run = fleet.simulate(
        drawn_of(request_table(np.zeros(2), np.array([4, 4])), [6, 6]), ROUTING_POLICIES("round-robin")
    )
    assert run.reason == "drained" and run.done.all()


def test_caches_that_wait_are_given_up_where_the_next_by_its_account_does_not_fit():
    # The second of two served here comes fresh, and finds the room taken by the cache of one who is behind it in line.
    rules = replace(rule_set("vllm-v1"), blocks=20, block_size=1, token_budget=64, max_seqs=1)
    members = [Member(roofline(1 / 64), rules, PREFILL), Member(roofline(1 / 64), rules, BOTH)]
    table = request_table(np.zeros(4), np.array([9, 2, 1, 12]), tenant=np.array([1, 0, 3, 2]))
    fleet = planned(members, order="vtc")
    run = fleet.simulate(drawn_of(table, [3, 6, 1, 2]), ROUTING_POLICIES("round-robin"))
    assert run.jobs["site"].tolist() == [1, 1, 0, 1]
    assert run.reason == "drained" and run.done.all()


def test_replicas_that_read_alone_let_go_of_a_batch():
    static = replace(rule_set("static"), blocks=100, block_size=1, max_model_len=50)
    members = [Member(roofline(1 / 64), static, PREFILL), Member(roofline(1 / 64), static, DECODE)]
    with pytest.raises(BadInput, match="rules 'static' never let go of a batch: prefill needs"):
        planned(members)


def test_nobody_goes_on_where_its_output_is_at_its_end():
    short = {"blocks": 100, "block_size": 1, "token_budget": 64, "max_seqs": 4}
    rules = replace(rule_set("vllm-v1"), **short)
    members = [Member(roofline(1 / 64), rules, PREFILL), Member(roofline(1 / 64), rules, DECODE)]
    members.insert(1, Member(roofline(1 / 64), replace(rules, max_model_len=10), DECODE))
    fleet, router = planned(members), ROUTING_POLICIES("round-robin")
    drawn = drawn_of(request_table(np.zeros(2), np.array([9, 8])), [5, 5])
    case = Case(fleet, router, drawn)
    assert agree(case) == "drained"
    run = fleet.simulate(drawn, router)
    assert (run.jobs["generated"][run.jobs["site"] == 1] + run.jobs["prompt"][run.jobs["site"] == 1] == 10).all()
    assert run.jobs["site"][0] == 2


def test_a_prompt_that_is_not_cut_goes_where_it_fits_the_budget():
    whole = replace(rule_set("vllm-v1"), blocks=100, block_size=1, token_budget=20, max_seqs=4, chunked=False)
    members = [Member(roofline(1 / 64), whole, BOTH), Member(roofline(1 / 64), replace(whole, token_budget=80), BOTH)]
    fleet, router = planned(members), ROUTING_POLICIES("round-robin")
    drawn = drawn_of(request_table(np.zeros(4), np.array([10, 30, 30, 15])), [5, 5, 5, 5])
    run = fleet.simulate(drawn, router)
    assert run.done.all() and (run.jobs["site"][1:3] == 1).all()
    assert agree(Case(fleet, router, drawn)) == "drained"


def test_who_waits_for_memory_begins_at_the_very_instant_at_which_a_transfer_frees_it():
    # Transfers take no time here, so that their ends come at an instant at which the source has tried before.
    assert agree(draw_case(np.random.default_rng([1, 1560]), PLAIN)) == "drained"


def test_who_is_swapped_out_before_its_last_token_is_read_goes_on_all_the_same():
    # Lost with 7 tokens of output, the long one has 16 of 17 tokens again when the short one takes its memory.
    step, told = 1 / 64, {"blocks": 45, "block_size": 1, "token_budget": 8, "max_seqs": 4, "preemption": "swap"}
    rules = replace(rule_set("vllm-v1"), **told)
    fleet = planned([Member(roofline(step), rules, PREFILL), Member(roofline(step), rules, DECODE)], order=MERGED)
    drawn, router = drawn_of(request_table(np.array([0, 10 * step]), np.array([10, 40])), [30, 1]), "round-robin"
    drawn.truth["vanishing"] = np.array([(8.5 * step, 1)], NEVER.dtype)
    case = Case(fleet, ROUTING_POLICIES(router), drawn)
    run = fleet.simulate(drawn, case.router)
    assert run.jobs["preemptions"][0] == 1 and run.jobs["site"].tolist() == [1, 0]
    assert agree(case) == "drained"

"""Fleets lose no request and no room: where replicas batch in ways of their own, hand over nothing, or are gone."""

from dataclasses import replace

import numba
import numpy as np
import pytest
from test_fleet_reference import drawn_of, planned, roofline

from llmqueue_gym.engines.batching.rule_sets import rule_set
from llmqueue_gym.engines.fleet import tables
from llmqueue_gym.engines.fleet.agenda import go_on
from llmqueue_gym.engines.fleet.transfers import hand_over
from llmqueue_gym.errors import BadInput, NotApplicable
from llmqueue_gym.evaluation.fleet import groups
from llmqueue_gym.policies.routing import ROUTING_POLICIES
from llmqueue_gym.profiles import Profile
from llmqueue_gym.requests import BOTH, DECODE, PREFILL, request_table
from llmqueue_gym.systems.control import NEVER, noted
from llmqueue_gym.systems.members import Member

STEP = 1 / 64  # s of an iteration
PASSES = replace(rule_set("vllm-v1"), blocks=100, block_size=1, token_budget=64, max_seqs=4)
BLOCKS = replace(rule_set("splitwise"), blocks=100, horizon=1000.0)
TURNS = replace(rule_set("distserve"), blocks=100)


def case(roles, rules, prompts, outputs, vanishing=(), times=None, **told):
    """Return a fleet of replicas in these roles, and what is drawn: all come at once, or at times; replicas vanish."""
    fleet = planned([Member(roofline(STEP), rules, role) for role in roles], **told)
    table = request_table(np.zeros(len(prompts)) if times is None else np.array(times), np.array(prompts))
    drawn = drawn_of(table, outputs)
    drawn.truth["vanishing"] = np.array(list(vanishing), NEVER.dtype)
    return fleet, drawn


def served(fleet, drawn, router="round-robin"):
    """Return a run that gave everybody all tokens and kept no memory."""
    run = fleet.simulate(drawn, ROUTING_POLICIES(router))
    assert run.reason == "drained" and run.done.all()
    np.testing.assert_array_equal(run.jobs["generated"], drawn.sizes)
    assert (run.jobs["blocks"] == 0).all()
    return run


def promised_at_the_end(fleet, drawn, router):
    """Return how many requests and blocks each replica is promised when all are done."""
    f, r, course, rest, _ = fleet.loaded(drawn, ROUTING_POLICIES(router))
    f = noted(f, drawn.truth["vanishing"])
    while go_on(0, f, r, course, *rest, 1000) != tables.OVER:
        pass
    requests = f.members["promised"] - (r.state["done"] - f.members["pulled"])
    return requests.tolist(), (f.members["reserved"] - r.state["fulfilled"]).tolist()


@pytest.mark.parametrize("roles", [(BOTH,), (PREFILL, DECODE)])
def test_requests_whose_first_blocks_hold_all_their_tokens_are_served_once(roles):
    rules = replace(BLOCKS, block_size=16, blocks=40)
    served(*case(roles, rules, [9, 20, 10, 31, 8, 3], [1, 2, 3, 9, 1, 30], times=np.arange(6) / 16))


@pytest.mark.parametrize("block_size", [1, 16])
def test_who_is_done_is_not_lost_with_its_replica(block_size):
    fleet, drawn = case((BOTH,), replace(BLOCKS, block_size=block_size), [9, 9], [1, 30], [(9 * STEP, 0)], start_up=1.0)
    run = served(fleet, drawn)
    assert run.totals["lost"] == 1 and run.outcome["completion"][0] == STEP


def test_who_has_just_been_read_counts_once():
    times = [0.0, STEP / 2, STEP]
    run = served(*case((BOTH, BOTH), BLOCKS, [10, 15, 9], [9, 9, 9], times=times), "least-tokens")
    assert run.jobs["site"][2] == run.jobs["site"][0] != run.jobs["site"][1]


@pytest.mark.parametrize("block_size", [1, 16])
def test_whoever_nobody_takes_over_goes_on_where_it_was_read(block_size):
    rules = replace(BLOCKS, block_size=block_size)
    short = replace(rules, max_model_len=10)
    members = [Member(roofline(STEP), rules, PREFILL), Member(roofline(STEP), short, DECODE)]
    run = served(planned(members), drawn_of(request_table(np.zeros(2), np.array([10, 12])), [9, 3]))
    assert run.jobs["site"].tolist() == [0, 0] and run.totals["transfers"] == 0


SHORT = replace(PASSES, max_model_len=10)


def test_whoever_only_one_that_reads_can_hold_is_sent_there_even_if_little_is_missing():
    members = [Member(roofline(STEP), SHORT, DECODE), Member(roofline(STEP), PASSES, PREFILL)]
    run = served(planned(members, local_below=20), drawn_of(request_table(np.zeros(1), np.array([12])), [3]))
    assert run.jobs["site"].tolist() == [1] and run.totals["transfers"] == 0


@pytest.mark.parametrize("router", ["round-robin", "mixed-pool"])
def test_whoever_only_one_of_another_role_can_hold_waits_until_that_one_is_on(router):
    def control(seen, memory):
        return [0, 1, 1 if seen.clock < 8 * STEP else 2]

    members = [
        Member(roofline(STEP), rules, role) for rules, role in ((SHORT, PREFILL), (SHORT, DECODE), (PASSES, DECODE))
    ]
    fleet = planned(members, controller=control, tick=2 * STEP, start_up=4 * STEP)
    run = served(fleet, drawn_of(request_table(np.array([3 * STEP]), np.array([12])), [3]), router)
    assert run.jobs["site"].tolist() == [2] and run.outcome["scheduled"][0] >= 12 * STEP


def test_who_has_all_tokens_and_waits_for_its_batch_is_done_when_the_replica_is_gone():
    rules = replace(TURNS, allocation="longest", request_level=True)
    times = [0.0, 0.0, np.inf]
    given = {"start_up": 1.0, "concurrency": 2}
    run = served(*case((BOTH,), rules, [5, 5, 5], [2, 9, 3], [(4.5 * STEP, 0)], times, **given))
    assert run.totals["lost"] == 1 and run.outcome["completion"][0] == run.jobs["arrival"][2] == 4.5 * STEP


def test_who_comes_back_to_one_that_reads_and_finds_its_prompt_cached_goes_on_elsewhere():
    # The one that was to decode it vanishes: all but a token is found where it is read again.
    rules = replace(PASSES, caching="radix")
    fleet, drawn = case((PREFILL, DECODE), rules, [60], [6], [(1.5 * STEP, 1)], start_up=0.0)
    run = served(fleet, drawn)
    assert run.jobs["site"].tolist() == [1] and run.totals["transfers"] == 2
    assert promised_at_the_end(fleet, drawn, "round-robin") == ([0, 0], [0, 0])


# The last of all ends before anything else is due, before a report of its replica, and after the horizon.
@pytest.mark.parametrize("given", [{}, {"staleness": 99 * STEP}, {"cut_off": 1.0}], ids=["alone", "report", "horizon"])
def test_room_is_no_longer_promised_where_the_first_token_is_the_last(given):
    for router in ("least-reserved", "mixed-pool"):
        told = promised_at_the_end(*case((PREFILL, DECODE), PASSES, [9, 8, 20], [1, 5, 1], **given), router)
        assert told == ([0, 0], [0, 0])
        told = promised_at_the_end(*case((PREFILL, DECODE), PASSES, [9], [1], times=[STEP], **given), router)
        assert told == ([0, 0], [0, 0])


def test_room_is_promised_where_a_request_goes_on_that_was_to_go_elsewhere():
    members = [Member(roofline(STEP), PASSES, PREFILL), Member(roofline(STEP), replace(PASSES, blocks=9), DECODE)]
    _, drawn = case((BOTH,), PASSES, [9, 8], [6, 5])
    assert promised_at_the_end(planned(members), drawn, "round-robin") == ([0, 0], [0, 0])


def test_what_a_replica_was_promised_is_forgotten_with_it():
    # Two are being read when the one that was to decode them vanishes; it is back before they are.
    fleet, drawn = case((PREFILL, DECODE, DECODE), PASSES, [60, 60], [6, 5], [(STEP / 2, 1)], start_up=0.0)
    assert promised_at_the_end(fleet, drawn, "mixed-pool") == ([0] * 3, [0] * 3)


@numba.njit(error_model="numpy")
def hand_to_the_second(f, r, course):
    hand_over(0, f, r, f.fleet[0].subject, 1, course)


def test_who_goes_on_at_a_replica_that_reads_is_promised_once():
    # As an agent may want. There is no room for both to the end; the one that is preempted is read there again.
    fleet, drawn = case((PREFILL, PREFILL, DECODE), PASSES, [40, 40], [20, 20])
    f, r, course, (conduct, _, *functions), _ = fleet.loaded(drawn, ROUTING_POLICIES("round-robin"))
    hands = 0
    while (ask := go_on(0, f, r, course, conduct, tables.HANDS, *functions, 1000)) != tables.OVER:
        if ask == tables.HAND:
            hand_to_the_second(f, r, course)
            hands += 1
    assert hands == 3 and r.requests["preemptions"].sum() == 1 and (r.requests["site"] == 1).all()
    assert (f.members["promised"] == r.state["done"] - f.members["pulled"]).all()
    assert (f.members["reserved"] == r.state["fulfilled"]).all()


def test_who_goes_on_waits_for_one_that_decodes_rather_than_for_one_that_reads():
    gone = [(STEP / 2, 1), (STEP / 2, 2)]
    fleet, drawn = case((PREFILL, PREFILL, DECODE), PASSES, [60], [6], gone, start_up=4 * STEP)
    run = served(fleet, drawn)
    assert run.jobs["site"].tolist() == [2] and run.totals["transfers"] == 1


def test_no_start_is_called_off_for_which_somebody_waits():
    # Both that decode start anew when one of them is wanted no more: not the latest, as all wait there.
    def control(seen, memory):
        return [0, 1, 2 if seen.clock < 3 * STEP else 1]

    given = {"controller": control, "tick": 2 * STEP, "start_up": 16 * STEP}
    gone = [(STEP / 2, 2), (STEP / 2, 1)]
    rules = replace(PASSES, patience=300)
    run = served(*case((PREFILL, DECODE, DECODE), rules, [60, 60, 60], [6, 6, 6], gone, **given))
    assert (run.jobs["site"] == 1).all() and run.totals["transfers"] == 3


@pytest.mark.parametrize("roles", [(BOTH,), (PREFILL, DECODE)])
def test_what_was_promised_to_whoever_forgets_its_prompt_is_what_is_left_of_it(roles):
    rules = replace(rule_set("vidur-sarathi"), blocks=24, block_size=1, token_budget=4, max_seqs=4)
    fleet, drawn = case(roles, rules, [3, 19], [18, 3])
    run = fleet.simulate(drawn, ROUTING_POLICIES("least-reserved"))
    assert (run.jobs["prompt"] < drawn.work["prompt"]).any() or len(roles) > 1
    assert promised_at_the_end(fleet, drawn, "least-reserved") == ([0] * len(roles), [0] * len(roles))


def test_pipelines_are_told_apart_by_their_number_in_the_fleet():
    profile = Profile("pipe", "", "", "distserve", np.full(24, 1 / 4096), 1000, 1.0, "a test")
    members = [Member(profile, replace(TURNS, stages=2), BOTH, name) for name in "ab"]
    fleet = planned(members)
    run = served(fleet, drawn_of(request_table(np.zeros(4), np.full(4, 9)), [5, 5, 5, 5]))
    assert sorted(run.jobs["site"].tolist()) == [0, 0, 1, 1]
    assert [group["requests"] for group in groups(run)] == [2, 2]


def test_transfers_wait_for_no_memory_where_none_is_looked_at():
    served(*case((PREFILL, DECODE), replace(TURNS, blocks=10), [30, 40], [5, 5]))


WHOLE = replace(PASSES, chunked=False, token_budget=10, long_prefill_threshold=12)


@pytest.mark.parametrize("rules", [WHOLE, replace(TURNS, token_budget=10)])
def test_a_prompt_that_is_never_cut_is_with_output_that_was_lost(rules):
    run = served(*case((BOTH,), rules, [9, 9], [20, 20], [(12 * STEP, 0)], start_up=1.0))
    assert run.totals["lost"] == 2


def test_a_controller_that_leaves_off_who_alone_could_serve_comes_to_an_end():
    rules = replace(PASSES, patience=50)
    members = [Member(roofline(STEP), replace(rules, max_model_len=10)), Member(roofline(STEP), rules)]
    fleet = planned(members, controller=lambda seen, memory: [1, 0, 0], tick=1.0)
    run = fleet.simulate(drawn_of(request_table(np.zeros(2), np.array([5, 20])), [5, 5]), ROUTING_POLICIES("random"))
    assert run.reason == "livelock" and run.done.tolist() == [True, False]


def test_nobody_moves_out_of_a_pipeline():
    profile = Profile("pipe", "", "", "distserve", np.full(24, 1 / 4096), 1000, 1.0, "a test")
    with pytest.raises(BadInput, match="batching=turns, in which nobody moves: migrate_every needs batching=passes"):
        planned([Member(profile, replace(TURNS, stages=2), BOTH)] * 2, migrate_every=1.0)


def test_no_floor_is_told_for_rules_that_go_beyond_their_seats():
    # All four prompts are read in one iteration, whatever the seats.
    rules = replace(TURNS, max_seqs=1)
    fleet, drawn = case((BOTH,), rules, [5] * 4, [1] * 4)
    assert (served(fleet, drawn).outcome["completion"] == STEP).all()
    with pytest.raises(NotApplicable, match="no floor is known under the rule set 'distserve'"):
        fleet.bound(drawn)

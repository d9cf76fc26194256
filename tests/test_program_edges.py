"""Programs at the edges: who stops last, roots that come late, gangs that orders would part, tables that are none."""

import numpy as np
import pytest
from test_programs import constant, drawn

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.programs import PROGRAM_POLICIES
from llmqueue_gym.programs import Answers, check_programs
from llmqueue_gym.requests import NO_ANSWER, Programs
from llmqueue_gym.systems import Scenario
from llmqueue_gym.systems.programs import ProgramFleet

FCFS = PROGRAM_POLICIES("fcfs")


def table(program, parents):
    """Return programs of calls, each with its parents, without gaps."""
    first = np.concatenate([[0], np.cumsum([len(one) for one in parents])])
    rows = np.array([row for one in parents for row in one], np.int64)
    n = len(program)
    return Programs(np.array(program), rows, first, np.zeros(n), np.full(n, -1))


def answering(given, cluster, programs):
    """Add answers, all right, to what is drawn."""
    n = len(cluster)
    nothing = np.zeros(n), np.full(programs, np.nan), np.full(programs, -1), np.ones(programs, bool)
    given.truth["answers"] = Answers(np.array(cluster), np.ones(n, bool), *nothing)
    return given


def test_the_last_program_ends_with_its_call_where_a_rule_stops_it_then():
    law = "self-consistency:n=3,output=1,sigma=0,branch_sigma=0,instruction=400,accuracy=1"
    scenario = Scenario("reasoning", law=law, rate=1.0, n_programs=3)
    never, majority = (scenario.simulate(policy, 0) for policy in ("never", "majority"))
    np.testing.assert_array_equal(never.response_times, majority.response_times)
    assert scenario.system.numbers(majority)["cost"] >= scenario.bound(0)


def test_a_call_that_would_come_after_its_program_was_stopped_does_not():
    programs = table([0, 1, 0], [[], [], []])
    given = drawn(np.array([0.0, 0.0, 3.0]), np.array([256, 20 * 256, 5 * 256]), programs)
    answering(given, [0, NO_ANSWER, 0], 2)
    fleet = ProgramFleet(constant(), "vllm-v1:max_seqs=8", replicas=1, stopping="posterior:level=0.6")
    run = fleet.simulate(given, FCFS)
    assert run.response_times.tolist() == [1.0, 20.0] and run.reason == "drained"
    assert np.isnan(run.calls.outcome["scheduled"][2]) and (run.calls.jobs["blocks"] == 0).all()


@pytest.mark.parametrize("replicas", [1, 2])
def test_an_order_parts_no_gang(replicas):
    """Two calls that come together are thought to be the shortest and the longest of three; there are two seats."""
    programs = table([0, 0, 1], [[], [], []])
    given = drawn(np.ones(3), np.array([256, 256, 256]), programs)
    given.work["predicted"] = [1, 900, 500]
    rules = f"vllm-v1:max_seqs={2 // replicas}"
    fleet = ProgramFleet(constant(), rules, replicas=replicas, hold=True, gang=True)
    calls = fleet.simulate(given, PROGRAM_POLICIES("sjf")).calls
    assert calls.outcome["scheduled"].tolist() == [1.0, 1.0, 2.0]


def test_two_gangs_of_a_program_that_are_ready_at_one_time_are_two():
    programs = table([0, 0, 0, 0, 0, 0], [[], [], [0], [0], [1], [1]])
    arrivals = np.array([0.0, 0.0, *[np.inf] * 4])
    fleet = ProgramFleet(constant(), "vllm-v1:max_seqs=3", replicas=1, hold=True, gang=True)
    run = fleet.simulate(drawn(arrivals, np.full(6, 256), programs), FCFS)
    assert run.done.all() and run.calls.outcome["scheduled"].tolist() == [0.0, 0.0, 1.0, 1.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("program", "parents", "arrivals", "words"),
    [
        ([0, 0], [[], [0, 0]], [0, np.inf], "row 1: the parent 0 is told twice"),
        ([0, 1], [[], []], [5, 0], "row 1 comes at 0 s, before row 0, at 5 s"),
    ],
)
def test_tables_that_are_none_are_refused(program, parents, arrivals, words):
    with pytest.raises(BadInput, match=words):
        check_programs(table(program, parents), len(program), arrivals=np.array(arrivals, float))


def test_an_answer_without_a_vote_is_refused():
    given = answering(drawn(np.zeros(3), np.full(3, 5), table([0, 0, 1], [[], [], []])), [0, 2, 0], 2)
    with pytest.raises(BadInput, match="row 1: answer number 2 of a program of 2 calls"):
        ProgramFleet(constant(), replicas=1, stopping="majority").simulate(given, FCFS)


@pytest.mark.parametrize(
    ("policy", "words"), [("demote-overrun", ["order"]), ("dynasor", ["every"]), ("majority", []), ("never", [])]
)
def test_what_of_a_rule_is_not_carried_out_is_told(policy, words):
    scenario = Scenario("reasoning", n_programs=3)
    remarks = scenario.system.remarks(None, scenario.policy(policy))
    assert len(remarks) == len(words) and all(word in one for word, one in zip(words, remarks, strict=True))


def test_a_rule_of_stopping_without_answers_is_told():
    scenario = Scenario("reasoning", size="tool-calls", rate=0.2, n_jobs=4)
    told = [
        scenario.system.remarks(scenario.simulate(rule), scenario.system.policies(rule))
        for rule in ("majority", "never")
    ]
    assert told == [["is never asked: these programs give no answers"], []]

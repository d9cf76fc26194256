"""Programs of calls against what theory says of them: forks that join, users who think, contexts that are kept."""

from math import factorial
from types import SimpleNamespace

import numpy as np
import pytest

from llmqueue_gym.distributions import size_law
from llmqueue_gym.evaluation.programs import measure_programs
from llmqueue_gym.evaluation.statistics import cautious_batch_means
from llmqueue_gym.policies.programs import PROGRAM_POLICIES
from llmqueue_gym.policies.retention import RETENTION_POLICIES
from llmqueue_gym.policies.retention.ttl_optimal import ttl_optimal
from llmqueue_gym.policies.serving import SERVING_POLICIES, lamps
from llmqueue_gym.profiles.base import Profile
from llmqueue_gym.programs import Answers
from llmqueue_gym.requests import HESITATES, NO_ANSWER, PRESERVE, Programs, never_refreshed, request_table
from llmqueue_gym.systems import Drawn, Scenario
from llmqueue_gym.systems.fleet import Fleet
from llmqueue_gym.systems.programs import ProgramFleet
from llmqueue_gym.theory.retention import best_time

FCFS = SERVING_POLICIES("fcfs")
SECONDS = 1 / 256  # of an iteration; the mean work of a call is 1 s


def constant():
    """A replica whose iterations take a constant time."""
    numbers = np.array([0.0, SECONDS, 0.0, 0.0, 0.0])
    return Profile("constant", "", "", "roofline", numbers, 10**9, 1.0, "a test")


def drawn(arrivals, outputs, programs, prompts=1):
    """Return calls and their truth."""
    n = len(outputs)
    truth = {"sizes": np.asarray(outputs), "refreshed": never_refreshed(n), "programs": programs}
    truth |= {"choices": np.zeros((n, 0), np.int64), "ties": np.zeros(n)}
    return Drawn(request_table(arrivals, prompts), truth)


def chains(users, calls, gap):
    """Return the programs of users whose calls follow one another; rows are first those that wait for nobody."""
    later = users + np.arange(users * (calls - 1)).reshape(users, calls - 1)
    parents = np.column_stack([np.arange(users), later[:, :-1]]) if calls > 1 else np.zeros((users, 0))
    program = np.concatenate([np.arange(users), np.repeat(np.arange(users), calls - 1)])
    first = np.concatenate([np.zeros(users + 1), 1 + np.arange(later.size)])
    told = parents.ravel().astype(np.int64), first.astype(np.int64)
    return Programs(program, *told, np.concatenate([np.zeros(users), gap]), np.full(users * calls, -1))


def test_a_fork_that_joins_takes_as_long_as_theory_says():
    """Two exponential branches at two servers: (12 - rho) / 8 times the time of M/M/1 (Flatto and Hahn 1984)."""
    n, rho = 100_000, 0.7
    rng = np.random.default_rng(1)
    arrivals = np.repeat(np.cumsum(rng.exponential(1 / rho, n)), 2)
    outputs = rng.geometric(SECONDS, 2 * n)
    nobody = np.zeros(0, np.int64), np.zeros(2 * n + 1, np.int64), np.zeros(2 * n), np.full(2 * n, -1)
    programs = Programs(np.repeat(np.arange(n), 2), *nobody)
    fleet = ProgramFleet(constant(), "vllm-v1:max_seqs=1", replicas=2, router="round-robin")
    run = fleet.simulate(drawn(arrivals, outputs, programs), FCFS)
    np.testing.assert_array_equal(run.calls.jobs["site"], np.arange(2 * n) % 2)
    found = cautious_batch_means(run.response_times, warmup=0.1)
    wanted = (12 - rho) / 8 / (1 - rho)
    assert found.low < wanted * 1.005 and wanted * 0.995 < found.high  # whole tokens make work a little less variable


@pytest.mark.parametrize("users", [1, 3, 8])
def test_users_who_think_are_the_machine_repair_model(users):
    """A closed network of one server and think time: the share of time that it works is 1 - p(0)."""
    calls, think = 60_000 // users, 4.0
    rng = np.random.default_rng(users)
    outputs = rng.geometric(SECONDS, users * calls)
    programs = chains(users, calls, rng.exponential(think, users * (calls - 1)))
    arrivals = np.concatenate([np.zeros(users), np.full(users * (calls - 1), np.inf)])
    fleet = ProgramFleet(constant(), "vllm-v1:max_seqs=1", replicas=1)
    run = fleet.simulate(drawn(arrivals, outputs, programs), FCFS)
    terms = [factorial(users) / factorial(users - k) * think**-k for k in range(users + 1)]
    throughput = 1 - 1 / sum(terms)
    wanted = users / throughput - think
    order = np.argsort(run.calls.outcome["completion"])
    found = cautious_batch_means(run.calls.response_times[order], warmup=0.05)
    assert found.low < wanted * 1.005 and wanted * 0.995 < found.high


def test_a_program_of_one_call_is_a_request():
    n = 500
    rng = np.random.default_rng(0)
    arrivals, outputs = np.cumsum(rng.exponential(0.05, n)), rng.integers(1, 200, n)
    alone = Programs(np.arange(n), np.zeros(0, np.int64), np.zeros(n + 1, np.int64), np.zeros(n), np.full(n, -1))
    given = drawn(arrivals, outputs, alone, rng.integers(1, 900, n))
    programs = ProgramFleet(replicas=2).simulate(given, FCFS)
    given.truth.pop("programs")
    fleet = Fleet(replicas=2).simulate(given, Fleet.policies("least-outstanding"))
    for name in fleet.outcome.dtype.names:
        np.testing.assert_array_equal(programs.calls.outcome[name], fleet.outcome[name])
        np.testing.assert_array_equal(programs.outcome[name], fleet.outcome[name])
    assert programs.totals["iterations"] == fleet.totals["iterations"]


def test_calls_come_when_their_parents_have_ended_and_the_gap_has_passed():
    arrivals = np.array([0.0, 1.0, np.inf, np.inf, np.inf])
    # 0 -> (2, 3) -> 4, and 1 by itself
    programs = Programs(
        np.array([0, 1, 0, 0, 0]),
        np.array([0, 0, 2, 3]),
        np.array([0, 0, 0, 1, 2, 4]),
        np.array([0.0, 0.0, 2.0, 0.5, 1.0]),
        np.full(5, -1),
    )
    run = ProgramFleet(replicas=2).simulate(drawn(arrivals, np.array([5, 7, 20, 90, 3]), programs, 50), FCFS)
    came, ended = run.calls.jobs["arrival"], run.calls.outcome["completion"]
    assert came[2] == ended[0] + 2.0 and came[3] == ended[0] + 0.5
    assert came[4] == max(ended[2], ended[3]) + 1.0
    assert run.response_times.tolist() == [ended[4], ended[1] - 1.0]
    served = ended - run.calls.outcome["scheduled"]
    assert run.calls.jobs["attained"][4] == pytest.approx(served[0] + served[2] + served[3])
    assert run.calls.jobs["longest_path"][4] == pytest.approx(served[0] + max(served[2:4]))
    assert run.calls.jobs["siblings"].tolist()[2:] == [2, 2, 1]


def test_iterations_that_end_one_bit_apart_are_two_moments():
    """Whoever follows the second comes at once, and not when the first replica has ended another one."""
    step = Profile("step", "", "", "roofline", np.array([0.0, 1.0, 0.0, 0.0, 0.0]), 10**9, 1.0, "a test")
    followed = Programs(np.array([0, 1, 1]), np.array([1]), np.array([0, 0, 0, 1]), np.zeros(3), np.full(3, -1))
    fleet = ProgramFleet(step, "vllm-v1", replicas=2, router="round-robin")
    arrivals = np.array([0.0, np.nextafter(1.0, 2.0) - 1.0, np.inf])
    calls = fleet.simulate(drawn(arrivals, np.array([4, 1, 1]), followed), FCFS).calls
    assert calls.outcome["completion"][1] == np.nextafter(1.0, 2.0) == calls.jobs["arrival"][2]


@pytest.mark.parametrize("law", ["hyperexponential:p=0.8,mean=1", "exponential"])
def test_the_best_time_to_live_in_a_run_is_the_computed_one(law):
    """A kept context costs its tokens each second, a dropped one `even` s of them: on the gaps of one long run."""
    calls, even = 8001, 0.8
    gap = size_law(law)
    gaps = gap.sample(calls - 1, np.random.default_rng(2))
    programs = chains(1, calls, gaps)
    programs = programs._replace(continues=np.concatenate([[-1], np.arange(calls - 1)]))
    arrivals = np.concatenate([[0.0], np.full(calls - 1, np.inf)])
    context, costs = 100, {}
    given = drawn(arrivals, np.full(calls, 2), programs, context + 1)  # all that is kept of it are 100 tokens
    best = best_time(gap, 1.0, even).seconds
    times = sorted({0.0, 0.05, 0.2, 0.5, 1.0, 2.0, 5.0, 50.0} | ({best} if np.isfinite(best) else set()))
    for seconds in times:
        fleet = ProgramFleet(constant(), "vllm-v1:max_seqs=1", replicas=1, retention=f"ttl:seconds={seconds}")
        dropped = fleet.simulate(given, FCFS).calls.outcome["recomputed"][1:]
        np.testing.assert_array_equal(dropped, np.where(gaps > seconds, context, 0))
        costs[seconds] = (context * np.minimum(gaps, seconds) + even * dropped).mean()
    nearest = best if best in costs else max(costs)  # to keep for good is to keep for 50 s here
    spread = 2 * context * max(np.std(np.minimum(gaps, seconds)) for seconds in costs) / np.sqrt(calls)
    assert costs[nearest] <= min(costs.values()) + 0.05 * spread


@pytest.mark.parametrize("retention", [*RETENTION_POLICIES])
def test_contexts_that_are_kept_are_not_computed_again(retention):
    spec = "ttl-optimal:gap=exponential:mean=1" if retention == "ttl-optimal" else retention
    told = {"law": "tool-calls:stretch=0.05", "rate": 2.0, "n_programs": 50, "replicas": 2}
    run = Scenario("programs", retention=spec, **told).simulate("fcfs", 1)
    kept = Scenario("programs", retention="preserve", **told).simulate("fcfs", 1)
    assert run.done.all() and run.reason == "drained"
    first = run.calls.jobs["prompt"][run.calls.jobs["depth"] == 0].sum()
    assert run.totals["prefill_tokens"] >= first
    if retention == "preserve":  # of each call but the first of a program what the tool returned, and one token
        continued = run.calls.jobs["prompt"].sum() - run.totals["prefill_tokens"]
        assert continued > 0 and run.outcome["recomputed"].sum() == 0
    elif retention == "discard":
        assert run.totals["prefill_tokens"] == run.calls.jobs["prompt"].sum() > kept.totals["prefill_tokens"]
    else:
        assert run.totals["prefill_tokens"] >= kept.totals["prefill_tokens"]


@pytest.mark.parametrize("order", [*PROGRAM_POLICIES])
def test_no_order_undercuts_the_bound_of_programs(order):
    for law in ("tool-calls:stretch=0.02", "map-reduce"):
        scenario = Scenario("programs", law=law, rate=3.0, n_programs=40)
        run = scenario.simulate(order, 1)
        assert run.done.all() and scenario.bound(1) > 0
        assert (run.calls.jobs["generated"] == run.calls.sizes).all()
        assert scenario.system.numbers(run)["cost"] >= scenario.bound(1)


def test_who_is_to_be_swapped_at_the_end_of_its_time_is_not_dropped():
    calls, gaps = 60, np.random.default_rng(4).exponential(1.0, 59)
    programs = chains(1, calls, gaps)._replace(continues=np.concatenate([[-1], np.arange(calls - 1)]))
    arrivals = np.concatenate([[0.0], np.full(calls - 1, np.inf)])
    keeper = ttl_optimal("hyperexponential:p=0.8;mean=1", 0.8, "swap")
    fleet = ProgramFleet(retention=keeper, replicas=1)
    outcome = fleet.simulate(drawn(arrivals, np.full(calls, 2), programs, 101), FCFS).calls.outcome
    assert (outcome["recomputed"] == 0).all()
    assert 0 < (outcome["swapped"] > 0).sum() < calls


def test_a_majority_that_cannot_be_overtaken_is_the_majority_of_all():
    told = {"law": "self-consistency", "rate": 1.0, "n_programs": 50}
    whole = Scenario("programs", **told).simulate("fcfs", 1)
    early = Scenario("programs", stopping="majority", **told).simulate("fcfs", 1)
    assert early.ended["cancelled"].sum() > 0 and whole.ended["cancelled"].sum() == 0
    np.testing.assert_array_equal(early.ended["cancelled"] + early.ended["answers"], whole.ended["answers"])
    # Who is ahead by more than are to come stays ahead; of several that end level, the one that led first is taken.
    votes = [np.bincount(cluster[cluster >= 0]) for cluster in clusters_of(Scenario("programs", **told), whole)]
    clear = np.array([np.sum(count == count.max()) == 1 for count in votes])
    np.testing.assert_array_equal(early.ended["leading"][clear], whole.ended["leading"][clear])
    assert early.response_times.mean() < whole.response_times.mean()
    assert Scenario("programs", stopping="majority", **told).bound(1) <= early.response_times.mean()


def clusters_of(scenario, run):
    """Return the answers of each program."""
    cluster = scenario.draw(1).truth["answers"].cluster
    return [cluster[run.program == p] for p in range(len(run))]


@pytest.mark.parametrize(("second", "ends"), [(HESITATES, 7), (1, 3), (0, 5)])
def test_a_probe_that_hesitates_agrees_with_nothing_and_its_tokens_are_no_thought(second, ends):
    """Four chunks of thought, a probe off each: 1, what is told, then 1 or 0, and 1."""
    parents, first = np.array([0, 0, 2, 2, 4, 4, 6]), np.concatenate([[0], np.arange(8)])
    programs = Programs(np.zeros(8, np.int64), parents, first, np.zeros(8), np.full(8, -1))
    cluster = np.full(8, NO_ANSWER)
    cluster[1::2] = 1, second, int(second != 0), 1
    given = drawn(np.array([0.0, *[np.inf] * 7]), np.array([60, 5] * 4), programs)
    given.truth["answers"] = Answers(
        cluster, cluster == 1, np.zeros(8), np.full(1, np.nan), np.ones(1), np.ones(1, bool)
    )
    run = ProgramFleet(constant(), "vllm-v1", replicas=1, stopping="probes-agree:k=2").simulate(given, FCFS)
    assert run.outcome["completion"][0] == run.calls.outcome["completion"][ends]
    assert run.ended["tokens"][0] == 60 * (ends + 1) / 2 and run.right[0] == (second != 0)


def test_the_numbers_of_a_run_add_up():
    told = {"law": "self-consistency", "rate": 1.0, "n_programs": 25}
    run = Scenario("programs", stopping="majority", **told).simulate("fcfs", 2)
    told = measure_programs(run)
    assert told["calls"] == 200 and told["answers"] + told["cancelled"] == told["planned_answers"] == 200
    assert told["away_time"]["mean"] == pytest.approx(0.0, abs=1e-9)  # somebody is always there
    assert told["program_time"]["mean"] == pytest.approx(run.response_times.mean())
    assert 0 < told["accuracy"] <= 1
    chains = Scenario("programs", law="tool-calls", rate=1.0, n_programs=40)
    chain = chains.simulate("fcfs", 2)
    gaps = np.bincount(chain.program, chains.draw(2).truth["programs"].gap)
    assert measure_programs(chain)["away_time"]["mean"] == pytest.approx(gaps.mean())


def test_calls_are_told_what_follows_them_and_lamps_ranks_by_it():
    """A call that is kept in memory for long goes behind one that comes back at once; nothing follows the last call."""
    calls = Scenario(ProgramFleet(), law="tool-calls:kind=ve", rate=1.0, n_programs=8).draw(1)
    work, programs = calls.work, calls.truth["programs"]
    goes_on = work["gap"] >= 0
    follower = np.full(len(work), -1)
    follower[programs.continues[programs.continues >= 0]] = np.flatnonzero(programs.continues >= 0)
    np.testing.assert_array_equal(goes_on, follower >= 0)
    np.testing.assert_allclose(work["gap"][goes_on], programs.gap[follower[goes_on]], rtol=1e-6)
    whole = work["prompt"] + calls.sizes
    np.testing.assert_array_equal(work["returned"][goes_on], (work["prompt"][follower] - whole)[goes_on])
    row = np.repeat(work[:1], 2).view(np.recarray)
    row["strategy"], row["gap"] = PRESERVE, [5.0, 0.5]
    assert row[0].predicted == row[1].predicted and lamps_rank(row[0]) > lamps_rank(row[1])


def test_who_is_predicted_to_go_on_need_not():
    """Of the last calls some are told of another one, and of those before them some are told of none."""
    told = {"law": "tool-calls:kind=qa", "rate": 1.0, "n_programs": 140}
    exact, wrong = (
        Scenario(ProgramFleet(foresight=f"foresight:calls={error}"), **told).draw(1).work for error in (0, 1)
    )
    last = exact["gap"] < 0
    assert 0.1 < (wrong["gap"][last] >= 0).mean() < 0.9 and 0.02 < (wrong["gap"][~last] < 0).mean() < 0.9


def lamps_rank(request):
    return lamps.rank(request, SimpleNamespace(running=10), np.zeros(0))


def test_who_thinks_longer_than_predicted_goes_behind_or_first():
    calls = Scenario(ProgramFleet(), law="reasoning:thought=500", rate=1.0, n_programs=40).draw(1)
    thinks = calls.work["klass"] == 0
    left = calls.work["unsettled"][thinks]
    depth = calls.truth["answers"].depth[calls.truth["programs"].program[thinks]]
    opening = calls.work["depth"][thinks] == 0
    assert (left <= depth).all() and (left < 0).any() and (left[opening] == depth[opening]).all()
    order = {spec: PROGRAM_POLICIES(f"thought-srpt:overrun={spec}") for spec in ("behind", "first")}
    ranks = {
        spec: [policy.rank(SimpleNamespace(unsettled=x), None, policy.params) for x in (-9.0, -5.0, 7.0, 90.0)]
        for spec, policy in order.items()
    }
    assert ranks["first"] == sorted(ranks["first"]) and np.argsort(ranks["behind"]).tolist() == [2, 3, 1, 0]

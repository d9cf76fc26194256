"""Floors under serving schedules: the integer program is exact, and nothing that `serve` plays goes below a floor."""

import itertools

import numpy as np
import pytest
from crowded_replica import requests_of

from llmqueue_gym.engines.batching.rule_sets import rule_set
from llmqueue_gym.errors import BadInput, NotApplicable
from llmqueue_gym.policies.serving import serving_policy
from llmqueue_gym.profiles import profile
from llmqueue_gym.profiles.base import Profile
from llmqueue_gym.systems.serve import serve
from llmqueue_gym.theory.clairvoyant import busy_server, latency_floor
from llmqueue_gym.theory.hindsight import held_tokens, hindsight_optimum, shortest_first, total_latency

ROUNDS = {"block_size": 1, "lookahead": 1, "token_budget": 1 << 30, "max_seqs": 1024}  # the paper's model


def draw(seed, n, memory, rounds=1):
    rng = np.random.default_rng(seed)
    prompts = rng.integers(1, 6, n)
    return np.sort(rng.integers(0, rounds, n)), prompts, rng.integers(1, memory - prompts + 1), memory


def mc_sf(arrivals, prompts, outputs, memory):
    """Starts under MC-SF, round by round, straight from the paper's words."""
    n = len(outputs)
    starts, now = [None] * n, 0
    while None in starts:
        batch = [(starts[i], prompts[i], outputs[i]) for i in range(n) if starts[i] is not None]
        batch = [(k, p, o) for k, p, o in batch if k + o > now]
        waiting = [i for i in range(n) if starts[i] is None and arrivals[i] <= now]
        for i in sorted(waiting, key=lambda i: (outputs[i], i)):
            tentative = [*batch, (now, prompts[i], outputs[i])]
            ends = {k + o for k, _, o in tentative}
            if any(sum(p + t - k for k, p, o in tentative if k < t <= k + o) > memory for t in ends):
                break
            starts[i], batch = now, tentative
        now += 1
    return np.array(starts)


def exhaustive(arrivals, prompts, outputs, memory):
    """Least total latency by trying all starts."""
    latest = arrivals.max() + outputs.sum()
    best = None
    for starts in itertools.product(*(range(a, latest + 1) for a in arrivals)):
        total = total_latency(arrivals, outputs, np.array(starts))
        if (best is None or total < best) and held_tokens(prompts, outputs, np.array(starts)).max() <= memory:
            best = total
    return best


@pytest.mark.parametrize("seed", range(12))
def test_the_integer_program_finds_what_trying_everything_finds(seed):
    n = 2 + seed % 3
    arrivals, prompts, outputs, memory = draw(seed, n, 9 if n < 4 else 7, rounds=3)
    found = hindsight_optimum(arrivals, prompts, outputs, memory, gap=0)
    assert found.total_latency == found.bound == exhaustive(arrivals, prompts, outputs, memory)
    assert found.status == "optimal" and found.gap == 0
    assert held_tokens(prompts, outputs, found.starts).max() <= memory and (found.starts >= arrivals).all()
    assert total_latency(arrivals, outputs, found.starts) == found.total_latency


def test_a_known_schedule_is_improved_or_kept():
    given = draw(3, 6, 12)
    serial = np.cumsum(given[2]) - given[2]
    found = hindsight_optimum(*given, gap=0, known=serial)
    assert found.total_latency == hindsight_optimum(*given, gap=0).total_latency
    again = hindsight_optimum(*given, gap=0, known=found.starts)
    assert again.total_latency == found.total_latency
    with pytest.raises(BadInput, match="known is not a schedule"):
        hindsight_optimum(*given, known=np.zeros(6, int))


def test_out_of_time_the_best_known_schedule_comes_back_with_a_bound():
    given = arrivals, prompts, outputs, memory = draw(0, 30, 40)
    found = hindsight_optimum(*given, time_limit=0.01)
    assert found.status == "time limit"
    assert outputs.sum() <= found.bound <= found.total_latency
    assert found.total_latency <= total_latency(arrivals, outputs, shortest_first(*given))
    assert held_tokens(prompts, outputs, found.starts).max() <= memory


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"arrivals": [0, 0.5]}, r"arrivals\[1\]=0.5 must be a whole number of at least 0"),
        ({"outputs": [0, 1]}, r"outputs\[0\]=0 must be a whole number of at least 1"),
        ({"prompts": [1, 9]}, "request 2 has 9 prompt and 2 output tokens, more than memory=10; try memory=11"),
        ({"prompts": [1]}, "have 2, 1, 2 rows"),
    ],
)
def test_what_the_model_has_no_room_for_is_refused(changed, message):
    columns = {"arrivals": [0, 1], "prompts": [1, 1], "outputs": [2, 2]} | changed
    with pytest.raises(BadInput, match=message):
        hindsight_optimum(**columns, memory=10)


@pytest.mark.parametrize("seed", range(20))
def test_the_engine_plays_mc_sf_as_the_paper_says(seed):
    memory = 30 + seed
    given = _, _, outputs, _ = draw(seed, 50, memory, rounds=1 if seed % 2 else 50)
    run = serve(requests_of(*given[:3]), "mc-sf", "unit", "vllm-v1", blocks=memory, **ROUNDS)
    starts = mc_sf(*given)
    assert run.reason == "drained" and run.totals["preemptions"] == 0
    assert np.array_equal(run.outcome["scheduled"], starts)
    assert np.array_equal(run.outcome["completion"], starts + outputs)


@pytest.mark.parametrize("seed", range(6))
def test_floor_optimum_and_mc_sf_are_in_order(seed):
    given = arrivals, _, _, memory = draw(seed, 6, 16, rounds=1 + 4 * (seed % 2))
    run = serve(requests_of(*given[:3]), "mc-sf", "unit", "vllm-v1", blocks=memory, **ROUNDS)
    least = hindsight_optimum(*given, gap=0).total_latency / 6
    floor = latency_floor(run.jobs, run.sizes, run.system.cost_profile, run.system.bound_rules).mean
    assert 0.5 * least < floor <= least * (1 + 1e-12)
    assert least <= (run.outcome["completion"] - arrivals).mean()


RULES = {
    "vllm-v1": {"token_budget": 24},
    "vllm-0.19.1": {"long_prefill_threshold": 8, "keep_head": True},
    "vllm-v0": {},
    "sarathi": {"token_budget": 16, "preemption": "free"},
    "vidur-sarathi": {"token_budget": 16},
    "orca": {"max_model_len": 100},
    "static": {"max_model_len": 100, "max_seqs": 4},
}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("policy", ["fcfs", "sjf", "srpt", "trail", "mc-sf"])
def test_nothing_that_is_served_goes_below_the_floor(policy, name):
    changes = {**serving_policy(policy).rules, **RULES[name]}
    for seed in range(6):
        rng = np.random.default_rng(seed)
        scale = [0.01, 0.01, 1e-3, 1e-4, 1e-4] * (rng.random(5) < 0.7)
        numbers = rng.exponential(1, 5) * scale + [1e-4, 0, 0, 0, 0]
        law = Profile("drawn", "any", "any", "roofline", numbers, 400, 1e5, "drawn")
        arrivals = np.sort(rng.uniform(0, rng.choice([0.01, 1, 10]), 30))
        prompts, outputs = rng.integers(1, 50, 30), rng.integers(1, 40, 30)
        given = requests_of(arrivals, prompts, outputs, np.maximum(1, outputs * rng.lognormal(0, 0.5, 30)))
        run = serve(given, policy, law, name, **changes)
        if run.reason == "drained":
            floor = latency_floor(given.requests, given.outputs, law, run.system.bound_rules)
            assert floor.mean <= (run.outcome["completion"] - arrivals).mean() * (1 + 1e-9)
            assert floor.mean == max(floor.parts.values()) > 0


def test_distserve_profiles_have_a_floor_too():
    law = profile("distserve-opt-13b-tp1")
    rng = np.random.default_rng(0)
    given = requests_of(np.sort(rng.uniform(0, 20, 60)), rng.integers(1, 900, 60), rng.integers(1, 300, 60))
    run = serve(given, "sjf", law, "vllm-v1")
    floor = latency_floor(given.requests, given.outputs, law, run.system.bound_rules)
    assert 0 < floor.mean <= (run.outcome["completion"] - given.requests["arrival"]).mean()
    tables = profile("splitwise-a100-llama2-70b")
    with pytest.raises(NotApplicable, match="has form 'splitwise': floors need 'roofline' or 'phases'"):
        latency_floor(given.requests, given.outputs, tables, run.system.bound_rules)


def test_requests_one_at_a_time_meet_the_floor():
    law, rules = profile("a100-llama3-8b"), rule_set("vllm-v1")
    outputs = np.array([1, 2, 300, 40])
    given = requests_of([0.0, 100.0, 200.0, 300.0], [1, 2000, 700, 1500], outputs)
    run = serve(given, "fcfs", law, rules)
    floor = latency_floor(given.requests, given.outputs, law, rules)
    assert (run.outcome["completion"] - run.jobs["arrival"]).mean() == pytest.approx(floor.mean, rel=1e-12)
    assert floor.mean == floor.parts["alone"]


def test_one_seat_under_overload_is_srpt():
    rng = np.random.default_rng(0)
    law = Profile("plain", "any", "any", "roofline", np.array([0.0, 0.01, 0, 0, 0]), 10_000, 1e5, "drawn")
    given = requests_of(np.zeros(40), rng.integers(1, 9, 40), rng.integers(1, 90, 40))
    run = serve(given, "sjf", law, "vllm-v1", max_seqs=1)
    floor = latency_floor(given.requests, given.outputs, law, run.system.bound_rules)
    assert run.outcome["completion"].mean() == pytest.approx(floor.mean, rel=1e-9)
    assert floor.mean == floor.parts["base by seats"]


def test_one_server_serves_least_remaining_and_least_work():
    arrivals, work = np.array([0.0, 1.0, 8.0]), np.array([4.0, 3.5, 1.0])
    # SRPT: 0 until 4, 1 until 7.5, 2 from 8 to 9. Least work: 1 interrupts 0 from 1 to 4.5.
    assert busy_server(arrivals, work, np.ones(3), True)[0] == pytest.approx((4 + 6.5 + 1) / 3)
    means = [(1 * 0.5 + 3 * 6) / 4, 1.75, 0.5]
    assert busy_server(arrivals, work, np.ones(3), False)[1] == pytest.approx(np.mean(means))
    assert busy_server(arrivals, work, np.ones(3), False)[0] == pytest.approx((7.5 + 3.5 + 1) / 3)


def test_a_floor_needs_requests():
    none = requests_of([], np.zeros(0, int), np.zeros(0, int))
    with pytest.raises(BadInput, match="at least one request"):
        latency_floor(none.requests, none.outputs, profile("unit"), rule_set("vllm-v1"))

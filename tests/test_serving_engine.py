"""The serving engine: coasting changes nothing, Vidur's schedulers, one loop, compiled or not."""

import os
import subprocess
import sys

import numpy as np
import pytest
from crowded_replica import a_profile, requests_of, shortest_left, some_requests
from numba import types
from reference_serving import VidurReference, formula_cost

from llmqueue_gym._jit import DISABLED
from llmqueue_gym.engines.batching.closed_loop import proceed
from llmqueue_gym.engines.batching.rule_sets import RULE_SETS
from llmqueue_gym.engines.batching.tables import PAUSED
from llmqueue_gym.evaluation.watch import watch
from llmqueue_gym.policies.serving import SERVING_POLICIES, ServingPolicy, serving_policy
from llmqueue_gym.systems import replica
from llmqueue_gym.systems.replica_tables import leaner
from llmqueue_gym.systems.serve import serve


def oldest(request, system, params):
    return -(system.clock - request.arrival) / request.predicted


POLICIES = {
    "fcfs": serving_policy("fcfs"),
    "ranked": ServingPolicy("ranked", shortest_left),
    "displaces": ServingPolicy("displaces", shortest_left, displaces=True),
    "ages": ServingPolicy("ages", oldest, ages=True, displaces=True),
    "peak": ServingPolicy("peak", shortest_left, admission="peak"),
    "reserve": ServingPolicy("reserve", shortest_left, admission="reserve", skips=True),
    "merged": ServingPolicy("merged", shortest_left, merged=True),
    "fastserve": serving_policy("fastserve"),  # which counts in every iteration who ran
    "merged-drops": ServingPolicy("merged-drops", oldest, merged=True, keeps=False, preemption="swap"),
}
VARIANTS = {
    "plain": {},
    "tight-chunks": {"token_budget": 48, "long_prefill_threshold": 20},
    "swap": {"preemption": "swap", "bandwidth": 1e3},
    "overlapped": {"preemption": "swap", "bandwidth": 1e3, "overlapped": True},
    "free": {"preemption": "free"},
    "keep-head": {"keep_head": True},
    "lookahead": {"lookahead": 1, "block_size": 1, "blocks": 400},
    "no-reserve": {"reserve_known": False, "watermark": 0.05},
}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_coasting_changes_nothing_to_the_last_bit(policy, variant):
    instance = some_requests(1, every=8 if policy == "displaces" else 0)
    served = serve(instance, POLICIES[policy], a_profile(), "vllm-v1", max_seqs=16, **VARIANTS[variant])
    looks = list(watch(instance, POLICIES[policy], a_profile(), "vllm-v1", max_seqs=16, **VARIANTS[variant]))
    assert served.reason == "drained"
    assert served.totals["iterations"] == len(looks)
    ends = {row: k for k, look in enumerate(looks) for row in look.finished}
    clocks = [look.clock for look in looks] + [served.totals["clock"]]
    arrivals = instance.requests["arrival"]
    for row, k in ends.items():
        # The next iteration begins where this one ends, unless the replica was empty in between.
        end = served.outcome["completion"][row]
        assert end == clocks[k + 1] or end < clocks[k + 1] == arrivals[arrivals > end].min()


def test_a_reservation_ends_at_the_longest_length():
    # Both are predicted to be ever so long, but end at 64 tokens, of which the last needs no room: 63 blocks each.
    given = requests_of([0.0, 0.0], [10, 10], [20, 20], predicted=[10_000.0, 10_000.0])
    told = {"block_size": 1, "max_model_len": 64, "max_seqs": 4, "watermark": 0.0}
    starts = []
    for blocks in (126, 125):
        served = serve(given, POLICIES["reserve"], a_profile(), "vllm-v1", blocks=blocks, **told)
        assert served.reason == "drained"
        starts.append(served.outcome["first_token"])
    assert starts[0][0] == starts[0][1]
    assert starts[1][0] < starts[1][1]


@pytest.mark.parametrize("rules", RULE_SETS)
def test_coasting_changes_nothing_under_any_rule_set(rules):
    instance = some_requests(2)
    # Splitwise's machines stall where memory is short: one whose batch is empty waits for the next arrival.
    changes = {"blocks": 400 if rules == "splitwise" else 40}
    changes |= {"block_size": 16, "max_seqs": 16, "token_budget": 300, "max_model_len": 330}
    served = serve(instance, "fcfs", a_profile(), rules, **changes)
    looks = list(watch(instance, "fcfs", a_profile(), rules, **changes))
    assert served.reason == "drained"
    assert served.totals["iterations"] == len(looks)
    assert served.totals["preemptions"] == sum(len(look.preempted) for look in looks)


@pytest.mark.parametrize("seed", range(5))
def test_coasting_changes_nothing_where_output_is_forgotten_and_predicted_anew(seed):
    """A request that begins anew keeps its prediction until the next one is due, and has the last when none is left."""
    instance = some_requests(seed, every=8)
    told = {"blocks": 40, "max_seqs": 16, "token_budget": 60, "long_prefill_threshold": 12, "max_model_len": 330}
    served = serve(instance, POLICIES["ranked"], a_profile(), "vidur-sarathi", **told)
    looks = list(watch(instance, POLICIES["ranked"], a_profile(), "vidur-sarathi", **told))
    assert served.totals["iterations"] == len(looks)
    assert served.totals["preemptions"] == sum(len(look.preempted) for look in looks)


@pytest.mark.parametrize("seed", [2, 10, 38])
def test_coasting_changes_nothing_where_the_queue_gives_up_what_it_kept(seed):
    """Vidur's spare block is taken from a cache kept in the queue, and then nobody needs it but the head."""
    told = {"blocks": 30, "max_seqs": 16, "max_model_len": 330, "keep_head": True}
    served = serve(some_requests(seed), POLICIES["ranked"], a_profile(), "vllm-v0", **told)
    looks = list(watch(some_requests(seed), POLICIES["ranked"], a_profile(), "vllm-v0", **told))
    assert served.totals["iterations"] == len(looks)


@pytest.mark.parametrize("scheduler", ["vllm", "sarathi"])
@pytest.mark.parametrize("seed", range(20))
def test_vidurs_schedulers_against_the_plain_rules(scheduler, seed):
    instance = some_requests(seed, n=80, rate=6.0, longest=900)
    w0, a, b, c2, c3 = 10.0, 7.0, 0.06, 4e-6, 9e-5
    blocks = 80
    profile = a_profile(np.array([w0, a, b, c2, c3]) / 1000)
    rules = {"vllm": "vllm-v0", "sarathi": "vidur-sarathi"}[scheduler]
    served = serve(instance, "fcfs", profile, rules, blocks=blocks)
    reference = VidurReference(scheduler, blocks, formula_cost(w0, a, b, c2, c3))
    columns = (instance.requests["arrival"].tolist(), instance.requests["prompt"].tolist(), instance.outputs.tolist())
    expected, count = reference.run([(i, *row) for i, row in enumerate(zip(*columns, strict=True))])
    assert served.totals["iterations"] == count
    for i, (_, first_token, completion, restarts) in expected.items():
        assert served.outcome["first_token"][i] == pytest.approx(first_token, abs=1e-9)
        assert served.outcome["completion"][i] == pytest.approx(completion, abs=1e-9)
        assert served.jobs["preemptions"][i] == restarts


@pytest.mark.parametrize("policy", POLICIES)
def test_a_run_in_many_slices_is_the_same_run(policy, monkeypatch):
    """Between two slices Python has its turn, so that an interrupt is heard."""
    whole = serve(some_requests(1), POLICIES[policy], a_profile(), max_seqs=16)
    slices, proceed_ = [], replica.proceed
    monkeypatch.setattr(replica, "WORK", 10)
    monkeypatch.setattr(replica, "proceed", lambda *told: slices.append(proceed_(*told)) or slices[-1])
    cut = serve(some_requests(1), POLICIES[policy], a_profile(), max_seqs=16)
    assert slices.count(PAUSED) == len(slices) - 1 > 20
    np.testing.assert_array_equal(cut.outcome, whole.outcome)
    assert cut.totals == whole.totals


PLAYED = """
from llmqueue_gym import Scenario
replica = Scenario("replica:profile=a100-llama3-8b:kv_tokens=800,rules=vllm-v1:max_seqs=8,max_tokens=400,rate=30,"
                   "size=lognormal:prompt=60;output=20,predictor=trail:mae=10,n_jobs=20")
for policy in ("fcfs", "sprpt", "ltr", "mc-sf", "s3-like"):
    print(replica.simulate(policy, 0).outcome["completion"].tolist())
"""


def test_the_same_source_runs_uncompiled():
    def output(**more):
        done = subprocess.run(
            [sys.executable, "-c", PLAYED], env={**os.environ, **more}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert output() == output(NUMBA_DISABLE_JIT="1")


@pytest.mark.skipif(DISABLED, reason="nothing is compiled")
def test_one_compiled_loop_serves_every_policy_and_a_leaner_one_those_of_plain_passes():
    for policy in SERVING_POLICIES:
        serve(some_requests(0, n=5), policy, a_profile(), rules="vllm-v1", max_seqs=4)
    # The environments use the loop with none in the place of the rank function.
    assert len([signature for signature in proceed.signatures if signature[8] is not types.none]) == 2


def test_the_leaner_loop_gives_the_same_bits(monkeypatch):
    def outcome(policy):
        run = serve(some_requests(0, n=60), policy, a_profile(), rules="vllm-v1", max_seqs=4)
        return run.outcome.tobytes(), run.jobs.tobytes(), run.totals

    players = ("fcfs", "trail", "a-max", "ssjf")
    seen = []
    monkeypatch.setattr(replica, "leaner", lambda *told: seen.append(leaner(*told)) or seen[-1])
    lean = [outcome(player) for player in players]
    assert all(made.cells is None for made in seen)
    monkeypatch.setattr(replica, "leaner", lambda made, *_: made)
    assert [outcome(player) for player in players] == lean

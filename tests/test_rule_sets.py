"""Rule sets do what their names say: by hand on small instances, and what they refuse."""

import numpy as np
import pytest
from crowded_replica import a_profile, shortest_left, some_requests

from llmqueue_gym.engines.batching.rule_sets import RULE_SETS, rule_set
from llmqueue_gym.engines.batching.rules import Rules
from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.serving import ServingPolicy
from llmqueue_gym.requests import Requests, never_refreshed, request_table
from llmqueue_gym.systems.serve import serve


def test_every_rule_set_and_variant_is_made():
    for name in RULE_SETS:
        assert str(rule_set(name)) == name
    assert str(rule_set("sarathi:token_budget=256")) == "sarathi:token_budget=256"


def test_a_lone_request_by_hand():
    instance = Requests(request_table(np.array([1.0]), np.array([100])), np.array([3]), never_refreshed(1))
    served = serve(instance, "fcfs", a_profile((0.0, 1.0, 0.01, 0.0, 0.0)), "vllm-v1", token_budget=64)
    # chunks of 64 and 36 tokens, then two decodes
    assert served.outcome["first_token"][0] == pytest.approx(1.0 + 1.64 + 1.36)
    assert served.outcome["completion"][0] == pytest.approx(1.0 + 1.64 + 1.36 + 2 * 1.01)
    assert served.jobs["longest_gap"][0] == pytest.approx(1.01)
    assert served.totals["integral"] == pytest.approx(served.outcome["completion"][0] - 1.0)


def test_a_static_batch_ends_together_and_orca_lets_go():
    table = request_table(np.zeros(3), np.array([10, 10, 10]))
    instance = Requests(table, np.array([2, 5, 3]), never_refreshed(3))
    unit = a_profile((1.0, 1.0, 0.0, 0.0, 0.0))
    static = serve(instance, "fcfs", unit, "static", blocks=40, max_model_len=200, max_seqs=2)
    assert static.outcome["completion"].tolist() == [5, 5, 8]
    orca = serve(instance, "fcfs", unit, "orca", blocks=40, max_model_len=200, max_seqs=2)
    assert orca.outcome["completion"].tolist() == [2, 5, 5]
    narrow = serve(instance, "fcfs", unit, "orca", blocks=20, max_model_len=200)  # room for one longest request
    assert narrow.outcome["completion"].tolist() == [2, 7, 10]
    assert orca.totals["preemptions"] == static.totals["preemptions"] == 0


def test_swapping_keeps_what_is_computed_and_costs_its_transfer():
    instance = some_requests(3)
    again = serve(instance, "fcfs", a_profile(), max_seqs=16)
    swapped = serve(instance, "fcfs", a_profile(), max_seqs=16, preemption="swap", bandwidth=1e4)
    beside = serve(instance, "fcfs", a_profile(), max_seqs=16, preemption="swap", bandwidth=1e4, overlapped=True)
    free = serve(instance, "fcfs", a_profile(), max_seqs=16, preemption="free")
    assert again.outcome["recomputed"].sum() > 0
    assert swapped.outcome["recomputed"].sum() == free.outcome["recomputed"].sum() == 0
    assert swapped.outcome["swapped"].sum() > 0
    moved = swapped.outcome["swapped"].sum() * 16 / 1e4  # blocks * bytes a block / bandwidth
    assert swapped.totals["transfer_time"] == pytest.approx(moved)
    assert beside.totals["transfer_time"] < swapped.totals["transfer_time"]
    assert free.totals["transfer_time"] == 0
    tokens = instance.requests["prompt"].sum() + instance.outputs.sum() - len(instance.outputs)
    done = swapped.totals["prefill_tokens"] + swapped.totals["decode_tokens"]
    assert done == tokens  # nothing is computed twice
    assert again.totals["prefill_tokens"] + again.totals["decode_tokens"] == tokens + again.outcome["recomputed"].sum()


def test_keeping_the_head_computes_less_again():
    instance = some_requests(4)
    whole = serve(instance, "fcfs", a_profile(), max_seqs=16)
    head = serve(instance, "fcfs", a_profile(), max_seqs=16, keep_head=True)
    assert 0 < head.outcome["recomputed"].sum() < whole.outcome["recomputed"].sum()


def test_what_never_fits_is_refused_or_ends_the_run():
    instance = Requests(request_table(np.zeros(2), np.array([10, 500])), np.array([2, 5]), never_refreshed(2))
    with pytest.raises(BadInput, match=r"request 2 has 500 prompt and 5 output tokens.*max_tokens=401"):
        serve(instance, "fcfs", a_profile())
    with pytest.raises(BadInput, match="raise token_budget=400 to 500"):
        serve(instance, "fcfs", a_profile(), blocks=100, chunked=False, token_budget=400)
    cut = serve(instance, "fcfs", a_profile(), blocks=100, horizon=0.01)
    assert cut.reason == "horizon"
    instance.requests["predicted"] = 1e6  # a peak is counted up to what a request can have at most
    peak = ServingPolicy("peak", shortest_left, admission="peak")
    assert serve(instance, peak, a_profile(), blocks=100, max_model_len=520).reason == "drained"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"order": "decode-frist"}, "decode-first"),
        ({"watermark": 1.5}, "watermark=1.5"),
        ({"token_budget": 0}, "token_budget=0"),
        ({"bandwidth": -1.0}, "bandwidth=-1"),
        ({"preemption": "recompute "}, "recompute"),
    ],
)
def test_wrong_rules_are_refused(changes, words):
    with pytest.raises(BadInput, match=words):
        Rules(**changes)


def test_a_rule_set_that_forgets_output_for_ever_is_a_livelock():
    rng = np.random.default_rng(71702)
    found = set()
    for _ in range(40):
        table = request_table(np.sort(rng.uniform(0, 20, 13)), rng.integers(1, 60, 13))
        table["predicted"] = rng.integers(1, 10, 13)
        instance = Requests(table, table["predicted"].astype(np.int64), never_refreshed(13))
        changes = {"blocks": 9, "max_seqs": 5, "token_budget": 60, "long_prefill_threshold": 12, "patience": 2000}
        served = serve(instance, "memory-time", a_profile((1.0, 1.0, 0.0, 0.0, 0.0)), "vidur-sarathi", **changes)
        found.add(served.reason)
    assert found == {"drained", "livelock"}  # never without an end

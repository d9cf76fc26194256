"""Rule sets do what their names say: by hand on small instances, and what they refuse."""

from dataclasses import replace

import numpy as np
import pytest
from crowded_replica import a_profile, requests_of, shortest_left, some_requests

from llmqueue_gym.engines.batching.rule_sets import RULE_SETS, rule_set
from llmqueue_gym.engines.batching.rules import Rules
from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.watch import watch
from llmqueue_gym.policies.serving import ServingPolicy
from llmqueue_gym.requests import Requests, never_refreshed, request_table
from llmqueue_gym.systems import Scenario
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


def test_a_swapped_request_pays_for_both_ways():
    """Two requests of 20 and 17 tokens in a pool of 40 blocks of a token: the later one goes and comes back once."""
    one_way = requests_of([0.0, 0.0], [10, 10], [20, 17])
    told = {"blocks": 40, "block_size": 1, "preemption": "swap", "bandwidth": 1.0}
    looks = list(watch(one_way, "fcfs", a_profile((1.0, 1.0, 0.0, 0.0, 0.0)), "vllm-v1", **told))
    served = serve(one_way, "fcfs", a_profile((1.0, 1.0, 0.0, 0.0, 0.0)), **told)
    out = next(k for k, look in enumerate(looks) if look.preempted)
    back = next(look for look in looks[out + 1 :] if look.admitted)
    (row, computed, resumed), held = back.admitted[0], 40 - looks[out].free - len(looks[out].scheduled) - 19
    assert looks[out].preempted == [row] == [1] and resumed and computed == 20 and held >= 0
    assert served.outcome["swapped"].tolist() == [0, 2 * computed]
    assert served.totals["transfer_time"] == 2 * computed  # 1 byte a token, at 1 byte/s
    gap = looks[out + 1].clock - looks[out].clock
    assert gap == 1.0 + computed  # the move out, beside the decode of the other


@pytest.mark.parametrize("rules", [name for name in RULE_SETS if rule_set(name).batching == "passes"])
def test_every_seat_is_taken_and_no_more(rules):
    changes = {"blocks": 200, "block_size": 16, "max_seqs": 3, "token_budget": 1000, "max_model_len": 330}
    present, most = 0, 0
    for look in watch(some_requests(1, rate=1000.0), "fcfs", a_profile(), rules, **changes):
        present += len(look.added)
        most = max(most, present - len(look.waiting))
        present -= len(look.finished)
    assert most == 3


def test_a_peak_is_counted_up_to_the_longest_that_the_model_can_have():
    """Both fit side by side to 50 tokens each, however long they are predicted to be."""
    both = requests_of([0.0, 0.0], [10, 10], [40, 40], predicted=[1e6, 1e6])
    peak = ServingPolicy("peak", admission="peak")
    looks = list(watch(both, peak, a_profile(), "vllm-v1", blocks=100, block_size=1, max_model_len=50))
    assert len(looks[0].running) == 2


def test_who_is_alone_is_admitted_whatever_is_predicted():
    """Blocks count whole where they are begun, so that a request which just fits looks as if it did not."""
    one = requests_of([0.0], [30], [371], predicted=[1e9])
    served = serve(one, ServingPolicy("peak", admission="peak"), a_profile())
    assert served.reason == "drained"


@pytest.mark.parametrize(
    ("gpu", "seats", "budget"),
    [
        ("1x A100-80GB", 256, 2048),
        ("8x H100-80GB", 1024, 8192),
        ("NVIDIA H200", 1024, 8192),
        ("2x B200", 1024, 8192),
        ("not stated", 256, 2048),
    ],
)
def test_seats_and_budget_are_those_of_vllm_serve_on_the_gpu(gpu, seats, budget):
    for name in ("vllm-v1", "vllm-0.19.1"):
        made = rule_set(name).on(16_000, gpu)
        assert (made.max_seqs, made.token_budget, made.blocks) == (seats, budget, 1000)
        assert rule_set(f"{name}:max_seqs=7").on(16_000, gpu).max_seqs == 7
    sarathi = rule_set("sarathi").on(16_000, gpu)
    assert (sarathi.max_seqs, sarathi.token_budget) == (128, 512)


@pytest.mark.parametrize("policy", ["ltr", "fastserve", "fcfs"])
def test_moves_are_not_timed_without_the_bytes_of_a_token(policy):
    blank, rules = replace(a_profile(), kv_bytes_per_token=float("nan")), {"blocks": 8, "preemption": "swap"}
    with pytest.raises(BadInput, match=r"kv_bytes_per_token=131072") as error:
        serve(requests_of([0.0, 0.5, 0.6], [30] * 3, [60] * 3), policy, blank, **rules)
    assert "\n" not in str(error.value)
    assert serve(requests_of([0.0, 0.5, 0.6], [30] * 3, [60] * 3), "srpt", blank, blocks=8).reason == "drained"


def test_a_time_that_is_no_number_never_enters_the_clock():
    endless = a_profile((1.0, 1.0, 1.0, 0.0, 0.0))
    endless.numbers[:3] = 1e308  # no profile is made with these
    with pytest.raises(BadInput, match="'test' gives an iteration a time that is not a finite number"):
        serve(requests_of([0.0], [10], [4]), "fcfs", endless)


def test_no_time_passes_where_all_that_ran_was_preempted():
    """The one that outgrew its reservation leaves an empty batch behind, of which tables have no time."""
    one = requests_of([0.0], [50], [200], predicted=[40.0], upper=[40.0])
    served = serve(one, "s3-like", "splitwise-a100-llama2-70b", blocks=100)
    assert served.reason == "drained" and served.jobs["preemptions"][0] > 0
    busy = served.totals["prefill_time"] + served.totals["decode_time"]
    assert busy == pytest.approx(served.totals["clock"])
    assert served.jobs["generated"][0] == 200


@pytest.mark.parametrize("clients", [1, 5])
def test_a_client_sends_its_next_request_when_its_last_one_has_ended(clients):
    scenario = Scenario("replica", concurrency=clients, n_requests=60)
    run = scenario.simulate("sjf", 3)
    arrivals, ends = run.jobs["arrival"], np.sort(run.outcome["completion"])
    assert run.reason == "drained" and scenario.load is None
    assert (arrivals[:clients] == 0).all()
    np.testing.assert_array_equal(arrivals[clients:], ends[: 60 - clients])
    assert run.totals["integral"] / run.totals["clock"] <= clients


@pytest.mark.parametrize(
    ("told", "words"),
    [({"concurrency": 0}, "concurrency=0"), ({"load": 0.5}, "load=0.5"), ({"rate": 2.0}, "rate=2")],
)
def test_clients_exclude_a_rate(told, words):
    with pytest.raises(BadInput, match=words):
        Scenario("replica", **{"concurrency": 4, **told})


def test_stated_priorities_are_served_in_their_order():
    given = requests_of([0.0] * 4, [5] * 4, [3] * 4)
    given.requests["priority"] = [2, 0, 1, 0]
    served = serve(given, "vllm-priority:by=stated", a_profile(), max_seqs=1)
    assert np.argsort(served.outcome["completion"]).tolist() == [1, 3, 2, 0]


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


def test_a_batch_that_is_held_to_its_end_lets_nobody_be_sent_away():
    with pytest.raises(BadInput, match="room_for_one=false"):
        rule_set("vidur-sarathi:request_level=true,allocation=longest")
    assert rule_set("vidur-sarathi:request_level=true,allocation=longest,room_for_one=false").request_level


def test_a_batch_that_is_put_together_anew_is_not_held_to_its_end():
    with pytest.raises(BadInput, match="batching=blocks puts together anew"):
        rule_set("splitwise:request_level=true,allocation=longest")


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

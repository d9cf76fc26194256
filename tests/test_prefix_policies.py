"""Orders by what is cached of a prompt: each orders a small queue as it says, and is a known order without hits."""

import numpy as np
import pytest
from crowded_replica import requests_of

from llmqueue_gym.boards import boards
from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.serving import serving_policy
from llmqueue_gym.profiles import profile
from llmqueue_gym.requests import REQUEST, SYSTEM, WAITING
from llmqueue_gym.systems.serve import serve

NAMES = ("longest-prefix", "longest-prefix-aged", "longest-prefix-bounded", "shortest-uncached", "hrrn-like")
# Arrival in s; tokens of the prompt, those of it that are cached, and the output predicted.
QUEUE = [(0.0, 900, 100, 10.0), (4.0, 1000, 600, 80.0), (8.0, 300, 0, 10.0), (8.0, 5000, 4800, 10.0)]


def order(policy, clock=10.0, **changes):
    """Return the order of the queue by the ranks of a policy."""
    p = serving_policy(policy)
    params = p.params_for(profile=profile("a100-llama3-8b"), rules=None)
    system, ranks = np.zeros(1, SYSTEM).view(np.recarray)[0], []
    system.clock = clock
    for arrival, prompt, cached, predicted in QUEUE:
        row = np.zeros(1, REQUEST).view(np.recarray)[0]
        row.arrival, row.prompt, row.cached, row.predicted, row.status = arrival, prompt, cached, predicted, WAITING
        for key, value in changes.items():
            row[key] = value
        ranks.append(p.rank(row, system, params))
    return np.argsort(ranks, kind="stable").tolist()


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("longest-prefix", [3, 1, 0, 2]),
        ("longest-prefix-aged:rate=0", [3, 1, 0, 2]),
        ("longest-prefix-aged:rate=200", [3, 0, 1, 2]),  # worth 5200, 2100, 1800 and 400 tokens
        ("longest-prefix-aged:rate=2000", [0, 1, 3, 2]),
        ("longest-prefix-bounded:longest_wait=20", [3, 1, 0, 2]),
        ("longest-prefix-bounded:longest_wait=5", [0, 1, 3, 2]),
        ("longest-prefix-bounded:longest_wait=7", [0, 3, 1, 2]),
        ("shortest-uncached", [3, 2, 1, 0]),
        ("hrrn-like", [1, 0, 3, 2]),  # 6 s for 400 tokens, 10 for 800, 2 for 200, 2 for 300
        ("uncached-then-output", [2, 3, 1, 0]),  # about 55, 44, 21 and 23 ms
        ("remaining-seconds", [2, 0, 1, 3]),  # which pays for what is cached
    ],
)
def test_who_is_first(policy, expected):
    assert order(policy) == expected


def test_waiting_overtakes_hits_in_the_end():
    late = [order(f"longest-prefix-{kind}", clock=1e6)[0] for kind in ("aged", "bounded")]
    assert late == [0, 0] and order("longest-prefix", clock=1e6)[0] == 3


def test_a_preempted_request_has_its_output_to_compute_again():
    p = serving_policy("shortest-uncached")
    row, system = np.zeros(1, REQUEST).view(np.recarray)[0], np.zeros(1, SYSTEM).view(np.recarray)[0]
    row.prompt, row.cached, row.generated = 100, 100, 30
    assert p.rank(row, system, ()) == 30


@pytest.mark.parametrize("spec", ["longest-prefix-aged:rate=-1", "longest-prefix-bounded:longest_wait=-1"])
def test_bad_parameters_are_told(spec):
    with pytest.raises(BadInput, match=spec.split(":")[1]):
        serving_policy(spec)


def crowd():
    rng = np.random.default_rng(4)
    outputs = rng.integers(1, 60, 80)
    return requests_of(np.sort(rng.uniform(0, 20, 80)), rng.integers(1, 300, 80), outputs)


@pytest.mark.parametrize(
    ("policy", "same"),
    [
        ("longest-prefix", "fcfs"),
        ("longest-prefix-aged", "fcfs"),
        ("longest-prefix-bounded", "fcfs"),
        ("uncached-then-output", "remaining-seconds"),
    ],
)
def test_where_nothing_is_cached(policy, same):
    times = [
        serve(crowd(), name, profile("unit:kv_tokens=9000"), max_seqs=4).outcome["completion"]
        for name in (policy, same)
    ]
    assert np.array_equal(*times)


def test_the_board_without_caches_leaves_them_out():
    assert {*NAMES, "uncached-then-output", "learned-prefix-order"} <= set(boards()["llm"].leave_out)
    assert not {*NAMES} & set(boards()["prefix"].leave_out)

"""A replica with a radix tree: iteration by iteration against a plain reference, and what it is good for."""

from dataclasses import asdict

import numpy as np
import pytest
from crowded_replica import requests_of
from reference_sglang import ReferenceSglang

from llmqueue_gym.engines.batching.rule_sets import rule_set
from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.watch import watch
from llmqueue_gym.profiles import profile
from llmqueue_gym.requests import OUTPUT, SEGMENT, Contexts
from llmqueue_gym.systems.serve import serve

LONG = 1 << 20


def chats(seed, n=40, rate=1.0):
    """Return requests with shared beginnings, some of which go on from an earlier output, and the same in tokens."""
    rng, pieces, first = np.random.default_rng(seed), [], [0]
    outputs = rng.integers(1, 25, n)
    for i in range(n):
        mine = [(int(rng.integers(3)), 0, int(rng.choice([7, 20, 40])))]
        if i and rng.random() < 0.6:
            before = int(rng.integers(i))
            mine = pieces[first[before] : first[before + 1]][:6]
            mine = [*mine, (OUTPUT + before, 0, int(rng.integers(1, outputs[before] + 1)))]
        pieces += [*mine, (100 + i, 0, int(rng.integers(1, 12)))]
        first.append(len(pieces))
    contexts = Contexts(np.array(pieces, SEGMENT), np.array(first), OUTPUT + np.arange(n))
    prompts = np.add.reduceat(contexts.segments["length"], first[:-1])
    arrivals = np.sort(rng.integers(0, int(n / rate), n))
    given = requests_of(arrivals, prompts, outputs)._replace(contexts=contexts)
    told = []
    for i in range(n):
        mine = [*pieces[first[i] : first[i + 1]], (OUTPUT + i, 0, int(outputs[i]))]
        tokens = [text * LONG + start + k for text, start, length in mine for k in range(length)]
        one = {"id": i, "arrival": arrivals[i], "tokens": tokens, "priority": 0}
        told.append(one | {"prompt": int(prompts[i]), "output": int(outputs[i])})
    return given, told


def case(seed):
    """Return rules of a replica with room for the longest request and a few more."""
    rng = np.random.default_rng(1000 + seed)
    page, queue = int(rng.choice([1, 1, 4, 16])), str(rng.choice(["fcfs", "lpm", "dfs-weight"]))
    given, told = chats(seed, rate=float(rng.choice([0.3, 1.0, 5.0])))
    longest = max(len(one["tokens"]) for one in told)
    blocks = -(-int(longest * rng.uniform(1.1, 4)) // page) + 1
    eviction, seats = str(rng.choice(["lru", "lfu"])), int(rng.integers(2, 9))
    spec = f"sglang:block_size={page},queue_order={queue},eviction={eviction},max_seqs={seats},blocks={blocks}"
    budget = int(rng.choice([longest, 10**6]))
    return given, told, f"{spec},token_budget={budget}", (blocks, page, queue, eviction == "lfu", seats, budget)


@pytest.mark.parametrize("seed", range(30))
def test_every_iteration_against_the_plain_reference(seed):
    given, told, rules, plain = case(seed)
    ours = list(watch(given, "fcfs", profile("unit:kv_tokens=10000"), rules))
    theirs = list(ReferenceSglang(*plain).run(told))
    for k, (mine, real) in enumerate(zip(ours, theirs, strict=False)):
        mine = asdict(mine)
        mine["admitted"] = [(row, hits) for row, hits, _ in mine["admitted"]]
        mine["scheduled"] = sorted(mine["scheduled"])
        real["scheduled"] = sorted(real["scheduled"])
        assert mine == real, f"iteration {k}: {rules}"
    assert len(ours) == len(theirs)
    served = serve(given, "fcfs", profile("unit:kv_tokens=10000"), rules)
    assert served.totals["clock"] == ours[-1].clock + 1.0  # coasting takes the same decisions
    assert served.totals["hit_tokens"] == sum(hits for one in ours for _, hits, _ in one.admitted)
    assert served.totals["preemptions"] == sum(len(one.preempted) for one in ours)


def shared(pieces, arrivals, outputs):
    """Return requests whose prompts are these pieces."""
    flat = np.array([piece for mine in pieces for piece in mine], SEGMENT)
    first, n = np.cumsum([0, *map(len, pieces)]), len(pieces)
    prompts = [sum(length for *_, length in mine) for mine in pieces]
    return requests_of(arrivals, prompts, outputs)._replace(contexts=Contexts(flat, first, OUTPUT + np.arange(n)))


def test_what_is_cached_is_not_computed():
    given, _ = chats(3)
    told = {"max_seqs": 8, "blocks": 9000}
    cached, plain = (
        serve(given, "fcfs", profile("unit"), f"sglang:caching={way}", **told) for way in ("radix", "none")
    )
    hits = cached.totals["hit_tokens"]
    assert hits > 0 and cached.totals["prefill_tokens"] + hits == plain.totals["prefill_tokens"]
    assert cached.jobs["cached"].sum() == hits and plain.totals["hit_tokens"] == 0


@pytest.mark.parametrize("caching", ["vllm", "radix"])
@pytest.mark.parametrize(
    ("policy", "order"),
    [
        ("fcfs", [0, 1, 2, 3]),
        ("longest-prefix", [0, 3, 2, 1]),
        ("longest-prefix-aged:rate=1000", [0, 1, 2, 3]),
        ("shortest-uncached", [0, 2, 3, 1]),
    ],
)
def test_policies_see_what_is_cached(caching, policy, order):
    """One seat: 1 shares nothing, 2 has 16 of its 48 tokens in the cache, 3 has 64 of 100."""
    pieces = [[(1, 0, 64)], [(2, 0, 90)], [(1, 0, 16), (3, 0, 32)], [(1, 0, 64), (4, 0, 36)]]
    given = shared(pieces, [0.0, 1.0, 2.0, 3.0], [8, 8, 8, 8])
    rules = f"vllm-v1:caching={caching},max_seqs=1,block_size=16,blocks=50"
    served = serve(given, policy, profile("unit"), rules)
    assert np.argsort(served.outcome["completion"]).tolist() == order


def test_the_order_of_the_queue_is_that_of_the_rules():
    pieces = [[(1, 0, 64)], [(2, 0, 90)], [(1, 0, 16), (3, 0, 32)], [(1, 0, 64), (4, 0, 36)]]
    given = shared(pieces, [0.0, 1.0, 2.0, 3.0], [8, 8, 8, 8])
    for queue_order, order in (("fcfs", [0, 1, 2, 3]), ("lpm", [0, 3, 2, 1]), ("dfs-weight", [0, 3, 2, 1])):
        served = serve(given, "fcfs", profile("unit"), f"sglang:queue_order={queue_order},max_seqs=1,blocks=800")
        assert np.argsort(served.outcome["completion"]).tolist() == order


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ("sglang:asynchronous=true", "asynchronous=true has no place beside caching=radix"),
        ("sglang:preemption=swap", "caching=radix has no place beside preemption=swap"),
        ("vllm-v1:queue_order=lpm", "queue_order=lpm looks into a tree"),
        ("vllm-v1:caching=vllm,eviction=lfu", "eviction=lfu looks into a tree"),
        ("sglang:queue_order=lmp", "did you mean 'lpm'"),
    ],
)
def test_wrong_rules_are_told(rules, words):
    with pytest.raises(BadInput, match=words):
        rule_set(rules)


def test_two_orders_of_one_queue_are_refused():
    with pytest.raises(BadInput, match="both order the queue"):
        serve(chats(0)[0], "sjf", profile("unit"), "sglang:queue_order=lpm")

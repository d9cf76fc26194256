"""Routers against their published rules, on sites made by hand and on what replicas really looked like."""

import importlib
import json
import math
from pathlib import Path
from types import SimpleNamespace

import numba
import numpy as np
import pytest
from reference_routing import Books, choose, luck_of, shown

from llmqueue_gym.engines.batching.cache import LENGTH, PAGES, PATH, PIECE, TEXT
from llmqueue_gym.engines.batching.rule_sets import rule_set
from llmqueue_gym.engines.fleet.record import LEAST, PLACES, known_blocks, note
from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.routing import ROUTING_POLICIES
from llmqueue_gym.policies.routing.consistent_hash import place
from llmqueue_gym.profiles import profile
from llmqueue_gym.profiles.base import Profile
from llmqueue_gym.requests import OUTPUT, SEGMENT, SITE, Contexts, never_refreshed, request_table
from llmqueue_gym.systems import Drawn, Scenario
from llmqueue_gym.systems.fleet import Fleet

RULES, PROFILE = rule_set("vllm-v1"), profile("a100-llama3-8b")


def sites(**columns):
    """Return a site for each entry of the columns; others are those of an idle replica of 1,000 blocks."""
    n = len(next(iter(columns.values())))
    usual = dict.fromkeys(SITE.names, 0) | {"blocks": 1000, "free": 1000}
    made = [
        SimpleNamespace(**{**usual, "index": q, **{name: values[q] for name, values in columns.items()}})
        for q in range(n)
    ]
    return shown(made)


def chosen(spec, seen, tie=0.0, **request):
    policy = ROUTING_POLICIES(spec)
    params = policy.params_for(profile=PROFILE, rules=RULES)
    asked = SimpleNamespace(**{"prompt": 160, "prefix": 0, "tenant": 0, "place": 0, **request})
    return choose(policy, params, asked, seen, tie)


@pytest.mark.parametrize(
    ("spec", "columns", "expected"),
    [
        ("least-outstanding", {"outstanding": [3, 1, 2]}, 1),
        ("least-tokens", {"tokens": [300.0, 500.0, 200.0]}, 2),
        ("least-kv", {"free": [400, 900, 800]}, 1),
        ("least-work", {"work": [100.0, 90.0], "pending": [0.0, 200.0]}, 0),
        # 4 waiting + running: 13, 14, 12.
        ("vllm-dp", {"waiting": [2, 3, 0], "running": [5, 2, 12]}, 2),
        ("vllm-dp", {"waiting": [2, 3, 0], "running": [5, 2, 12], "since": [0, 0, 1]}, 0),
        ("vllm-dp:since=false", {"waiting": [2, 3, 0], "running": [5, 2, 12], "since": [0, 0, 1]}, 2),
        ("vllm-dp", {"waiting": [1, 1], "running": [0, 0]}, 0),
        # Freeness (free - wanted) / requests: 100, 90 and 110.
        ("llumnix", {"free": [500, 900, 660], "wanted": [0, 0, 110], "running": [5, 10, 4], "waiting": [0, 0, 1]}, 2),
        ("llumnix", {"free": [1000, 100, 100], "wanted": [0, 300, 100], "running": [1, 1, 1]}, 0),
        ("llumnix", {"free": [1000, 10], "running": [1, 0]}, 1),
        # Balanced, and 100 of 160 tokens known at replica 2, which is the busiest.
        ("cache-aware-like", {"known": [0.0, 48.0, 100.0], "outstanding": [0, 5, 64], "sent": [9.0, 1.0, 99.0]}, 2),
        # 65 apart and more than 1.5 times: the shortest queue.
        ("cache-aware-like", {"known": [0.0, 48.0, 100.0], "outstanding": [1, 5, 66], "sent": [9.0, 1.0, 99.0]}, 0),
        # 65 apart, but less than 1.5 times.
        ("cache-aware-like", {"known": [0.0, 48.0, 100.0], "outstanding": [135, 150, 200]}, 2),
        # A share of .3 is not more than .3: the smallest tree.
        ("cache-aware-like", {"known": [0.0, 0.0, 48.0], "sent": [9.0, 1.0, 99.0]}, 1),
        ("prefix-aware-like", {"known": [16.0, 32.0, 0.0], "outstanding": [0, 90, 0]}, 1),
        # Exploit: 80 of 160 known at 1 and 2, the less loaded of which is 2.
        ("preble-like", {"known": [0.0, 80.0, 80.0], "outstanding": [0, 7, 5]}, 2),
        # Explore: 64 of 160 are less than the rest.
        ("preble-like", {"known": [0.0, 64.0, 64.0], "outstanding": [0, 7, 5]}, 0),
        # The same load, but there all 160 tokens would push others out.
        ("preble-like", {"free": [0, 1000], "outstanding": [1, 1]}, 1),
        # queue 2 (1, .5, 0), kv 2 (.1, .5, 1), prefix 3 (0, 0, .5): 2.2, 2, 3.5; without the prefix 2.2, 2, 2.
        ("llm-d", {"waiting": [0, 2, 4], "free": [100, 500, 1000], "known": [0.0, 0.0, 80.0]}, 2),
        ("llm-d:prefix=0", {"waiting": [0, 2, 4], "free": [100, 500, 1000], "known": [0.0, 0.0, 80.0]}, 0),
        # All queues are equal: kv decides.
        ("llm-d", {"waiting": [3, 3], "free": [100, 500]}, 1),
        ("llm-d:precise=true", {"waiting": [0, 0], "known": [160.0, 0.0], "cached": [0.0, 32.0]}, 1),
        # The documentation's example; that of version 0.2 marks a worker of cost 12 beside one of 11 as the lowest.
        ("dynamo", {"cached": [32.0, 80.0, 128.0], "free": [990, 995, 991]}, 1),
        ("dynamo", {"cached": [32.0, 80.0, 128.0], "free": [990, 993, 991]}, 2),
        # Blocks to be read: 10 - 2 and 10 - 0; in use 10 and 9.
        ("dynamo", {"cached": [32.0, 0.0], "free": [990, 991]}, 0),
        ("dynamo:weight=0", {"cached": [32.0, 0.0], "free": [990, 991]}, 1),
        ("dynamo:events=false", {"cached": [0.0, 160.0], "known": [160.0, 0.0]}, 0),
        ("least-ttft", {"pending": [100.0, 0.0], "cached": [160.0, 0.0]}, 0),
        ("least-ttft", {"pending": [0.0, 0.0], "step_time": [0.03, 0.02]}, 1),
    ],
)
def test_routers_choose_by_their_published_rules(spec, columns, expected):
    assert chosen(spec, sites(**columns)) == expected


def test_the_costs_of_dynamo_are_those_of_its_documentation():
    policy = ROUTING_POLICIES("dynamo")
    request, params = SimpleNamespace(prompt=160), policy.params_for(profile=PROFILE, rules=RULES)
    for used, costs in (((10, 5, 9), [18, 10, 11]), ((10, 7, 9), [18, 12, 11])):
        seen = sites(cached=[32.0, 80.0, 128.0], free=[1000 - blocks for blocks in used], pending=[0.0, 0.0, 0.0])
        # Its workers have 8, 5 and 2 blocks to read of 10.
        assert [policy.score(request, site, params) for site in seen] == costs


def test_temperature_draws_by_softmax_over_normalised_costs():
    cost, temperature, n = np.array([18.0, 10.0, 11.0]), 0.5, 10_000
    logits = -cost / (cost.max() - cost.min()) / temperature
    wanted = np.exp(logits) / np.exp(logits).sum()
    policy = ROUTING_POLICIES(f"dynamo:temperature={temperature}")
    request, params = SimpleNamespace(prompt=160), policy.params_for(profile=PROFILE, rules=RULES)
    seen, counts = sites(cached=[32.0, 80.0, 128.0], free=[990, 995, 991]), np.zeros(3)
    for drawn in np.random.default_rng(3).random(n):
        for site in seen:
            site.asked, site.luck = 0, luck_of(drawn, site.index)
        counts[choose(policy, params, request, seen)] += 1
    # Four standard errors, and three such comparisons.
    assert (np.abs(counts / n - wanted) < 4 * np.sqrt(wanted * (1 - wanted) / n)).all()


def test_luck_is_uniform_and_independent_of_the_replica():
    luck = np.array([[luck_of(u, q) for q in range(4)] for u in np.random.default_rng(1).random(20_000)])
    assert luck.min() >= 0 and luck.max() < 1
    for q in range(4):
        gap = np.abs(np.sort(luck[:, q]) - (np.arange(len(luck)) + 0.5) / len(luck)).max()
        assert gap < 1.95 / math.sqrt(len(luck))  # Kolmogorov, p = .001
    assert (np.abs(np.corrcoef(luck.T) - np.eye(4)) < 4 / math.sqrt(len(luck))).all()


@pytest.mark.parametrize("name", list(ROUTING_POLICIES))
def test_scores_are_numbers_wherever_a_replica_may_be(name):
    policy = ROUTING_POLICIES(name)
    params = policy.params_for(profile=PROFILE, rules=RULES)
    assert policy.source and policy.__class__.kind == "router"
    for waiting in (0, 1, 500):
        for free in (0, 17, 1000):
            for known in (0.0, 160.0):
                for load in ((0, 0, 0), (0, 1, 300), (77, 77, 77)):
                    for request in (1, 160, 100_000):
                        columns = {"waiting": [waiting, 0, waiting], "free": [free, 1000, 0], "outstanding": load}
                        columns |= {"known": [min(known, request), 0.0, 0.0], "running": [0, 0, 3]}
                        columns |= {"pending": [0.0, 5e5, 3.0], "wanted": [0, 900, 1], "luck": [0.0, 0.5, 1 - 2**-53]}
                        seen = sites(**columns)
                        asked = SimpleNamespace(prompt=request, predicted=30.0, prefix=-7, tenant=0, place=5)
                        for site in seen:
                            assert math.isfinite(policy.score(asked, site, params))
                            site.asked, site.lowest, site.highest = 1, -100.0, 500.0
                            assert math.isfinite(policy.score(asked, site, params))


KEYS, MACHINES = 400, 8


def homes(machines):
    """Return where each text lives on plain consistent hashing of these replicas."""
    seen = sites(outstanding=[0] * MACHINES)
    seen = shown([site for site in seen if site.index in machines])
    return np.array([chosen("consistent-hash:factor=inf", seen, prefix=text) for text in range(1, KEYS + 1)])


def test_a_replica_that_leaves_moves_its_own_texts_alone():
    before = homes(range(MACHINES))
    shares = np.bincount(before, minlength=MACHINES) / KEYS
    assert shares.min() > 0.5 / MACHINES and shares.max() < 2 / MACHINES
    for gone in (0, 5):
        after = homes([q for q in range(MACHINES) if q != gone])
        assert (before[after != before] == gone).all() and (after[before == gone] != gone).all()


def test_bounded_loads_hold_and_who_is_not_at_home_found_it_full():
    rng, factor = np.random.default_rng(2), 1.25
    counts, there = [0] * MACHINES, []
    home = homes(range(MACHINES))
    texts = np.minimum(rng.zipf(1.5, 600), KEYS)
    for k, text in enumerate(texts):
        q = chosen(f"consistent-hash:factor={factor}", sites(outstanding=counts), prefix=int(text))
        most = math.ceil(factor * (sum(counts) + 1) / MACHINES)
        assert counts[q] + 1 <= most
        assert q == home[text - 1] or counts[home[text - 1]] + 1 > most
        counts[q] += 1
        there.append(q)
        if k >= 200:  # requests leave at random
            counts[there.pop(rng.integers(len(there)))] -= 1
    assert max(np.bincount(home[texts - 1], minlength=MACHINES)) > 2 * len(texts) / MACHINES  # else nothing to bound


def test_texts_tenants_and_requests_stand_at_places_of_their_own():
    seen = sites(outstanding=[0] * MACHINES)
    by_tenant = {chosen("consistent-hash", seen, tenant=7, place=k) for k in range(50)}
    by_request = {chosen("consistent-hash", seen, place=k) for k in range(50)}
    assert len(by_tenant) == 1 and len(by_request) > 4
    assert place(1, 7, 0) != place(2, 7, 0) and 0 <= place(1, -(2**62), 3) < 1


@pytest.mark.parametrize(
    "spec",
    [
        "cache-aware-like:match=2",
        "consistent-hash:factor=0.9",
        "consistent-hash:copies=0",
        "preble-like:tpot=-1",
        "llm-d:kv=-1",
        "dynamo:temperature=-1",
        "least-work:prompt=-1",
    ],
)
def test_bad_numbers_are_refused(spec):
    with pytest.raises(BadInput, match=spec.partition(":")[0]):
        ROUTING_POLICIES(spec)


SECONDS, BLOCKS = 1 / 64, 5000
SPECS = ("dynamo:temperature=0.3", "dynamo:events=false", "llm-d:precise=true", "cache-aware-like:apart=2")


def small_fleet(spec, staleness, seed, caching=False, size=3, n=400):
    """Return the run of a small fleet whose iterations take a constant time, and the reference that reads it.

    Where it caches, prompts begin with one of twelve texts.
    """
    rng = np.random.default_rng(seed)
    numbers = np.array([0.0, SECONDS, 0.0, 0.0, 0.0])
    constant = Profile("constant", "", "", "roofline", numbers, 16 * BLOCKS, 1.0, "a test")
    rules = "vllm-v1:max_seqs=3,caching=vllm" if caching else "vllm-v1:max_seqs=3"
    fleet = Fleet(constant, rules, replicas=size, staleness=staleness)
    outputs, prompts = rng.geometric(1 / 20, n), rng.integers(1, 400, n)
    requests = request_table(np.cumsum(rng.exponential(20 * SECONDS / (3 * size) / 0.85, n)), prompts)
    requests["predicted"] = requests["first_predicted"] = requests["lower"] = requests["upper"] = rng.integers(1, 60, n)
    requests["prefix"] = rng.integers(1, 13, n)
    shared, contexts = None, None
    if caching:
        shared = rng.integers(1, 300, 13)[requests["prefix"]]
        requests["prompt"] += shared
        segments = np.zeros((n, 2), SEGMENT)
        segments["text"] = np.stack([requests["prefix"], 100 + np.arange(n)], 1)
        segments["length"] = np.stack([shared, requests["prompt"] - shared], 1)
        contexts = Contexts(segments.ravel(), 2 * np.arange(n + 1), OUTPUT + np.arange(n))
    policy = Fleet.policies(spec)
    choices, ties = policy.choices(n, size, rng), rng.random(n)
    truth = {"sizes": outputs, "refreshed": never_refreshed(n), "choices": choices, "ties": ties, "contexts": contexts}
    run = fleet.simulate(Drawn(requests, truth), policy)
    params = policy.params_for(profile=constant, rules=fleet.bound_rules)
    return run, policy, params, choices, Books(run, size, SECONDS, BLOCKS, staleness, ties, shared)


OF_SIMULATORS = {"promised", "reserved", "reading", "idle"}  # columns that tests of split phases compare with logs
PLAIN = [name for name in ROUTING_POLICIES if not ROUTING_POLICIES(name).reads(1) & OF_SIMULATORS]


@pytest.mark.parametrize("staleness", [0.0, 0.05, 0.7])
@pytest.mark.parametrize("spec", [*PLAIN, *SPECS])
def test_every_request_goes_where_the_rule_sends_it_given_the_last_report(spec, staleness):
    check_choices(*small_fleet(spec, staleness, 4))


@pytest.mark.parametrize("staleness", [0.0, 0.7])
@pytest.mark.parametrize("spec", [*PLAIN, *SPECS])
def test_every_request_goes_where_the_rule_sends_it_given_what_caches_hold(spec, staleness):
    run, policy, params, choices, books = small_fleet(spec, staleness, 5, caching=True)
    check_choices(run, policy, params, choices, books)
    hits = [books.hits(run.jobs["site"][i], i, math.inf) for i in range(len(run.jobs))]
    assert run.totals["hit_tokens"] == sum(hits) > 0


def check_choices(run, policy, params, choices, books):
    """Check that all requests went where the reference sends them."""
    assert run.totals["preemptions"] == 0 and len(set(run.jobs["site"].tolist())) == 3
    for i in range(len(run.jobs)):
        seen = shown([books.site(q, i) for q in range(books.replicas)])
        told = {name: run.jobs[name][i] for name in ("prompt", "prefix", "tenant", "predicted")}
        request = SimpleNamespace(**told, place=i)
        wanted = choose(policy, params, request, seen, books.ties[i], choices[i], i)
        assert run.jobs["site"][i] == wanted, i


def test_prompts_that_begin_alike_go_to_one_replica_by_consistent_hashing():
    lengths = "prefixes:texts=12,prefix=100,own=lognormal:prompt=40;output=4"
    scenario = Scenario("fleet", lengths=lengths, rate=4.0, n_jobs=80)
    first = scenario.draw(1).truth["contexts"]
    run = scenario.simulate("consistent-hash:factor=inf", 1)
    np.testing.assert_array_equal(run.jobs["prefix"], first.segments["text"][first.first[:-1]] + 1)
    texts = np.unique(run.jobs["prefix"])
    for prefix in texts:
        assert len(set(run.jobs["site"][run.jobs["prefix"] == prefix].tolist())) == 1
    assert len(texts) > 5 and len(set(run.jobs["site"].tolist())) > 1
    plain = Scenario("fleet", lengths="lognormal:prompt=40,output=4", rate=4.0, n_jobs=9)
    assert (plain.draw(1).work["prefix"] == 0).all()


def test_the_stored_findings_on_stale_views_follow_from_their_rows(monkeypatch):
    folder = Path(__file__).parents[1] / "experiments"
    monkeypatch.syspath_prepend(folder)
    module = importlib.import_module("how_stale_may_a_view_be")
    stored = json.loads(module.OUT.with_suffix(".json").read_text())
    assert module.findings(stored["rows"]) == stored["finding"]
    assert len(stored["rows"]) == len(module.ROUTERS) * len(module.SIZES) * len(module.LOADS) * len(module.STALENESS)
    again = module.p99("llm-d", 4, 0.8, 0.01, stored["requests"], module.FIRST_SEED)
    wanted = next(r for r in stored["rows"] if (r["router"], r["load"], r["staleness"]) == ("llm-d", 0.8, 0.01))
    assert again == pytest.approx(wanted["p99"][0], rel=1e-9)


@numba.njit
def sent_and_known(cells, paths, record, tokens, size):
    """Return how many tokens a record knows of prompts of so many, each at a path, once all were sent."""
    for path in paths:
        note(cells, path, record, 0, tokens // size, size)
    known = np.zeros(len(paths), np.int64)
    for k in range(len(paths)):
        known[k] = known_blocks(cells, paths[k], record, 0, tokens // size, size) * size
    return known


def test_a_record_is_bounded_by_tokens_whatever_the_size_of_blocks():
    tokens, most = 4096, PLACES * LEAST
    paths = 8 + (PATH + PIECE) * np.arange(3 * most // tokens)
    cells = np.zeros(paths[-1] + PATH + PIECE, np.int64)
    for cell, value in ((PAGES, PATH + PIECE), (PATH + TEXT, 1 + np.arange(len(paths))), (PATH + LENGTH, tokens)):
        cells[paths + cell] = value
    for size in (16, 48, 64, 512):
        known = sent_and_known(cells, paths, np.zeros((1, PLACES), np.int64), tokens // size * size, size)
        assert known[-1] == tokens // size * size
        assert 0 < known.sum() <= most, size
    few = sent_and_known(cells, paths[:8], np.zeros((1, PLACES), np.int64), tokens, 16)
    assert (few == tokens).all()


def test_no_column_hides_behind_what_a_record_can_do():
    # Uncompiled, `site.all` would be a method of NumPy's records.
    assert not set(SITE.names) & set(dir(np.record))

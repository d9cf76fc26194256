"""Requests that move between replicas that cache: what is found where they go is not sent, and no block is lost."""

import numpy as np
import pytest
from test_control import walked
from watched_caches import check_caches

from llmqueue_gym.engines.fleet.tables import OFF
from llmqueue_gym.errors import BadInput
from llmqueue_gym.profiles.base import Profile
from llmqueue_gym.requests import DONE, OUTPUT, SEGMENT, Contexts, never_refreshed, request_table
from llmqueue_gym.systems import Drawn, Scenario
from llmqueue_gym.systems.control import NEVER
from llmqueue_gym.systems.fleet import Fleet

SECONDS, LINK = 1 / 64, 1e-6  # of an iteration; of a token on its way, of 1,000 bytes at 1e9 bytes/s
CACHING = ["vllm-v1:caching=vllm", "vllm-v1:caching=radix"]
GROUPS = "[[replica]]\nrole = 'prefill'\nrules = '{}'\n[[replica]]\nrole = 'decode'\nrules = '{}'\n"


def served(fleet, prompts, arrivals, outputs, router="round-robin", vanishing=()):
    """Return the run of requests whose prompts are pieces (text, tokens)."""
    n = len(prompts)
    pieces = np.array([(text, 0, tokens) for prompt in prompts for text, tokens in prompt], SEGMENT)
    contexts = Contexts(pieces, np.cumsum([0, *map(len, prompts)]), OUTPUT + np.arange(n))
    lengths = np.array([sum(tokens for _, tokens in prompt) for prompt in prompts])
    truth = {"sizes": np.array(outputs), "refreshed": never_refreshed(n), "contexts": contexts}
    truth |= {"choices": np.zeros((n, 0), np.int64), "ties": np.zeros(n)}
    truth["vanishing"] = np.array(list(vanishing), NEVER.dtype)
    return fleet.simulate(Drawn(request_table(np.array(arrivals), lengths), truth), Fleet.policies(router))


def made(rules=CACHING[0], **given):
    """Replicas whose iterations take a constant time, and a link that does by the token."""
    numbers = np.array([0.0, SECONDS, 0.0, 0.0, 0.0])
    profile = Profile("constant", "", "", "roofline", numbers, 1600, 1000.0, "a test")
    return Fleet(profile, rules, **{"replicas": 2, "bandwidth": 1e9, "latency": 0.0, **given})


PAIR = [[(1, 64), (2, 16)], [(1, 64), (3, 10)]]  # two prompts that begin with the same four blocks


@pytest.mark.parametrize("rules", CACHING)
def test_only_missing_blocks_are_sent(rules):
    run = served(made(rules, prefill=1), PAIR, [0.0, 1.0], [4, 4])
    assert run.totals["transfers"] == 2 and run.totals["hit_tokens"] == 64  # where it is read
    assert run.totals["spared_tokens"] == 64 and run.totals["transfer_bytes"] == 1000.0 * (80 + 10)
    sent = np.array([80, 10]) * LINK
    np.testing.assert_allclose(run.outcome["completion"] - run.jobs["arrival"], 4 * SECONDS + sent, rtol=1e-12)


@pytest.mark.parametrize("rules", CACHING)
@pytest.mark.parametrize("where", [0, 1])
def test_one_side_may_cache_alone(rules, where, tmp_path):
    path = tmp_path / "fleet.toml"
    path.write_text(GROUPS.format(*([rules, "vllm-v1"] if where == 0 else ["vllm-v1", rules])))
    run = served(made(fleet=str(path), replicas=Fleet.replicas), PAIR, [0.0, 1.0], [4, 4])
    assert [part["hit_tokens"] for part in run.parts] == [64 * (1 - where), 0]
    assert run.totals["spared_tokens"] == 64 * where
    assert run.totals["transfer_bytes"] == 1000.0 * (80 + 74 - 64 * where)


def test_both_ways_of_caching_have_no_place_in_one_fleet(tmp_path):
    path = tmp_path / "fleet.toml"
    path.write_text(GROUPS.format(*CACHING))
    with pytest.raises(BadInput, match="caching=radix and caching=vllm in one fleet"):
        made(fleet=str(path), replicas=Fleet.replicas)


@pytest.mark.parametrize("rules", CACHING)
def test_a_prompt_of_which_little_is_missing_where_it_decodes_is_read_there(rules):
    for most, readers in ((11, [0, 1]), (10, [0, 0])):  # ten tokens of the second are missing
        run = served(made(rules, prefill=1, local_below=most), PAIR, [0.0, 1.0], [4, 4])
        assert run.totals["transfers"] == 2 - sum(readers) and run.jobs["site"].tolist() == [1, 1]
        assert [part["prefill_tokens"] > 80 for part in run.parts] == [not any(readers), False]
        assert run.totals["prefill_tokens"] == 80 + 10


@pytest.mark.parametrize("rules", CACHING)
def test_who_migrates_finds_what_is_there(rules):
    """The request that was admitted last moves; the replica that it goes to has read how its prompt begins."""
    prompts = [[(2, 400)], [(1, 64)], [(1, 64), (3, 256)], [(4, 16)]]
    run = served(made(rules, migrate_every=1 / 16), prompts, [0.001, 0.002, 0.02, 0.021], [40, 1, 40, 1])
    assert run.jobs["site"].tolist() == [0, 1, 1, 1] and run.totals["migrations"] == 1
    assert run.totals["spared_tokens"] == 64 and run.totals["transfer_bytes"] == 1000.0 * (321 - 64)


def test_who_is_chosen_in_pairs_finds_what_is_there():
    run = served(made(prefill=1, handover="least-reserved"), PAIR, [0.0, 1.0], [4, 4], "mixed-pool")
    assert run.totals["spared_tokens"] == 64 and run.totals["transfer_bytes"] == 1000.0 * (80 + 10)


@pytest.mark.parametrize("rules", CACHING)
def test_who_starts_in_place_of_a_replica_that_vanished_has_nothing(rules):
    for vanishing, hits in (([], 64), ([(0.5, 0)], 0)):
        run = served(made(rules, replicas=1, start_up=0.1), PAIR, [0.0, 1.0], [4, 4], vanishing=vanishing)
        assert run.totals["hit_tokens"] == hits and run.totals["lost"] == 0 and run.done.all()


def crowded(seed):
    """A small fleet whose prompts share, where requests move and replicas vanish."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(2, 5))
    rules = str(rng.choice([*CACHING, "vllm-v1:caching=vllm,max_seqs=3", "sglang:max_seqs=4"]))
    given = {"replicas": size, "rules": rules, "prefill": int(rng.integers(0, size)), "start_up": 0.5}
    given |= {"profile": "a100-llama3-8b:kv_tokens=1024", "max_tokens": 900, "rate": 12.0 * size, "n_jobs": 60}
    given |= {"lengths": "prefixes:texts=6,prefix=100,own=lognormal:prompt=60;output=40"}
    given |= {"bandwidth": float(rng.choice([3e8, 1e10])), "retry": float(rng.choice([0.0, 0.0, 0.01]))}
    given |= {"spot": float(rng.choice([0.0, 2e-4])), "local_below": int(rng.choice([0, 70]))}
    given |= {"migrate_every": float(rng.choice([0.0, 0.1])), "migrate_floor": 0.0}
    return Scenario("fleet", **given), str(rng.choice(["least-outstanding", "round-robin", "power-of-d", "llm-d"]))


def test_every_block_is_somebodys_or_free_while_requests_move_and_replicas_vanish():
    spared, lost, trees = 0, 0, 0
    for seed in range(24):
        scenario, router = crowded(seed)
        policy = scenario.policy(router)
        drawn = scenario.draw(seed, policy)

        def look(f, r):
            check_caches(f, r)
            gone = np.flatnonzero(f.members["power"] == OFF)
            assert (r.system["free"][gone] == r.system["blocks"][gone]).all()

        f, r = walked(scenario.system, drawn, policy, look, every=40)
        check_caches(f, r)
        assert (r.requests["status"] == DONE).all() and (r.requests["generated"] == drawn.sizes).all(), seed
        assert (r.system["free"] == r.system["blocks"]).all() and (f.flows["blocks"] == 0).all()
        spared, lost = spared + f.fleet["spared_tokens"][0], lost + f.fleet["lost"][0]
        trees += f.fleet["lost"][0] * ("radix" in scenario.system.bound_rules.caching)
    assert spared > 1000 and lost > 20 and trees > 10

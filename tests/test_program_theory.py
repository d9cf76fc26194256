"""Fork and join, users who think, speculation and growing trees: exact values against simulation and by hand."""

import numpy as np
import pytest

from llmqueue_gym.errors import BadInput, Unstable
from llmqueue_gym.policies.expansion import EXPANSION_POLICIES, expansion_policy
from llmqueue_gym.requests import NODE
from llmqueue_gym.theory.closed_network import ClosedNetwork
from llmqueue_gym.theory.expansion import puct, rebase_widths, uct
from llmqueue_gym.theory.fork_join import branches, two_branches
from llmqueue_gym.theory.speculation import (
    BatchedSpeculation,
    acceptance_of,
    best_draft,
    expected_tokens,
    positional_tokens,
    speed_up,
)

# Fork and join.


def responses(arrivals, sizes):
    """Response times of a FCFS queue by Lindley's recursion, `(n,)`."""
    steps = np.concatenate([[0.0], sizes[:-1] - np.diff(arrivals)])
    walk = np.cumsum(steps)
    return walk - np.minimum.accumulate(walk) + sizes


@pytest.mark.parametrize("load", [0.3, 0.8])
def test_two_branches_take_what_flatto_and_hahn_say(load):
    rng, n = np.random.default_rng(1), 400_000
    arrivals = np.cumsum(rng.exponential(1 / load, n))
    times = np.maximum(*(responses(arrivals, rng.exponential(1.0, n)) for _ in range(2)))
    batches = times.reshape(40, -1).mean(axis=1)
    assert abs(times.mean() - two_branches(load)) <= 3.5 * batches.std() / np.sqrt(40)


def test_branches_at_the_ends():
    assert branches(1, 0.5, 2.0) == 4 and branches(2, 0.6) == two_branches(0.6)
    for n in (2, 5, 20):  # with nobody else there: the greatest of n exponential times
        assert branches(n, 1e-9) == pytest.approx(sum(1 / i for i in range(1, n + 1)), rel=1e-6)
    with pytest.raises(Unstable):
        two_branches(1.0)
    with pytest.raises(BadInput, match="33"):
        branches(33, 0.5)


# Users who think.


def mean_value(users, think, mean):
    """Throughput and response time of one server by mean value analysis (Reiser, Lavenberg 1980)."""
    there = 0.0
    for n in range(1, users + 1):
        response = mean * (1 + there)
        rate = n / (think + response)
        there = rate * response
    return rate, response


@pytest.mark.parametrize("users", [1, 2, 10, 300])
def test_the_repairman_is_mean_value_analysis(users):
    network = ClosedNetwork(users, 5.0, 0.5)
    rate, response = mean_value(users, 5.0, 0.5)
    assert network.throughput == pytest.approx(rate, rel=1e-10)
    assert network.mean_response_time == pytest.approx(response, rel=1e-8)
    assert users / network.throughput - 5.0 == pytest.approx(response, rel=1e-8)
    assert 0 < network.utilisation <= 1 + 1e-12


def test_users_with_a_server_each_never_wait_and_many_saturate_it():
    assert ClosedNetwork(4, 3.0, 2.0, servers=4).mean_response_time == pytest.approx(2.0)
    crowded = ClosedNetwork(500, 3.0, 2.0)
    assert crowded.throughput == pytest.approx(0.5) and crowded.mean_response_time == pytest.approx(500 * 2.0 - 3.0)
    assert crowded.saturation == 2.5
    for wrong in ({"users": 0}, {"think": 0.0}, {"mean": -1.0}, {"servers": 0}):
        with pytest.raises(BadInput):
            ClosedNetwork(**{"users": 2, "think": 1.0, **wrong})


# Speculation.


@pytest.mark.parametrize("a", [0.0, 0.3, 0.8, 1.0])
@pytest.mark.parametrize("g", [0, 1, 5])
def test_tokens_of_a_draft_are_a_sum_over_who_refuses_first(a, g):
    refused = [a**k * (1 - a) * (k + 1) for k in range(g)]
    assert expected_tokens(g, a) == pytest.approx(sum(refused) + a**g * (g + 1))
    assert expected_tokens(g, a) == pytest.approx(positional_tokens([a ** (k + 1) for k in range(g)]))
    if g > 0:
        assert acceptance_of(expected_tokens(g, a), g) == pytest.approx(a, abs=1e-9)


def test_the_survey_s_example():
    assert expected_tokens(5, 0.8) == pytest.approx(3.69, abs=0.005)
    assert speed_up(5, 0.8, 0.05) == pytest.approx(2.95, abs=0.005)
    best = best_draft(0.8, 0.05)
    assert all(speed_up(best, 0.8, 0.05) >= speed_up(g, 0.8, 0.05) for g in range(60))
    assert best_draft(0.5, 1.0) == 0  # a draft that costs as much as the token


def test_more_drafting_turns_harmful_where_verification_begins_to_cost():
    def verify(batch, queries):  # a step is free up to 64 tokens, and takes as long as it has tokens from there on
        return max(64, batch * queries) / 64

    free = BatchedSpeculation(verify, lambda batch: 0.0, 0.8)
    assert free.best_draft(1) == 16 and free.best_draft(1000) == 0
    g = 3
    harmful = free.harmful_from(g)
    # from batch b on: tokens * 64 / (4 b) < 1 as long as a batch without drafts is still free
    assert harmful == int(np.floor(64 * expected_tokens(g, 0.8) / (g + 1))) + 1
    assert free.throughput(harmful, g) < free.throughput(harmful, 0)
    assert free.throughput(harmful - 1, g) >= free.throughput(harmful - 1, 0)
    assert free.harmful_from(3, most=10) is None
    alone, tandem = (BatchedSpeculation(verify, lambda batch: 0.5, 0.8, tandem=t) for t in (False, True))
    assert tandem.throughput(8, 3) == pytest.approx(alone.throughput(8, 3) * (1.5 + 1) / (2 * 1.5))
    assert tandem.throughput(8, 3) == pytest.approx(alone.throughput(4, 3) * (1.5 + 1) / 1.5)
    assert tandem.throughput(1, 3) == alone.throughput(1, 3)


@pytest.mark.parametrize(
    "call",
    [
        lambda: expected_tokens(-1, 0.5),
        lambda: expected_tokens(2, 1.5),
        lambda: positional_tokens([0.5, 0.6]),
        lambda: positional_tokens([0.5], 2),
        lambda: acceptance_of(4.0, 2),
        lambda: speed_up(2, 0.5, -1.0),
    ],
)
def test_bad_numbers_are_refused(call):
    with pytest.raises(BadInput):
        call()


# Trees.


def test_rebase_shares_the_width_whatever_the_scores():
    rng = np.random.default_rng(0)
    for _ in range(500):
        n, width = int(rng.integers(1, 20)), int(rng.integers(1, 40))
        finished = int(rng.integers(0, width + 1))
        scores = rng.random(n) * rng.choice([1e-9, 1.0, 1e4])
        widths = rebase_widths(scores, width, finished)
        assert widths.sum() == width - finished and (widths >= 0).all()
        order = np.argsort(-scores, kind="stable")
        assert widths[order[0]] >= np.ceil((width - finished) / n)  # the best gets no less than its even share


def test_rebase_by_hand():
    # weights 2 : 1 : 1 of 16; the first gets ceil(8), the others half of what is left
    np.testing.assert_array_equal(rebase_widths([0.0, 0.2 * np.log(2), 0.0], 16), [4, 8, 4])
    # of 5: ceil(2.5) = 3, then ceil(1) of 2, then the one that is left
    np.testing.assert_array_equal(rebase_widths([0.2 * np.log(2), 0.0, 0.0], 5), [3, 1, 1])
    np.testing.assert_array_equal(rebase_widths([1.0, 0.0], 2), [2, 0])
    assert len(rebase_widths([], 4)) == 0
    with pytest.raises(BadInput, match="finished=5"):
        rebase_widths([0.0], 4, 5)


def node(**columns):
    row = np.zeros(1, NODE)
    for name, value in columns.items():
        row[name] = value
    return row.view(np.recarray)[0]


def test_bounds_by_hand_and_the_rules_are_these():
    assert uct(0.5, 4, 100) == pytest.approx(0.5 + 1.4 * np.sqrt(np.log(100) / 4)) and uct(0.5, 0, 9) == np.inf
    assert puct(0.5, 4, 100, 0.3) == pytest.approx(0.5 + 1.4 * 0.3 * 10 / 5)
    child = node(visits=4, parent_visits=100, value=0.5, prior=0.3, score=0.7, depth=2)
    for name, expected in (("uct", uct(0.5, 4, 100)), ("puct", puct(0.5, 4, 100, 0.3)), ("best-first", 0.7)):
        rule = expansion_policy(name)
        assert rule.rank(child, rule.params_for()) == pytest.approx(-expected)
    fresh = expansion_policy("uct")
    assert fresh.rank(node(parent_visits=3), fresh.params_for()) == -np.inf
    wide = expansion_policy("breadth-first")
    ranks = [wide.rank(node(depth=d, score=s), wide.params_for()) for d, s in ((1, 0.9), (1, 0.1), (2, 1.0))]
    assert ranks == sorted(ranks)


@pytest.mark.parametrize("name", EXPANSION_POLICIES)
def test_every_rule_cites_and_compiles(name):
    rule = expansion_policy(name)
    assert rule.name == name and rule.source and len(rule.compiled()) == 1

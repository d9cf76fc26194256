"""Votes and rules of stopping: sums against enumeration, against each other and against drawn answers."""

import itertools
import pickle
from functools import cache

import numpy as np
import pytest

from llmqueue_gym import _jit
from llmqueue_gym._jit import kernel, records
from llmqueue_gym.errors import BadInput, TruthError
from llmqueue_gym.policies.stopping import STOPPING_POLICIES, StoppingPolicy, stopping_policy
from llmqueue_gym.policies.stopping.base import told
from llmqueue_gym.theory.answers import agreement, certaindex, entropy, majority, plurality, posterior, stopping

THREE = (0.45, 0.35, 0.2)
STATIC = "never", "majority", "posterior", "posterior:level=0.7,least=3", "certaindex", "certaindex:threshold=0.4"


def enumerated(n, chances):
    """The chance that answer 0 has most votes, over all sequences; of ties its share."""
    total = 0.0
    for sequence in itertools.product(range(len(chances)), repeat=n):
        votes = np.bincount(sequence, minlength=len(chances))
        if votes[0] == votes.max():
            total += np.prod([chances[j] for j in sequence]) / (votes == votes.max()).sum()
    return total


@pytest.mark.parametrize("n", [1, 2, 3, 6])
@pytest.mark.parametrize("chances", [(0.6, 0.4), THREE, (0.1, 0.2, 0.3, 0.4), (1.0, 0.0)])
def test_the_vote_is_right_as_often_as_all_sequences_say(n, chances):
    assert plurality(n, chances) == pytest.approx(enumerated(n, chances), rel=1e-12)


@pytest.mark.parametrize("n", [1, 2, 7, 40, 101])
def test_of_two_answers_it_is_the_binomial(n):
    assert plurality(n, (0.55, 0.45)) == pytest.approx(majority(n, 0.55), rel=1e-10)
    assert stopping(n, (0.55, 0.45), lambda votes: False).accuracy == pytest.approx(majority(n, 0.55), rel=1e-10)


def test_one_answer_is_as_good_as_it_is_and_many_are_better_or_worse():
    assert majority(1, 0.7) == pytest.approx(0.7) and majority(2, 0.7) == pytest.approx(0.7)
    assert majority(3, 0.7) == pytest.approx(0.7**3 + 3 * 0.7**2 * 0.3)
    assert majority(41, 0.6) > 0.9 and majority(41, 0.4) < 0.1


@pytest.mark.parametrize("chances", [(0.6, 0.4), THREE])
@pytest.mark.parametrize("planned", [5, 12])
def test_what_cannot_be_overtaken_gives_the_answer_of_all_votes_for_fewer(chances, planned):
    rule = stopping_policy("majority")
    early = stopping(planned, chances, lambda votes: rule.stops_at(votes, planned))
    assert early.accuracy == pytest.approx(plurality(planned, chances), rel=1e-12)
    assert early.answers < planned and early.stopped.sum() == pytest.approx(1)
    assert early.stopped[: (planned + 1) // 2].sum() == 0  # nobody can be safe before half of the votes


@pytest.mark.parametrize("spec", STATIC)
def test_the_sum_over_counts_is_what_drawn_answers_give(spec):
    rule, planned, rng = stopping_policy(spec), 10, np.random.default_rng(0)
    stops = cache(lambda votes: rule.stops_at(votes, planned))
    exact = stopping(planned, THREE, stops)
    right, answers, edges = [], [], np.cumsum(THREE)[:2]
    for _ in range(1000):
        votes = np.zeros(3, int)
        for given in range(1, planned + 1):
            votes[np.searchsorted(edges, rng.random())] += 1
            if given == planned or stops(tuple(votes)):
                break
        right.append((votes[0] == votes.max()) / (votes == votes.max()).sum())
        answers.append(given)
    for drawn, expected in ((right, exact.accuracy), (answers, exact.answers)):
        assert abs(np.mean(drawn) - expected) <= 3.5 * np.std(drawn) / np.sqrt(len(drawn)) + 1e-12


def test_the_posterior_is_the_beta_s_and_the_rule_s():
    from scipy.stats import beta

    rule = stopping_policy("posterior:level=0.9")
    for a, b in itertools.product(range(12), repeat=2):
        if a >= b and a > 0:
            assert posterior(a, b) == pytest.approx(beta.sf(0.5, a + 1, b + 1), rel=1e-12)
            assert rule.stops_at((a, b), 40) == (posterior(a, b) >= 0.9)


def test_certaindex_is_one_where_all_agree_and_none_where_none_do():
    assert certaindex((7,)) == 1 and certaindex((1, 1, 1, 1)) == pytest.approx(0)
    assert entropy((2, 1, 1)) == pytest.approx(1.5) and certaindex((2, 1, 1)) == pytest.approx(0.25)
    rule = stopping_policy("certaindex:threshold=0.25")
    assert rule.stops_at((2, 1, 1), 9) and not rule.stops_at((2, 1, 1, 1), 9) and not rule.stops_at((3,), 9)
    assert told((2, 1, 0, 1), 9).entropy == entropy((2, 1, 1))


def test_efforts_of_dynasor():
    efforts = {"mild": (8, 64), "low": (5, 64), "mid": (3, 64), "high": (2, 64), "crazy": (2, 32)}
    for effort, (k, every) in efforts.items():
        rule = stopping_policy(f"dynasor:effort={effort}")
        assert (rule.params, rule.every, rule.probe) == ((k,), every, 20)
        stops = [bool(rule.stops(told((), 1, agree=agree), rule.params_for())) for agree in (k - 1, k)]
        assert stops == [False, True]
    with pytest.raises(BadInput, match="did you mean 'mid'"):
        stopping_policy("dynasor:effort=mids")


@pytest.mark.parametrize("k", [1, 2, 3])
def test_probes_that_agree_by_sums_and_by_all_sequences(k):
    chances = np.array([[0.1, 0.5], [0.3, 0.3], [0.6, 0.1], [0.8, 0.1], [0.9, 0.05]])
    accuracy, probes = 0.0, 0.0
    for sequence in itertools.product(range(3), repeat=len(chances)):  # 2 agrees with nothing
        rows = np.column_stack([chances, 1 - chances.sum(axis=1)])
        weight, run, last, stopped = np.prod([row[j] for row, j in zip(rows, sequence, strict=True)]), 0, -1, None
        for i, j in enumerate(sequence):
            run = 0 if j == 2 else run + 1 if j == last else 1
            last = j
            if run == k:
                stopped = i + 1, float(j == 0)
                break
        at, right = stopped or (len(chances), 0.95)
        accuracy, probes = accuracy + weight * right, probes + weight * at
    got = agreement(k, chances, 0.95)
    assert got.accuracy == pytest.approx(accuracy, rel=1e-12) and got.probes == pytest.approx(probes, rel=1e-12)


def test_a_placeholder_at_first_makes_few_probes_wrong():
    """The criticism of stopping by consensus: what is given early and often is not what comes out in the end."""
    depth = np.arange(1, 41)[:, None] / 40
    chances = np.hstack([0.95 * depth**2, 0.7 * (1 - depth)])
    accuracy = [agreement(k, chances, 0.95).accuracy for k in (2, 3, 5, 8)]
    assert accuracy == sorted(accuracy) and accuracy[0] < 0.3 < 0.8 < accuracy[-1]


def test_budget_and_demotion_by_predicted_depth():
    rule = stopping_policy("predicted-budget:slack=2,confidence=0.5")
    for tokens, sure, stops in ((199, 1, False), (200, 1, True), (10_000, 0.4, False)):
        row = told((), 1, tokens=tokens, predicted=100, confidence=sure)
        assert bool(rule.stops(row, rule.params_for())) == stops
    order = stopping_policy("demote-overrun")
    ranks = [
        order.rank(told((), 1, tokens=t, predicted=p), order.params_for())
        for t, p in ((90, 100), (10, 100), (101, 100), (500, 100))
    ]
    assert ranks == sorted(ranks)


@pytest.mark.parametrize("name", STOPPING_POLICIES)
def test_every_rule_compiles_to_what_it_is_cites_and_pickles(name):
    rule = stopping_policy(name)
    assert rule.name == name and rule.source and pickle.loads(pickle.dumps(rule)) == rule
    assert rule.uses_predictions == (name in ("mean-score", "predicted-budget", "demote-overrun"))


@pytest.mark.skipif(_jit.DISABLED, reason="nothing is compiled")
def test_compiled_rules_say_what_plain_ones_say():
    rng = np.random.default_rng(1)
    for name in ("posterior", "certaindex", "demote-overrun"):
        rule = stopping_policy(name)
        params = rule.params_for()
        for _ in range(30):
            more = {"tokens": rng.integers(0, 300), "predicted": 100.0}
            row = told(rng.integers(0, 5, 4), 12, **more)
            given = np.frombuffer(row.tobytes(), row.dtype).copy()
            for function, plain in zip(rule.compiled(), (rule.stops, rule.rank), strict=True):
                if plain is not None:
                    assert called(function, records(given)[0], params) == float(plain(row, params))


@kernel
def called(function, row, params):
    return function(row, params)


@pytest.mark.parametrize(
    "spec",
    [
        *("posterior:level=1", "posterior:least=0", "certaindex:threshold=0", "certaindex:least=1"),
        *("probes-agree:k=0", "probes-agree:every=0", "predicted-budget:slack=0", "predicted-budget:confidence=2"),
        *("demote-overrun:slack=-1", "mean-score:threshold=2"),
    ],
)
def test_bad_parameters_are_named(spec):
    with pytest.raises(BadInput, match=spec.split("=")[1]):
        stopping_policy(spec)


def test_what_is_true_is_hidden_from_rules():
    def cheat(told, params):
        return told.truth

    def typo(told, params):
        return told.answer

    with pytest.raises(TruthError):
        stopping_policy(cheat)
    with pytest.raises(BadInput, match="did you mean 'answers'"):
        StoppingPolicy("mine", typo)


@pytest.mark.parametrize(
    "call",
    [
        lambda: majority(0, 0.5),
        lambda: majority(3, 1.5),
        lambda: plurality(3, (0.5, 0.6)),
        lambda: stopping(140, (0.25,) * 4, lambda votes: False),
        lambda: agreement(0, np.ones((2, 1)), 1.0),
        lambda: agreement(2, np.ones((2, 2)), 1.0),
    ],
)
def test_bad_numbers_are_refused(call):
    with pytest.raises(BadInput):
        call()

"""Choosing between models: RouteLLM's published answers by direct counting, metrics by hand, rules of choice."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.model_choice import chosen, front
from llmqueue_gym.policies.choice import CHOICE_POLICIES, ChoicePolicy, choice_policy
from llmqueue_gym.predictors.quality import QualityPredictor, auc_of
from llmqueue_gym.requests import CALL, MODEL
from llmqueue_gym.workloads.traces.routing import load_answers

PUBLISHED = Path(__file__).parents[2] / "shared/traces/data/route_routellm.csv.gz"
published = pytest.mark.skipif(not PUBLISHED.exists(), reason="the published answers are not here")

HEADER = "dataset,subject,prompt_tokens,weak_correct,strong_correct,weak_output_tokens,strong_output_tokens\n"


def calls_and_models(win):
    calls, models = np.zeros(len(win), CALL), np.zeros((len(win), 2), MODEL)
    calls["win"], calls["allowed"], models["models"] = win, np.inf, 2
    models["index"] = models["strength"] = np.arange(2)
    return calls, models


def one(dtype, **columns):
    row = np.zeros(1, dtype)
    for name, value in columns.items():
        row[name] = value
    return row.view(np.recarray)[0]


# RouteLLM's answers.


@published
@pytest.mark.parametrize("name", ["gsm8k", "mmlu"])
def test_at_each_threshold_the_front_is_direct_counting(name):
    answers = load_answers(PUBLISHED).of(name)
    predictor, strong_wins = QualityPredictor(0.7), answers.right[:, 1] & ~answers.right[:, 0]
    scores = predictor.predict(strong_wins, np.random.default_rng(0)).round(3)  # so that some are equal
    got = front(scores, answers.right)
    assert len(got.threshold) == len(np.unique(scores)) + 1
    for k in {0, 1, len(got.share) // 2, len(got.share) - 1, *range(0, len(got.share), 37)}:
        calls, right = 0, 0
        for score, (weak, strong) in zip(scores.tolist(), answers.right.tolist(), strict=True):
            calls += score >= got.threshold[k]
            right += strong if score >= got.threshold[k] else weak
        assert got.share[k] == calls / len(answers) and got.accuracy[k] == right / len(answers)


@published
def test_the_published_answers_are_counted():
    answers = load_answers(PUBLISHED)
    assert len(answers) == 15_361 and len(answers.of("mmlu")) == 14_042
    np.testing.assert_allclose(answers.of("gsm8k").right.mean(axis=0), [0.638362, 0.85671], atol=5e-7)
    with pytest.raises(BadInput, match="did you mean 'gsm8k'"):
        answers.of("gsm8")


@published
def test_a_rule_with_a_threshold_sends_whom_the_front_says():
    answers = load_answers(PUBLISHED).of("gsm8k")
    scores = np.random.default_rng(1).random(len(answers)).round(2)
    got = front(scores, answers.right)
    for k in (3, 40, 90):
        to = chosen(choice_policy(f"win-threshold:threshold={got.threshold[k]}"), *calls_and_models(scores))
        assert to.mean() == got.share[k]
        assert answers.right[np.arange(len(to)), to].mean() == got.accuracy[k]


# Metrics.


def test_metrics_by_hand():
    right = np.array([[0, 1], [0, 1], [1, 1], [0, 0]])  # the strong model gains two of four
    best = front([0.9, 0.8, 0.2, 0.1], right)
    np.testing.assert_array_equal(best.share, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_array_equal(best.accuracy, [0.25, 0.5, 0.75, 0.75, 0.75])
    np.testing.assert_array_equal(best.recovered, [0, 0.5, 1, 1, 1])
    assert best.mean_recovered == 0.75 and best.calls_for(0.5) == 0.25 and best.calls_for(0.8) == pytest.approx(0.4)
    assert best.calls_for(0) == 0 and best.calls_for(1) == 0.5
    alike = front([0.5] * 4, right)  # knows nothing: a straight line
    assert alike.mean_recovered == 0.5 and alike.calls_for(0.8) == pytest.approx(0.8)
    with pytest.raises(BadInput, match="no gap"):
        _ = front([0.1, 0.2], np.ones((2, 2))).recovered
    with pytest.raises(BadInput, match="recovered=2"):
        best.calls_for(2)
    with pytest.raises(BadInput, match="NaN"):
        front([np.nan], np.ones((1, 2)))


def test_a_router_that_knows_more_recovers_more():
    rng = np.random.default_rng(0)
    right = np.column_stack([rng.random(20_000) < 0.6, rng.random(20_000) < 0.85])
    wins, worth = right[:, 1] & ~right[:, 0], []
    for auc in (0.5, 0.7, 0.9, 1.0):
        scores = QualityPredictor(auc).predict(wins, np.random.default_rng(1))
        worth.append(front(scores, right).mean_recovered)
    assert worth == sorted(worth) and abs(worth[0] - 0.5) < 0.02 and worth[-1] > 0.8


# Predicted quality.


@pytest.mark.parametrize("auc", [0.5, 0.65, 0.8, 0.95])
def test_predictions_have_the_auc_that_is_told_and_are_calibrated(auc):
    rng, n = np.random.default_rng(2), 40_000
    right = rng.random(n) < 0.7
    predicted = QualityPredictor(auc).predict(right, rng)
    error = np.sqrt(1 / (12 * right.sum()) + 1 / (12 * (~right).sum()))  # of an AUC at most, about
    got = 0.5 if auc == 0.5 else auc_of(predicted, right)
    assert abs(got - auc) <= 3.5 * error
    for low in np.arange(0, 1, 0.1):
        told = (predicted >= low) & (predicted < low + 0.1)
        if told.sum() > 200:
            spread = np.sqrt(0.25 / told.sum())
            assert abs(right[told].mean() - predicted[told].mean()) <= 3.5 * spread


def test_the_ends_of_what_is_known():
    right = np.array([True, False, True, True])
    np.testing.assert_array_equal(QualityPredictor(1).predict(right, np.random.default_rng(0)), right)
    np.testing.assert_allclose(QualityPredictor(0.5).predict(right, np.random.default_rng(0)), 0.75)
    assert auc_of(np.array([0.9, 0.1, 0.5, 0.1]), right) == pytest.approx(2.5 / 3)
    assert np.isnan(auc_of(np.ones(2), np.ones(2)))
    with pytest.raises(BadInput, match=r"auc=0\.4"):
        QualityPredictor(0.4)


# Rules.


@pytest.mark.parametrize("name", CHOICE_POLICIES)
def test_every_rule_compiles_cites_and_pickles(name):
    rule = choice_policy(name)
    assert rule.name == name and rule.source and len(rule.compiled()) == 2
    assert pickle.loads(pickle.dumps(rule)) == rule
    assert rule.uses_predictions == (name in ("win-threshold", "hedge", "budgeted", "least-cost", "bandit-cost"))


def scores(rule, call, models):
    return [float(rule.score(call, model, rule.params_for())) for model in models]


def test_a_cascade_goes_up_until_it_is_sure():
    rule, call = choice_policy("cascade:level=0.8"), one(CALL, verified=0.5, asked=1)
    models = [one(MODEL, strength=k, models=3, asked=int(k == 0)) for k in range(3)]
    assert np.argmin(scores(rule, call, models)) == 1
    assert rule.again(call, models[1], rule.params_for()) and not rule.again(call, models[0], rule.params_for())
    assert not rule.again(one(CALL, verified=0.8), models[1], rule.params_for())


def test_a_budget_holds_back_who_overspends():
    rule = choice_policy("budgeted:price=10,second=0")
    models = [one(MODEL, quality=0.6, price=0.001), one(MODEL, quality=0.7, price=0.01)]
    for spent, best in ((0.001, 1), (0.005, 1), (0.02, 0)):
        assert np.argmin(scores(rule, one(CALL, spent=spent, allowed=0.005, calls=9), models)) == best
    slow = [one(MODEL, quality=0.6, wait=1), one(MODEL, quality=0.7, wait=100)]
    timed = choice_policy("budgeted:second=0.01")
    assert np.argmin(scores(timed, one(CALL, allowed=np.inf), slow)) == 0


def test_a_bandit_tries_each_and_settles_on_the_better():
    rule, rng = choice_policy("bandit"), np.random.default_rng(0)
    trials, rewards, sent = np.zeros(2), np.zeros(2), []
    for call in range(2000):
        models = [one(MODEL, trials=t, reward=r / max(t, 1)) for t, r in zip(trials, rewards, strict=True)]
        sent.append(int(np.argmin(scores(rule, one(CALL, calls=call), models))))
        trials[sent[-1]] += 1
        rewards[sent[-1]] += rng.random() < (0.4, 0.8)[sent[-1]]
    assert sorted(sent[:2]) == [0, 1] and np.mean(sent[-500:]) > 0.85


def test_effort_goes_down_with_the_load():
    rule = choice_policy("effort-by-load:low=0.4,high=0.8")
    models = [one(MODEL, strength=k, models=3) for k in range(3)]
    asked = [int(np.argmin(scores(rule, one(CALL, load=load), models))) for load in (0.1, 0.4, 0.6, 0.8, 1.0)]
    assert asked == [2, 2, 1, 0, 0]


def test_ends_hedges_and_random_shares():
    calls, models = calls_and_models(np.full(1000, 0.5))
    calls["luck"] = np.random.default_rng(0).random(1000)
    assert chosen(choice_policy("weakest"), calls, models).max() == 0
    assert chosen(choice_policy("strongest"), calls, models).min() == 1
    np.testing.assert_array_equal(chosen(choice_policy("random-share:share=0.3"), calls, models), calls["luck"] < 0.3)
    assert choice_policy("hedge:models=3").at_once == 3


@pytest.mark.parametrize(
    "spec",
    ["random-share:share=2", "cascade:level=0", "hedge:models=1", "budgeted:price=-1", "bandit:c=-1",
     "bandit-cost:prior=-1",     "effort-by-load:low=1"],
)  # fmt: skip
def test_bad_parameters_are_named(spec):
    with pytest.raises(BadInput, match=spec.split(":")[1]):
        choice_policy(spec)


def test_what_makes_no_rule_is_refused():
    def gives_nothing(call, model, params):
        return np.nan

    with pytest.raises(BadInput, match="at_once=0"):
        ChoicePolicy("mine", gives_nothing, at_once=0)
    with pytest.raises(BadInput, match="NaN to call 0"):
        chosen(ChoicePolicy("mine", gives_nothing), *calls_and_models([0.5]))


# Files.


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("a,b,10,1,2,5,6\n", "row 1, column 'strong_correct': '2' is neither 0"),
        ("a,b,10,1,1,5,6\na,b,x,1,1,5,6\n", "row 2, column 'prompt_tokens': 'x' is not a number"),
        ("", "no data rows"),
    ],
)
def test_wrong_files_are_named(tmp_path, rows, words):
    path = tmp_path / "answers.csv"
    path.write_text(HEADER + rows)
    with pytest.raises(BadInput, match=words):
        load_answers(path)


def test_a_file_is_read(tmp_path):
    path = tmp_path / "answers.csv"
    path.write_text(HEADER + "gsm8k,s,70,1,0,97,92\nmmlu,t,29,0,1,,\n")
    answers = load_answers(path)
    np.testing.assert_array_equal(answers.right, [[True, False], [False, True]])
    np.testing.assert_array_equal(answers.outputs, [[97, 92], [0, 0]])
    assert answers.of("mmlu").prompts.tolist() == [29]

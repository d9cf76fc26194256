"""Models to choose from: against a slow simulator, closed forms and direct counting; what no policy may do."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from played import at_random, finish
from reference_choosing import Slow

import llmqueue_gym  # noqa: F401 (registers the environments)
from llmqueue_gym import _jit
from llmqueue_gym.engines.state import START
from llmqueue_gym.envs.opened import baseline_agent
from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.choice import measure
from llmqueue_gym.evaluation.model_choice import front
from llmqueue_gym.policies.choice import CHOICE_POLICIES, ChoicePolicy, choice_policy
from llmqueue_gym.profiles.served import SERVED, served_models
from llmqueue_gym.systems import Scenario
from llmqueue_gym.workloads.answered import RecordedCalls
from llmqueue_gym.workloads.questions import Rasch, questions
from llmqueue_gym.workloads.traces.routing import Answers, load_answers

PUBLISHED = Path(__file__).parents[2] / "shared/traces/data/route_routellm.csv.gz"
published = pytest.mark.skipif(not PUBLISHED.exists(), reason="the published answers are not here")
THREE = (
    "model:seats=1,tpot=.004,read=.1,write=.3,right=.5/model:seats=2,ttft=.2,tpot=.01,read=1,write=2,right=.7,wordy=1.5"
)
THREE += "/model:seats=3,ttft=.1,tpot=.03,read=9,write=20,right=.9"
CROWDED = {"models": THREE, "questions": "rasch:spread=1.5,kinds=3", "load": 0.9, "n_jobs": 120, "feedback": 0.7}


def odd(call, model, params):  # a rule that is different for everybody and all the time
    return int(1000 * model.quality + 7 * model.wait + 3 * model.reward + 50 * call.verified) % 7


def often(call, model, params):
    return int(1000 * call.verified + 1000 * model.quality) % 3


def none_is_left(episodes):
    """Nobody is in a seat or in line."""
    assert episodes.states["taken"][0] == 0 and not episodes.stations["taken"].any()
    assert not episodes.stations["waiting"].any() and not episodes.stations["queued"].any()


# Against a slow simulator.


@pytest.mark.parametrize("policy", [*CHOICE_POLICIES, "cascade:level=0.95", "hedge:models=3", "bandit-cost:prior=5"])
def test_every_rule_is_played_as_by_the_slow_simulator(policy):
    for seed, load in enumerate((0.2, 0.9)):
        scenario = Scenario("model-choice", **{**CROWDED, "load": load})
        compare(scenario, choice_policy(policy), seed)


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_odd_rules_are_played_as_by_the_slow_simulator(at_once):
    for seed in range(4):
        scenario = Scenario("model-choice", **CROWDED, passes=0.8, budget=1e-3)
        compare(scenario, ChoicePolicy("odd", odd, often, at_once), seed)


def compare(scenario, policy, seed):
    drawn, run = scenario.draw(seed), scenario.simulate(policy, seed)
    slow, end = Slow(drawn, scenario.system, policy, policy.params_for(**scenario.facts())), run.outcome
    np.testing.assert_allclose(end["completion"], slow.completions, rtol=1e-10)
    np.testing.assert_allclose(end["spent"], slow.spent, rtol=1e-9)
    np.testing.assert_array_equal(end["model"], slow.kept)
    np.testing.assert_array_equal(end["preemptions"], slow.given_up)
    np.testing.assert_array_equal(end["asked"], [len(asked) for asked in slow.asked])
    np.testing.assert_array_equal(end["right"], drawn.truth["right"][np.arange(len(run)), end["model"]])


# Closed forms and direct counting.


@pytest.mark.skipif(_jit.DISABLED, reason="too many steps")
@pytest.mark.parametrize(
    ("models", "policy"),
    [
        ("model:seats=1", "weakest"),
        ("model:seats=5", "hedge"),
        ("model:seats=2/model:seats=9,tpot=.05", "strongest"),
        ("model:seats=3/model:seats=4,tpot=.03,wordy=1.2", "random-share:share=0.3"),
        ("model:seats=2/model:seats=8,tpot=.03", "random-share:share=0.6"),
    ],
)
def test_who_looks_at_nothing_makes_of_each_model_an_mmc(models, policy):
    load = 0.8 if "/" not in models else 0.4
    scenario = Scenario("model-choice", models=models, differs=0, load=load, n_jobs=40_000)
    (known,) = scenario.known(policy if policy != "hedge" else "strongest")
    assert known["kind"] == "exact"
    means = [scenario.simulate(policy, seed).after_warmup().response_times.mean() for seed in range(10)]
    assert abs(np.mean(means) - known["value"]) <= 3.5 * np.std(means, ddof=1) / np.sqrt(10)
    assert scenario.known("cascade") == [] == replace(scenario, differs=0.1).known("weakest")


def test_laws_of_questions_have_their_shares():
    for spec in ("rasch:spread=0", "rasch:spread=2", "rasch:spread=1.5,kinds=4", "rasch:spread=3,kinds=2,between=1"):
        law = questions(spec)
        assert questions(str(law)) == law
        abilities = [law.ability(share) for share in (0.4, 0.85)]
        assert [law.share(one) for one in abilities] == pytest.approx([0.4, 0.85], abs=1e-9)
        kinds, right = law.sample(40_000, abilities, 0)
        error = np.sqrt(0.25 / 40_000)
        np.testing.assert_allclose(right.mean(axis=0), [0.4, 0.85], atol=3.5 * error)
        assert abs(right.all(axis=1).mean() - law.both(*abilities)) <= 3.5 * error
        assert set(kinds) == set(range(law.kinds))
        if law.kinds > 1:
            by_kind = [right[kinds == k].mean() for k in range(law.kinds)]
            assert by_kind == sorted(by_kind, reverse=True)


@published
@pytest.mark.skipif(_jit.DISABLED, reason="too many steps")
@pytest.mark.parametrize("name", ["gsm8k", "mmlu"])
def test_accuracy_and_share_of_strong_calls_are_those_of_direct_counting(name):
    """Through the system: all published questions come in their order, and a rule has a threshold."""
    answers = load_answers(PUBLISHED).of(name)
    calls = RecordedCalls(answers, order="rows")
    told = {"models": "mixtral-8x7b:seats=64/gpt-4-1106:seats=64", "workload": calls, "auc": 0.7, "load": 0.3}
    scenario = Scenario("model-choice", n_jobs=len(answers), **told)
    win = scenario.draw(0).truth["win"]
    got = front(win, answers.right)
    for k in (0, 1, len(got.share) // 4, len(got.share) // 2, len(got.share) - 1):
        threshold = got.threshold[k]
        run = scenario.simulate(f"win-threshold:threshold={float(min(threshold, 2.0))!r}", 0)
        told = measure(run)
        assert told["strongest"] == pytest.approx(got.share[k], abs=1e-12)
        assert told["accuracy"] == pytest.approx(got.accuracy[k], abs=1e-12)
        assert run.outcome["model"].sum() == (win >= threshold).sum()


def test_recorded_answers_are_replayed():
    columns = np.array(["b", "a", "b"]), np.array(["s"] * 3), np.array([10, 20, 30])
    answers = Answers(*columns, np.array([[0, 1], [1, 1], [0, 0]], bool), np.array([[5, 50], [0, 0], [7, 70]]))
    models = "model:seats=1,tpot=1/model:seats=3,tpot=.1,read=2,write=3"
    scenario = Scenario("model-choice", models=models, workload=RecordedCalls(answers, 1e-3, "rows"), n_jobs=3)
    weak, strong = (scenario.simulate(name, 0) for name in ("weakest", "strongest"))
    np.testing.assert_allclose(weak.response_times, [5, 1, 7])
    np.testing.assert_allclose(strong.response_times, [5, 0.1, 7])  # what is not published is one token
    np.testing.assert_allclose(strong.outcome["spent"], np.array([170, 43, 270]) / 1e6)
    assert weak.outcome["right"].tolist() == [0, 1, 0] and strong.outcome["right"].tolist() == [1, 1, 0]
    assert weak.jobs["klass"].tolist() == [1, 0, 1] and scenario.system.kinds(scenario) == 2
    many = replace(scenario, workload=RecordedCalls(answers, 1e-3), n_jobs=300).simulate("weakest", 1)
    assert set(many.sizes) == {5, 1, 7}
    with pytest.raises(BadInput, match="3, and the recorded answers are of 2"):
        replace(scenario, models=THREE)
    for wrong in ({"order": "random"}, {"rate": 0}, {"answers": answers.of("a").of("a"), "rate": -1}):
        with pytest.raises(BadInput, match=next(reversed(wrong))):
            RecordedCalls(**{"answers": answers, **wrong})


# What no policy may do.


@pytest.mark.skipif(_jit.DISABLED, reason="too many steps")
def test_nobody_undercuts_the_bound_and_every_call_is_answered_once():
    rng, least = np.random.default_rng(0), np.inf
    for seed in range(60):
        scenario = random_scenario(rng, 40)
        bound, drawn = scenario.bound(seed), scenario.draw(seed)
        for policy in (*CHOICE_POLICIES, "hedge:models=3", ChoicePolicy("odd", odd, often, 2)):
            run = scenario.simulate(policy, seed)
            cost = scenario.system.numbers(run)["cost"]
            least = min(least, cost / bound)
            check(run, drawn, scenario)
            assert cost >= bound * (1 - 1e-9), (scenario, policy)
    assert least < 1.2  # and it is no idle one


def random_scenario(rng, n):
    """A scenario of one to four models of any speed, price and skill."""
    rights = np.sort(rng.uniform(0.05, 0.95, rng.integers(1, 5)))
    models = "/".join(
        f"model:seats={rng.integers(1, 5)},ttft={rng.choice([0, 0.3])},tpot={10 ** rng.uniform(-3, -1):.4g},"
        f"read={rng.uniform(0, 10):.3g},write={rng.uniform(0, 30):.3g},"
        f"right={right:.3g},wordy={rng.uniform(0.5, 2):.3g}"
        for right in rights
    )
    told = {"questions": f"rasch:spread={rng.uniform(0, 3):.2g},kinds={rng.integers(1, 4)}", "models": models}
    told |= {"wrong": rng.choice([0, 1, 30]), "usd": rng.choice([0, 100, 1e4]), "passes": rng.choice([0.1, 0.5, 1])}
    told |= {"load": rng.uniform(0.1, 0.99), "auc": rng.choice([0.5, 0.8, 1]), "verifier": rng.choice([0.6, 1])}
    sizes = ("exponential:mean=100", "weibull:shape=0.5,mean=50", "lognormal:sigma=1,mean=200")
    return Scenario("model-choice", size=str(rng.choice(sizes)), n_jobs=n, differs=rng.choice([0, 0.5]), **told)


def check(run, drawn, scenario):
    """Assert that calls are answered once, that all who were asked answered or were given up, and what it costs."""
    end, truth, n, m = run.outcome, drawn.truth, len(run), len(scenario.system.served)
    rows, system = np.arange(n), scenario.system
    assert run.done.all() and ((end["model"] >= 0) & (end["model"] < m)).all()
    assert (end["asked"] >= 1).all() and (end["asked"] <= m).all() and (end["preemptions"] < end["asked"]).all()
    kept = truth["tokens"][rows, end["model"]]
    times = system.serving["ttft"][end["model"]] + kept * system.serving["tpot"][end["model"]]
    rounding = 2 * np.spacing(end["completion"])  # of the clock; some sizes are tiny
    assert (run.response_times >= times * (1 - 1e-9) - rounding).all()
    money = truth["prompts"][:, None] * system.serving["read"] + truth["tokens"] * system.serving["write"]
    assert (end["spent"] >= money[rows, end["model"]] * (1 - 1e-9)).all()
    assert (end["spent"] <= money.sum(axis=1) * (1 + 1e-9)).all()
    numbers = system.numbers(run)
    assert numbers["cost"] * n == pytest.approx(run.response_times.sum() + run.totals["price"])
    assert run.totals["spent"] == pytest.approx(end["spent"].sum())
    assert sum(part["answers"] for part in run.parts) == n


@pytest.mark.parametrize("at_once", [1, 3])
def test_whoever_plays_anything_leaves_nobody_behind(at_once):
    for seed in range(5):
        env = Scenario("model-choice", **{**CROWDED, "n_jobs": 60}).env(at_once=at_once)
        finish(env, at_random(seed), seed)
        episodes = env.unwrapped.episodes
        none_is_left(episodes)
        run = env.unwrapped.run()
        assert run.done.all() and set(run.outcome["model"]) <= {0, 1, 2} and (run.outcome["asked"] <= 3).all()
        scenario = env.unwrapped.scenario
        assert scenario.system.numbers(run)["cost"] >= scenario.bound(seed) * (1 - 1e-9)


# Agents.


@pytest.mark.parametrize("policy", [*CHOICE_POLICIES, "cascade:level=0.95"])
@pytest.mark.parametrize("at_once", [2, 3])
def test_every_rule_plays_as_an_agent_as_in_closed_loop(policy, at_once):
    scenario = Scenario("model-choice", **{**CROWDED, "n_jobs": 80})
    env, expected = scenario.env(at_once=at_once), scenario.simulate(policy, 4)
    agent = baseline_agent(policy, env)
    finish(env, agent.act_env, 4)
    run = env.unwrapped.run()
    for column in expected.outcome.dtype.names:
        np.testing.assert_allclose(run.outcome[column], expected.outcome[column], rtol=1e-12)
    assert run.totals["price"] == pytest.approx(expected.totals["price"])


def test_a_hedge_needs_an_environment_that_asks_several_at_once():
    env = Scenario("model-choice", n_jobs=10).env()
    with pytest.raises(BadInput, match="at_once=2, not 1"):
        baseline_agent("hedge", env)


def test_nothing_that_is_seen_depends_on_answers_that_are_not_there():
    """Whatever is hidden of calls that have not left, and of models not asked, is drawn anew; the same is seen."""
    scenario, rng = Scenario("model-choice", **{**CROWDED, "n_jobs": 60}), np.random.default_rng(0)
    env = scenario.env(at_once=2)
    env.reset(seed=1)
    choose, actions = at_random(2), []
    for _ in range(60):
        actions.append(choose(env))
        env.step(actions[-1])
    episodes, drawn = env.unwrapped.episodes, scenario.draw(1)
    hidden = episodes.copies["status"][0] != 3  # no answer of that model
    for name in ("tokens", "right", "verified", "feedback"):
        table = drawn.truth[name].copy()
        anew = np.where(hidden, rng.permutation(table.ravel()).reshape(table.shape), table)
        there = np.isnan(episodes.outcome["completion"][0])
        if name == "tokens":  # those at work take no less time, so that nothing happens sooner
            anew = np.where(hidden, 3 * table, table)
        if name in ("right", "feedback"):
            anew = np.where(there[:, None], 1 - table, anew)
        drawn = drawn._replace(truth={**drawn.truth, name: anew})
    before, after = (list(watch(scenario, given, actions)) for given in (scenario.draw(1), drawn))
    for was, now in zip(before, after, strict=True):
        for part in was:
            np.testing.assert_array_equal(was[part], now[part])


def watch(scenario, drawn, actions):
    """What is seen at each decision."""
    episodes = scenario.env(at_once=2).unwrapped.episodes
    episodes.begin_with(0, drawn)
    for action in [START, *actions]:
        episodes.actions[0] = action
        episodes.proceed()
        observation, reward, *_ = episodes.report(0)
        yield {**observation, "reward": np.array(reward)}


def test_actions_are_closed_that_make_no_sense():
    env = Scenario("model-choice", models=THREE, n_jobs=20).env(at_once=2)
    env.reset(seed=0)
    assert env.unwrapped.action_masks().tolist() == [1, 1, 1, 0]  # somebody has to be asked
    *_, info = env.step(3)
    assert info["illegal_action"] and env.unwrapped.action_masks().tolist() == [0, 1, 1, 1]
    *_, info = env.step(3)
    assert not info["illegal_action"]


# What rules do, and what they read.


@pytest.mark.skipif(_jit.DISABLED, reason="too many steps")
def test_who_knows_more_pays_less():
    costs = {}
    for auc in (0.5, 0.75, 1.0):
        scenario = Scenario("model-choice", auc=auc, n_jobs=20_000)
        run = scenario.simulate("budgeted:price=0,second=0.1", 0)  # a wrong answer is worth 10 s, as it is
        costs[auc] = scenario.system.numbers(run)["cost"]
    assert costs[1.0] < costs[0.75] < costs[0.5]


@pytest.mark.skipif(_jit.DISABLED, reason="too many steps")
def test_a_bandit_finds_the_better_model_by_feedback_alone():
    shares = {}
    for noise in (0.0, 0.5):
        scenario = Scenario("model-choice", noise=noise, n_jobs=5000)
        shares[noise] = measure(scenario.simulate("bandit", 0), 0.5)["strongest"]
    assert shares[0.0] > 0.9 > 0.7 > shares[0.5] > 0.3


def test_what_the_command_line_tells():
    scenario = Scenario("model-choice", load=0.9, n_jobs=10_000)
    run = scenario.simulate("strongest", 0)
    assert scenario.system.remarks(run, choice_policy("strongest")) == [
        "keeps all seats of llama-70b busy nearly all the time: its line may grow without end"
    ]
    told = run.system.more(run)
    assert told["asked_per_call"] == 1 == told["answers of 1, llama-70b"] and 0.8 < told["accuracy"] < 0.9


def test_models_are_read_and_written():
    for name in SERVED:
        assert SERVED(str(SERVED(name))) == SERVED(name)
    models = served_models("llama-1b:seats=3/model:tpot=.02,right=.9")
    assert served_models("/".join(map(str, models))) == models == served_models(list(map(str, models)))
    assert Scenario("model-choice:models=llama-1b:seats=2;tpot=.01/llama-70b").system.served[0].tpot == 0.01


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"models": "llama-70b/llama-1b"}, "stands behind"),
        ({"models": "llama-2b"}, "did you mean 'llama-8b'"),
        ({"models": "llama-1b:seats=0"}, "seats=0"),
        ({"models": "llama-1b:tpot=0"}, "tpot=0"),
        ({"models": "model:right=1"}, "right=1"),
        ({"models": ()}, "1 to 16"),
        ({"questions": "rasch:spread=-1"}, "spread=-1"),
        ({"auc": 0.4}, "auc=0.4"),
        ({"budget": 0}, "budget=0"),
        ({"prompt": 0}, "prompt=0"),
    ],
)
def test_bad_systems_are_named(fields, words):
    with pytest.raises(BadInput, match=words):
        Scenario("model-choice", **fields)
    assert isinstance(questions(Rasch()), Rasch)

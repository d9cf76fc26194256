"""Speculative decoding: against a slow simulator, closed forms and published figures; what agents and rules may do."""

import gymnasium as gym
import numpy as np
import pytest
from played import finish
from reference_speculative import Slow

import llmqueue_gym  # noqa: F401 (registers the environments)
from llmqueue_gym import _jit
from llmqueue_gym.envs.opened import baseline_agent
from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.speculation import speculation_policy
from llmqueue_gym.requests import DRAFT
from llmqueue_gym.systems import Scenario
from llmqueue_gym.systems.speculative import Speculative
from llmqueue_gym.theory.speculation import BatchedSpeculation, expected_tokens, positional_tokens
from llmqueue_gym.workloads.acceptance import ACCEPTANCES, acceptance, chances, figures
from llmqueue_gym.workloads.traces import Trace

FEW = {"size": "exponential:mean=12", "n_jobs": 60}


def odd(job, seen, params):  # a rule that is different for everybody and all the time
    return int(1000 * job.predicted + 3 * job.age) % 6


@pytest.mark.parametrize("tandem", [False, True])
@pytest.mark.parametrize("seats", [1, 3, 8])
def test_the_kernel_is_the_slow_simulator(tandem, seats):
    told = {"tandem": tandem, "seats": seats, "draft": 0.3, "acceptance": "eagle3-qwen3-8b"}
    for seed, load in enumerate((0.3, 0.9)):
        scenario = Scenario("speculative", load=load, **FEW, **told)
        drawn, run = scenario.draw(seed), scenario.simulate(odd, seed)
        slow = Slow(drawn, scenario.system, lambda predicted, age: int(1000 * predicted + 3 * age) % 6)
        np.testing.assert_allclose(run.outcome["completion"], slow.completions, rtol=1e-12)
        np.testing.assert_allclose(run.outcome["start"], slow.starts, rtol=1e-12)
        assert (run.totals["steps"], run.totals["accepted"]) == (slow.steps, slow.accepted)


@pytest.mark.skipif(_jit.DISABLED, reason="too many steps")
@pytest.mark.parametrize(("a", "g"), [(0.5, 1), (0.8, 5), (0.95, 8)])
def test_tokens_of_a_step_are_those_of_theory(a, g):
    tokens = []
    for seed in range(20):
        scenario = Scenario("speculative", size="exponential:mean=400", n_jobs=40, acceptance=f"constant:a={a}")
        run = scenario.simulate(f"fixed:g={g}", seed)
        tokens.append(1 + run.totals["accepted"] / run.totals["verified"])
        assert run.totals["drafted"] == g * run.totals["verified"]
    assert abs(np.mean(tokens) - expected_tokens(g, a)) <= 3.5 * np.std(tokens) / np.sqrt(20)


@pytest.mark.skipif(_jit.DISABLED, reason="too many steps")
@pytest.mark.parametrize("name", figures()["positions"])
def test_measured_acceptance_gives_the_published_tokens(name):
    table, tokens = figures()["positions"][name], []
    assert positional_tokens(table["accepted"]) == pytest.approx(table["tokens"], abs=0.02)  # as it is published
    for seed in range(20):
        scenario = Scenario("speculative", size="exponential:mean=400", n_jobs=40, acceptance=name)
        run = scenario.simulate("fixed:g=3", seed)
        tokens.append(1 + run.totals["accepted"] / run.totals["verified"])
    assert abs(np.mean(tokens) - positional_tokens(table["accepted"])) <= 3.5 * np.std(tokens) / np.sqrt(20)


def test_laws_are_read_written_and_have_their_means():
    for name in ACCEPTANCES:
        law = acceptance(name)
        assert acceptance(str(law)) == law and 0 <= law.mean < 1
        sample = law.sample(4000, np.random.default_rng(0))
        assert abs(sample.mean() - law.mean) <= 3.5 * max(sample.std(), 1e-9) / np.sqrt(4000) + 1e-12
        np.testing.assert_array_less(sample * max(law.shape), 1.0)
    assert chances()["specbench-eagle3-vicuna-13b"] == (1 - 1 / 5.71,)
    for wrong in ("constant:a=1", "uniform:a=0.7,spread=0.5", "eagle3-lama3.1-8b"):
        with pytest.raises(BadInput):
            acceptance(wrong)


def test_without_drafts_a_request_alone_takes_its_tokens_times_a_step():
    scenario = Scenario("speculative", size="exponential:mean=50", n_jobs=1, prompt=0)
    run, drawn = scenario.simulate("no-drafts", 1), scenario.draw(1)
    floor, base, token, _, context = scenario.system.cost_profile.numbers
    tokens = int(np.ceil(drawn.sizes[0]))
    expected = tokens * max(floor, base + token) + context * tokens * (tokens + 1) / 2
    assert run.response_times[0] == pytest.approx(expected, rel=1e-12)


def end_of(rule, seats, **told):
    """When all requests are done that come at once, s, and what theory has of full batches of so many seats."""
    told = {"size": "exponential:mean=100", "n_jobs": 160 * 8, "rate": 1e5, "seats": seats, **told}
    scenario = Scenario("speculative", **told)
    with pytest.warns(UserWarning, match="unstable"):
        run = scenario.simulate(rule, 0)
    times, chance = scenario.system.times, scenario.system.law_of_acceptance.mean
    return run.outcome["completion"].max(), BatchedSpeculation(times.verify, times.draft, chance, times.tandem)


@pytest.mark.skipif(_jit.DISABLED, reason="too many steps")
@pytest.mark.parametrize(("seats", "better"), [(4, 5), (128, 0)])
def test_more_drafting_is_harmful_from_the_batch_on_that_theory_names(seats, better):
    ends = {}
    for rule in ("fixed:g=0", "fixed:g=5", "by-load"):
        ends[rule], spec = end_of(rule, seats, acceptance="constant:a=0.6")
    assert (ends["fixed:g=5"] < ends["fixed:g=0"]) == (better == 5) == (seats < spec.harmful_from(5, most=256))
    assert ends["by-load"] < min(ends["fixed:g=0"], ends["fixed:g=5"])


@pytest.mark.skipif(_jit.DISABLED, reason="too many steps")
def test_a_tandem_is_worth_what_theory_says_and_needs_more_seats_for_it():
    """Two batches take turns. Where a step takes as long for half of the requests, with no more seats it is slower."""
    told = {"draft": 0.5, "acceptance": "constant:a=0.8"}
    alone, of_one = end_of("fixed:g=3", 4, **told)
    (both, of_two), (same, _) = (end_of("fixed:g=3", seats, tandem=True, **told) for seats in (8, 4))
    assert alone / both == pytest.approx(of_two.throughput(8, 3) / of_one.throughput(4, 3), rel=0.1)
    assert both < alone < same


@pytest.mark.parametrize("name", ["by-load", "per-request", "by-acceptance"])
def test_rules_draft_less_where_less_is_accepted(name):
    less, more = (
        Scenario("speculative", acceptance=f"constant:a={a}", error=0, **FEW).simulate(name, 3) for a in (0.2, 0.9)
    )
    drafts = [run.totals["drafted"] / run.totals["verified"] for run in (less, more)]
    assert drafts[0] < drafts[1]


@pytest.mark.parametrize("tandem", [False, True])
def test_where_all_are_alike_each_request_drafts_what_is_best_for_the_batch(tandem):
    system = Scenario("speculative", seats=96, acceptance="constant:a=0.6", tandem=tandem).system
    rule, times = speculation_policy("per-request"), system.times
    params = rule.params_for(times=times, chance=0.6)
    spec = BatchedSpeculation(times.verify, times.draft, 0.6, tandem)
    seen = np.zeros(1, DRAFT).view(np.recarray)[0]
    seen.told, seen.most = 0.6, 8
    for batch in range(1, 97):
        seen.batch = batch
        assert spec.throughput(batch, int(rule.draft(None, seen, params))) == pytest.approx(
            spec.throughput(batch, spec.best_draft(batch, 8)), rel=1e-9
        )


def test_a_draft_of_all_is_that_of_each_where_all_are_alike():
    scenario = Scenario("speculative", **FEW)
    run = scenario.simulate("fixed:g=2", 5)
    for tandem in (False, True):
        steps = {}
        for each in (False, True):
            env = gym.make("llmqueue/Speculative-v0", each=each, tandem=tandem, **FEW)
            agent = baseline_agent("fixed:g=2", env)
            _, steps[each], _ = finish(env, agent.act_env, 5)
            if not tandem:
                np.testing.assert_array_equal(env.unwrapped.run().outcome["completion"], run.outcome["completion"])
        assert steps[False] < steps[True]


def test_what_the_command_line_tells():
    run = Scenario("speculative", **FEW).simulate("fixed:g=3", 0)
    told = run.system.more(run)
    assert told["tokens per step"] == 1 + run.totals["accepted"] / run.totals["verified"]
    assert 0 < told["accepted share of drafts"] < 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"seats": 0}, "seats=0"),
        ({"most": 33}, "most=33"),
        ({"target": "splitwise-a100-llama2-70b"}, "splitwise"),
        ({"acceptance": "constant:a=1.5"}, "a=1.5"),
        ({"draft": -0.1}, "draft=-0.1"),
    ],
)
def test_bad_systems_are_named(fields, words):
    with pytest.raises(BadInput, match=words.replace(".", r"\.")):
        Scenario("speculative", **fields)
    with pytest.raises(BadInput, match="g=-1"):
        speculation_policy("fixed:g=-1")


def test_a_trace_tells_tokens_and_not_seconds():
    trace = Trace(np.arange(4.0), np.full(4, 10), np.array([5, 7, 9, 11]), "t", "", "")
    assert Speculative.recorded(trace, load=0.1)["workload"].sizes.tolist() == [5, 7, 9, 11]

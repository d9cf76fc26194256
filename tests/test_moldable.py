"""Moldable jobs: the engine against a slow one offer by offer, its environment, heSRPT, bounds and the promises."""

import importlib.util
import json
import pickle
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from played import finish
from reference_moldable import Slow
from scipy.optimize import minimize

from llmqueue_gym import _jit
from llmqueue_gym.engines import moldable, moldable_steps
from llmqueue_gym.engines.state import START
from llmqueue_gym.envs.opened import baseline_agent
from llmqueue_gym.errors import BadInput, NotApplicable
from llmqueue_gym.evaluation.statistics import across_seeds
from llmqueue_gym.jobs import DONE, OFFER, job_table
from llmqueue_gym.policies import policy
from llmqueue_gym.policies.moldable import MOLDABLE, MoldablePolicy, moldable_policy
from llmqueue_gym.predictors.speedup import (
    SPEEDUP_PREDICTORS,
    SPEEDUPS,
    Amdahl,
    Power,
    speedup,
    speedup_predictor,
)
from llmqueue_gym.systems import Drawn, Scenario
from llmqueue_gym.systems.central import Central
from llmqueue_gym.systems.mg1 import MG1
from llmqueue_gym.systems.moldable import Moldable
from llmqueue_gym.theory.moldable import hesrpt_response_time, hesrpt_shares

ID = "llmqueue/Moldable-v0"
FEW = 200 if _jit.DISABLED else 3_000
MEAN_ON_8 = np.mean([8**-0.9, 8**-0.5, 8**-0.1])
NOISY = {"predictor": "lognormal", "speedups": "normal:error=0.2"}


def patient_half(job, offer, params):
    """All or half of the servers, whichever ends first; ties everywhere, and waits that matter."""
    return offer.wait + offer.time if 2 * offer.servers >= offer.total else np.inf


def late_and_crowded(job, offer, params):
    return offer.clock - job.arrival + offer.running - offer.servers if offer.waiting + offer.running > 1 else 0.0


POLICIES = [moldable_policy(spec) for spec in MOLDABLE]
POLICIES += [moldable_policy(f"{spec}:shortest_first=true") for spec in MOLDABLE if spec != "least-delay"] + [
    MoldablePolicy(f.__name__, f, window=window) for f in (patient_half, late_and_crowded) for window in (0, 1, 2)
]
every_policy = pytest.mark.parametrize("discipline", POLICIES, ids=[f"{p.name}-{p.window}" for p in POLICIES])


def batch(sizes, servers, curve="power", error=0.0):
    """Jobs that are all there at time 0, of one speed-up whose parameter is predicted with an error."""
    sizes = np.asarray(sizes, float)
    true, believed = (sizes[:, None] / speedup(curve).factors(servers, wrong) for wrong in (0.0, error))
    return Drawn(job_table(np.zeros(len(sizes)), sizes), {"sizes": sizes, "times": true, "predicted": believed})


quarters = st.integers(1, 12).map(lambda x: x / 4)  # exact in floating point, with many ties


@st.composite
def instances(draw):
    """Draw any tables of times, also such as no speed-up curve has."""
    n, servers = draw(st.integers(1, 8)), draw(st.integers(2, 5))
    column = st.lists(quarters, min_size=servers, max_size=servers)
    times, predicted = (np.array(draw(st.lists(column, min_size=n, max_size=n))) for _ in range(2))
    arrivals = sorted(draw(st.lists(st.integers(0, 12).map(lambda x: x / 4), min_size=n, max_size=n)))
    truth = {"sizes": times[:, 0], "times": times, "predicted": predicted}
    return Drawn(job_table(np.array(arrivals), predicted[:, 0]), truth), servers


@every_policy
def test_engine_is_the_slow_one_offer_by_offer_and_stays_above_the_bound(discipline):
    @settings(max_examples=60, deadline=None, derandomize=True, database=None)
    @given(instances())
    def check(drawn):
        drawn, servers = drawn
        system = Moldable(servers=servers)
        run, slow = system.simulate(drawn, discipline), Slow(drawn, servers, discipline)
        assert run.jobs["need"].tolist() == slow.given
        assert run.outcome["start"].tolist() == slow.start
        assert run.outcome["completion"].tolist() == slow.completion
        assert run.response_times.mean() >= system.bound(drawn) * (1 - 1e-12)

    check()


@every_policy
@pytest.mark.parametrize("pace", [1.0, 3.0, 10.0])
def test_every_job_runs_once_and_servers_are_conserved(discipline, pace):
    scenario = Scenario("moldable", load=0.2, n_jobs=FEW // 3, **NOISY)
    drawn = scenario.draw(4, discipline)
    drawn.work["arrival"] /= pace
    run, times = scenario.system.simulate(drawn, discipline, **scenario.facts(discipline)), drawn.truth["times"]
    start, end, held = run.outcome["start"], run.outcome["completion"], run.jobs["need"]
    spent = times[np.arange(len(run)), held - 1]
    assert (run.jobs["status"] == DONE).all()
    assert (start >= run.jobs["arrival"]).all()
    np.testing.assert_allclose(end - start, spent, rtol=1e-9, atol=1e-9)
    assert run.totals["busy"] == pytest.approx(float(held @ spent), rel=1e-9)
    changes = sorted([*zip(end, -held, strict=True), *zip(start, held, strict=True)])  # at a tie, ends come first
    in_use = np.cumsum([change for _, change in changes])
    assert in_use.min() >= 0
    assert in_use.max() <= scenario.system.servers


def test_one_server_is_the_m_g_k_and_all_servers_the_m_g_1():
    scenario = Scenario("moldable", load=0.25, n_jobs=FEW)
    jobs, truth = scenario.draw(2)
    many = Central(servers=8).simulate(Drawn(jobs, {"sizes": truth["sizes"]}), policy("fcfs"))
    single = MG1().simulate(Drawn(jobs, {"sizes": truth["times"][:, -1].copy()}), policy("fcfs"))
    for name, other in (("one-server", many), ("all-servers", single), ("finish-soonest", single)):
        ours = scenario.simulate(name, 2)  # who finishes soonest takes all, and then all are free at once
        np.testing.assert_allclose(ours.outcome["completion"], other.outcome["completion"], rtol=1e-9)


@pytest.mark.skipif(_jit.DISABLED, reason="needs many jobs")
@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("one-server", {"load": 0.8}),
        ("all-servers", {"load": 0.25}),
        ("fixed-width:servers=3", {"load": 0.4, "curves": "power:exponent=0.5"}),
        ("all-servers", {"load": 0.4, "curves": (("power", 0.2, "uniform"), ("amdahl", 0.8, "exponential:mean=0.5"))}),
    ],
)
def test_what_is_known_exactly_is_inside_the_interval(name, fields):
    scenario = Scenario("moldable", n_jobs=40_000, **fields)
    (known,) = scenario.known(name)
    means = [scenario.simulate(name, seed).after_warmup().response_times.mean() for seed in range(8)]
    estimate = across_seeds(means)
    assert known["kind"] == "exact"
    assert estimate.low <= known["value"] <= estimate.high


def test_a_floor_is_said_of_policies_that_are_not_known_exactly():
    for spec in ("one-server:shortest_first=true", "least-delay", "all-servers", "fixed-width:servers=9"):
        (known,) = Scenario("moldable").known(spec)  # all servers for each job are overloaded at this load
        assert (known["kind"], known["value"]) == ("floor of every policy", pytest.approx(MEAN_ON_8))


def test_efficiency_gives_what_is_used_well():
    """At p = 1/2 the efficiency of j servers is j^(-1/2), which is 1/2 at 4 and below it at 5."""
    system, rule = Moldable(servers=9), moldable_policy("efficiency:theta=0.5")
    assert system.simulate(batch([1.0, 1.0, 1.0], 9), rule).jobs["need"].tolist() == [4, 4, 1]
    assert system.simulate(batch([1.0], 9, error=0.5), rule).jobs["need"].tolist() == [9]


# The environment.


@every_policy
@pytest.mark.parametrize("servers", [1, 8])
def test_an_agent_plays_as_the_closed_loop(discipline, servers):
    scenario = Scenario("moldable", servers=servers, load=0.7, n_jobs=FEW // 2, **NOISY)
    if discipline.name == "fixed-width" and servers == 1:
        discipline = moldable_policy("fixed-width:servers=1")
    env = scenario.env(slots=scenario.n_jobs)
    total, _, _ = finish(env, baseline_agent(discipline, env).act_env, 5)
    ours, run = env.run(), scenario.simulate(discipline, 5)
    np.testing.assert_array_equal(ours.outcome, run.outcome)
    np.testing.assert_array_equal(ours.jobs["need"], run.jobs["need"])
    assert ours.totals == run.totals
    assert total == pytest.approx(-run.response_times.sum(), rel=1e-9)


@pytest.mark.parametrize("name", ["equal-share", "efficiency", "least-delay"])
def test_a_batch_of_observations_gives_the_actions_one_by_one(name):
    env = gym.make(ID, n_jobs=150, load=0.7, slots=4)
    agent, seen, actions = baseline_agent(name, env), [], []

    def act(env):
        seen.append(env.unwrapped.episodes.report(0)[0])
        actions.append(agent.act(seen[-1]))
        assert actions[-1] == agent.act_env(env)
        return actions[-1]

    finish(env, act, 3)
    stacked = {part: np.stack([one[part] for one in seen]) for part in seen[0]}
    np.testing.assert_array_equal(agent.act(stacked), actions)
    assert len(set(actions)) > 2


def test_decisions_of_a_toy_by_hand():
    """Two jobs at time 0 on two servers; sizes 4 and 1, speed-up sqrt(j)."""
    env = Scenario("moldable", servers=2, n_jobs=2).env(slots=1)
    env.reset(seed=0)
    env.episodes.actions[0] = START
    env.episodes.give(0, batch([4.0, 1.0], 2))
    env.episodes.advance()
    one, two, wait = 0, 1, 2
    assert env.action_masks().tolist() == [1, 1, 0]  # nothing would ever happen
    observation, reward, _, _, info = env.step(wait)
    assert info["illegal_action"]  # so the first job starts on one server
    assert reward == 0
    assert env.action_masks().tolist() == [1, 0, 1]
    columns = dict(zip(env.view.jobs, observation["jobs"][two], strict=True))
    assert columns == {"present": 1, "predicted": 1, "time_in_system": 0, "weight": 1, "klass": 0} | {
        "servers": 2, "time": np.float32(0.5**0.5), "wait": 4,
    }  # fmt: skip
    _, reward, terminated, _, info = env.step(wait)
    assert (reward, info["dt"], terminated) == (-8.0, 4.0, False)
    *_, terminated, _, _ = env.step(one)
    assert terminated
    assert env.run().outcome["completion"].tolist() == [4.0, 5.0]


# heSRPT.


def flow_time(weights, sizes, servers, p):
    """Return the sum of response times where shares are softmax(weights), a row for each number of jobs left."""
    left, clock, total, row = list(sizes), 0.0, 0.0, 0
    while left:
        raw = np.exp(weights[row : row + len(left)] - max(weights[row : row + len(left)]))
        rates = (servers * raw / raw.sum()) ** p
        row += len(left)
        spans = np.array(left) / rates
        clock += spans.min()
        total += clock
        left = [x - r * spans.min() for i, (x, r) in enumerate(zip(left, rates, strict=True)) if i != spans.argmin()]
    return total


@pytest.mark.parametrize("p", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("sizes", [(2.0, 1.0), (1.0, 1.0), (3.0, 2.0, 0.5), (5.0, 1.0, 0.9)])
def test_hesrpt_is_what_a_search_finds(sizes, p):
    parameters = sum(range(1, len(sizes) + 1))
    rng = np.random.default_rng(0)
    options = {"xatol": 1e-9, "fatol": 1e-11, "maxiter": 20_000, "maxfev": 20_000}
    searches = (
        minimize(flow_time, rng.normal(size=parameters), (sizes, 4, p), method="Nelder-Mead", options=options)
        for _ in range(4)
    )
    best = min(search.fun for search in searches) / len(sizes)
    assert hesrpt_response_time(sizes, 4, p) == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("p", [0.0, 0.05, 0.5, 0.95, 0.999])
def test_hesrpt_shares_reach_its_response_time(p):
    sizes = [6.0, 5.0, 3.0, 1.0, 0.5, 0.25]
    with np.errstate(divide="ignore"):
        weights = np.concatenate([np.log(hesrpt_shares(m, p)) for m in range(6, 0, -1)])
    if p < 0.9:  # beyond, a share of 0 of the largest makes its span infinite, which is right but not a number to add
        assert flow_time(weights, sizes, 16, p) / 6 == pytest.approx(hesrpt_response_time(sizes, 16, p), rel=1e-9)
    assert hesrpt_shares(6, p).sum() == pytest.approx(1.0)


def test_hesrpt_in_its_limits():
    """At p = 1 it is shortest first on all servers; at p = 0 every job takes its own time."""
    assert hesrpt_response_time([1.0, 2.0, 4.0], 4, 1.0) == pytest.approx((1 + 3 + 7) / 3 / 4)
    assert hesrpt_response_time([1.0, 2.0, 4.0], 4, 0.0) == pytest.approx(7 / 3)
    assert hesrpt_response_time([1.0, 2.0, 4.0], 4, 0.9999) == pytest.approx((1 + 3 + 7) / 3 / 4, rel=1e-3)
    assert hesrpt_shares(3, 1.0).tolist() == [0, 0, 1]


@every_policy
def test_no_policy_beats_hesrpt_on_a_batch(discipline):
    @settings(max_examples=40, deadline=None, derandomize=True, database=None)
    @given(
        st.lists(st.floats(0.01, 100.0), min_size=1, max_size=12),
        st.integers(2, 9),
        st.floats(0.0, 1.0),
        st.sampled_from([-0.3, 0.0, 0.3]),
    )
    def check(sizes, servers, p, error):
        run = Moldable(servers=servers).simulate(batch(sizes, servers, Power(p), error), discipline)
        assert run.response_times.mean() >= hesrpt_response_time(sizes, servers, p) * (1 - 1e-9)

    check()


def test_all_servers_shortest_first_is_the_best_where_speed_up_is_linear():
    drawn, system = batch([3.0, 0.5, 2.0, 1.0], 8, Power(1.0)), Moldable()
    mean = system.simulate(drawn, moldable_policy("all-servers:shortest_first=true")).response_times.mean()
    assert mean == pytest.approx(hesrpt_response_time(drawn.sizes, 8, 1.0), rel=1e-12)
    assert mean == pytest.approx(system.bound(drawn), rel=1e-12)


# Speed-ups and their predictions.


@pytest.mark.parametrize("spec", SPEEDUPS)
def test_speed_ups_rise_and_efficiency_falls(spec):
    builder = SPEEDUPS.builder(spec)
    for level in (0.0, 0.3, 1.0):
        factors = builder(level).factors(16)
        assert factors[0] == pytest.approx(1.0)
        assert (np.diff(factors) >= -1e-12).all()
        assert (np.diff(factors / np.arange(1, 17)) <= 1e-12).all()
    np.testing.assert_allclose(builder(0.0).factors(16), 1.0)
    np.testing.assert_allclose(builder(1.0).factors(16), np.arange(1, 17))
    assert speedup(str(builder(0.25))) == builder(0.25)
    assert (Power(0.5).factors(4)[3], Amdahl(0.5).factors(2)[1]) == (2.0, pytest.approx(4 / 3))


def test_errors_of_size_and_of_speed_up_are_apart_and_leave_the_truth_alone():
    scenario = Scenario("moldable", n_jobs=FEW)
    jobs, truth = scenario.draw(0)
    size, curve = (replace(scenario, **{name: value}).draw(0) for name, value in NOISY.items())
    assert (truth["times"] == truth["predicted"]).all()
    for drawn in (curve, size):
        assert (drawn.truth["times"] == truth["times"]).all()
        assert (drawn.work["arrival"] == jobs["arrival"]).all()
    believed = curve.truth["predicted"]
    assert (believed[:, 0] == truth["sizes"]).all()
    assert (believed[:, 7] != truth["times"][:, 7]).all()
    ratio = size.truth["predicted"] / truth["times"]
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:, :1], ratio.shape), rtol=1e-12)
    exponent = np.log(believed[:, 0] / believed[:, 7]) / np.log(8)
    assert 0 <= exponent.min() <= exponent.max() <= 1 + 1e-12
    middle = jobs["klass"] == 1  # exponent 1/2, which an error of .2 seldom takes to an end
    assert exponent[middle].std() == pytest.approx(0.2, rel=0.1 if not _jit.DISABLED else 0.3)


def test_where_nothing_is_known_every_job_has_the_mean_curve():
    predicted = Scenario("moldable", n_jobs=FEW, speedups="mean").draw(0).truth["predicted"]
    np.testing.assert_allclose(predicted[:, 7] / predicted[:, 0], MEAN_ON_8, rtol=1e-12)
    for name in SPEEDUP_PREDICTORS:
        assert speedup_predictor(str(speedup_predictor(name))) == speedup_predictor(name)


# Promises.


def not_a_number(job, offer, params):
    return np.nan if job.klass == 2 else 0.0


def never(job, offer, params):
    return np.inf


def waits_for_two(job, offer, params):
    return np.inf if offer.waiting < 2 else 0.0


def cheats_by_offer(job, offer, params):
    return offer.true_time


def test_classes_are_told_in_words_or_in_python():
    told = Scenario("moldable:servers=4,curves=0.25*amdahl:parallel=0.5|0.75*power").system
    assert told.class_shares == (0.25, 0.75)
    assert told.classes == Moldable(4, ((Amdahl(0.5), 0.25), ("power", 0.75))).classes
    json.dumps(Scenario(replace(told, curves=((Power(0.1), 1.0, "uniform"),))).to_dict())


def small(**fields):
    return Scenario("moldable", **{"n_jobs": 9, **fields})


def changed(**truth):
    given = batch([1.0], 2)
    return Moldable(servers=2).simulate(given._replace(truth={**given.truth, **truth}), POLICIES[0])


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        (lambda: small().simulate(never), "starts none of 9"),
        (lambda: small(servers=1).simulate(waits_for_two), "starts none of 1 waiting jobs though all 1 servers"),
        (lambda: small().simulate("fixed-width:servers=9"), "starts none of 9"),
        (lambda: small(n_jobs=50).simulate(not_a_number), "score NaN"),
        (lambda: baseline_agent(not_a_number, env := small(n_jobs=50).env(slots=50)).act(_late(env)), "score NaN"),
        (lambda: moldable_policy("fixed-width:servers=0"), "servers=0"),
        (lambda: moldable_policy("efficiency:theta=1.5"), "theta=1.5"),
        (lambda: moldable_policy("least-delay:others=-1"), "others=-1"),
        (lambda: MoldablePolicy("mine", never, window=-1), "window=-1"),
        (lambda: small().simulate(cheats_by_offer), "true_time"),
        (lambda: small(curves=(("power", 0.5),)), "add up to 0.5"),
        (lambda: small(curves="0*power|1*power"), "share above 0"),
        (lambda: small(curves="powr"), "did you mean 'power'"),
        (lambda: small(curves="x*power"), "must be speed-ups"),
        (lambda: small(curves=()), "must be speed-ups"),
        (lambda: small(speedups="normal:error=-0.1"), "error=-0.1"),
        (lambda: small(workload="trace"), "workload"),
        (lambda: speedup("power:exponent=1.5"), "1.5"),
        (lambda: speedup("amdahl:parallel=-1"), "-1"),
        (lambda: changed(sizes=np.array([np.nan])), "job 0"),
        (lambda: changed(predicted=np.array([[1.0, np.inf]])), "job 0"),
        (lambda: changed(times=np.ones((1, 3))), r"\(1, 3\)"),
        (lambda: hesrpt_response_time([], 2, 0.5), "at least one"),
        (lambda: hesrpt_response_time([1.0], 0, 0.5), "0"),
        (lambda: hesrpt_response_time([1.0], 2, 2.0), "exponent=2"),
    ],
)
def test_bad_input_is_named_in_one_line(wrong, word):
    with pytest.raises(BadInput, match=word) as caught:
        wrong()
    assert "\n" not in str(caught.value)


def _late(env):
    """An observation in which many wait."""
    env.reset(seed=0)
    while (observation := env.step(env.action_space.n - 1)[0])["system"][0] < 30:
        pass
    return observation


def test_who_is_told_what_is_known():
    with pytest.raises(NotApplicable):
        small(predictor="none").simulate("least-delay")
    small(predictor="none").simulate("one-server")
    blind = {spec for spec in MOLDABLE if moldable_policy(spec).told == "nothing"}
    assert blind == {"one-server", "all-servers", "fixed-width", "equal-share"}
    assert {p.told for p in POLICIES if p.name in blind and p.window == 0} == {"prediction"}
    assert not {"size", "true_time", "finish"} & set(OFFER.names)
    for discipline in map(moldable_policy, MOLDABLE):
        assert discipline.source
        assert discipline.predictor is None
        assert pickle.loads(pickle.dumps(discipline)) == discipline


@pytest.mark.skipif(_jit.DISABLED, reason="nothing is compiled")
def test_one_compiled_kernel_serves_every_policy():
    for discipline in POLICIES:
        small(n_jobs=50).simulate(discipline)
    small().env(slots=3).reset(seed=0)
    small(servers=2).env().reset(seed=0)
    assert len(moldable.simulate.signatures) == 1
    assert len(moldable_steps.step_batch.signatures) == 1


@pytest.mark.skipif(_jit.DISABLED, reason="takes minutes")
def test_experiment_at_tiny_size(tmp_path):
    path = Path(__file__).parents[1] / "experiments" / "how_many_servers_for_a_job.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    specs = ("one-server:shortest_first=true", "all-servers:shortest_first=true", "least-delay:others=4")
    rows = [row for name in specs for model in module.MODELS for row in module.climb((name, model, 4_000, 2))]
    assert any(row["overloaded"] for row in rows if row["policy"] == specs[1])
    assert all(row["low"] <= row["mean"] <= row["high"] for row in rows if "mean" in row)
    assert module.findings(rows)
    module.draw({"rows": rows}).savefig(tmp_path / "figure.png")
    stored = json.loads(module.OUT.with_suffix(".json").read_text())
    assert {row["policy"] for row in stored["rows"]} == set(module.POLICIES)

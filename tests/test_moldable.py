"""Moldable jobs: the engine against a slow one offer by offer, heSRPT against a numerical search, and the promises."""

import importlib.util
import json
import pickle
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from llmqueue_gym import _jit
from llmqueue_gym.engines import moldable
from llmqueue_gym.errors import BadInput, NotApplicable, TruthError
from llmqueue_gym.evaluation import closed_loop
from llmqueue_gym.evaluation.moldable import MoldableScenario, batch, simulate_moldable
from llmqueue_gym.evaluation.server_needs import simulate_needs
from llmqueue_gym.evaluation.statistics import paired_difference
from llmqueue_gym.jobs import DONE, JOB, OFFER, Instance, MoldableInstance, job_table
from llmqueue_gym.policies import policy
from llmqueue_gym.policies.moldable import MOLDABLE, MoldablePolicy, moldable_policy
from llmqueue_gym.policies.packing import packing_policy
from llmqueue_gym.predictors.speedup import SpeedupPredictor
from llmqueue_gym.profiles.speedup import SPEEDUPS, Amdahl, Power, speedup
from llmqueue_gym.theory.moldable import hesrpt_response_time, hesrpt_shares

FEW = 200 if _jit.DISABLED else 3_000
N_JOBS = 1_000 if _jit.DISABLED else 30_000


def patient_half(job, offer, params):
    """All or half of the servers, whichever ends first; ties everywhere, and waits that matter."""
    return offer.wait + offer.time if 2 * offer.servers >= offer.total else np.inf


def late_and_crowded(job, offer, params):
    return offer.clock - job.arrival + offer.running - offer.servers if offer.waiting + offer.running > 1 else 0.0


POLICIES = [moldable_policy(spec) for spec in MOLDABLE]
POLICIES += [moldable_policy(f"{spec}:shortest_first=true") for spec in MOLDABLE if spec != "least-delay"] + [
    MoldablePolicy(f.__name__, f, window=window) for f in (patient_half, late_and_crowded) for window in (0, 1, 2)
]


def named(policies):
    return {"argvalues": policies, "ids": [f"{p.name}-{p.window}" for p in policies]}


class Slow:
    """Plays a policy; all offers are listed and sorted anew at every turn. Plain Python."""

    def __init__(self, arrivals, times, predicted, servers, discipline):
        n = len(arrivals)
        self.arrivals, self.predicted, self.servers, self.discipline = arrivals, predicted, servers, discipline
        self.start, self.completion, self.given = [None] * n, [None] * n, [None] * n
        for clock in iter(lambda: self._next(), None):
            self.clock = clock
            while (choice := self._choose()) is not None:
                job, j = choice
                self.start[job], self.given[job], self.completion[job] = clock, j, clock + times[job][j - 1]

    def _next(self):
        now = getattr(self, "clock", -1.0)
        return min(
            (t for t in [*self.arrivals, *(c for c in self.completion if c is not None)] if t > now), default=None
        )

    def _choose(self):
        waiting = [i for i, t in enumerate(self.arrivals) if t <= self.clock and self.start[i] is None]
        running = [i for i, c in enumerate(self.completion) if c is not None and c > self.clock]
        free = self.servers - sum(self.given[i] for i in running)
        if free == 0 or not waiting:
            return None

        def wait(j):
            """Return the least time by which, as predicted, j servers are free."""
            due = {i: max(0.0, self.start[i] + self.predicted[i][self.given[i] - 1] - self.clock) for i in running}
            if j <= free:
                return 0.0
            return min(t for t in due.values() if free + sum(self.given[i] for i in running if due[i] <= t) >= j)

        offers = []
        for i in waiting[: self.discipline.window or None]:
            job = SimpleNamespace(arrival=self.arrivals[i], predicted=self.predicted[i][0], weight=1.0, klass=0)
            for j in range(1, self.servers + 1):
                offer = SimpleNamespace(servers=j, time=self.predicted[i][j - 1], wait=wait(j), clock=self.clock)
                offer.free, offer.total, offer.waiting, offer.running = free, self.servers, len(waiting), len(running)
                offers.append((self.discipline.score(job, offer, self.discipline.params), i, -j))
        score, i, minus_j = min(offers)
        return (i, -minus_j) if score < np.inf and -minus_j <= free else None


quarters = st.integers(1, 12).map(lambda x: x / 4)  # exact in floating point, with many ties


@st.composite
def instances(draw):
    """Draw any tables of times, also such as no speed-up curve has."""
    n, servers = draw(st.integers(1, 8)), draw(st.integers(2, 5))
    column = st.lists(quarters, min_size=servers, max_size=servers)
    times, predicted = (draw(st.lists(column, min_size=n, max_size=n)) for _ in range(2))
    arrivals = sorted(draw(st.lists(st.integers(0, 12).map(lambda x: x / 4), min_size=n, max_size=n)))
    return arrivals, times, predicted, servers


@pytest.mark.parametrize("discipline", **named(POLICIES))
def test_engine_is_the_slow_one_offer_by_offer(discipline):
    @settings(max_examples=60, deadline=None, derandomize=True, database=None)
    @given(instances())
    def check(drawn):
        arrivals, times, predicted, servers = drawn
        jobs = job_table(np.array(arrivals), np.array(predicted)[:, 0])
        run = simulate_moldable(MoldableInstance(jobs, np.array(times), np.array(predicted)), discipline)
        slow = Slow(arrivals, times, predicted, servers, discipline)
        assert run.given.tolist() == slow.given
        assert run.outcome["start"].tolist() == slow.start
        assert run.outcome["completion"].tolist() == slow.completion

    check()


@pytest.mark.parametrize("discipline", **named(POLICIES))
@pytest.mark.parametrize("load", [0.2, 0.6, 2.0])
def test_every_job_runs_once_and_servers_are_conserved(discipline, load):
    speedups = SpeedupPredictor(error=0.2)
    scenario = MoldableScenario(load=load, n_jobs=FEW // 3, predictor="lognormal", speedups=speedups)
    run, times = scenario.play(discipline, 4), scenario.draw(4).times
    start, end, given_ = run.outcome["start"], run.outcome["completion"], run.given
    spent = times[np.arange(len(run)), given_ - 1]
    assert (run.jobs["status"] == DONE).all()
    assert (start >= run.jobs["arrival"]).all()
    np.testing.assert_allclose(end - start, spent, rtol=1e-9, atol=1e-9)
    assert run.busy == pytest.approx(float(given_ @ spent), rel=1e-9)
    assert 0 < run.efficiency <= 1 + 1e-9
    changes = sorted([*zip(end, -given_, strict=True), *zip(start, given_, strict=True)])  # at a tie, ends come first
    held = np.cumsum([change for _, change in changes])
    assert held.min() >= 0
    assert held.max() <= scenario.servers


def test_one_server_is_the_m_g_k_and_all_servers_the_m_g_1():
    scenario = MoldableScenario(load=0.25, n_jobs=FEW)
    jobs, times, _ = scenario.draw(2)
    many = simulate_needs(jobs, times[:, 0], scenario.servers, packing_policy("fcfs"))
    assert (scenario.play(moldable_policy("one-server"), 2).outcome == many.outcome).all()
    single = closed_loop.simulate(Instance(jobs, times[:, -1].copy()), policy("fcfs"))
    ours = scenario.play(moldable_policy("all-servers"), 2)
    np.testing.assert_allclose(ours.outcome["completion"], single.outcome["completion"], rtol=1e-9)
    soonest = scenario.play(moldable_policy("finish-soonest"), 2)  # the first takes all; then all are free at once
    assert (soonest.outcome == ours.outcome).all()


def test_efficiency_gives_what_is_used_well():
    """At p = 1/2 the efficiency of j servers is j^(-1/2), which is 1/2 at 4 and below it at 5."""
    first, second, third = simulate_moldable(batch([1.0, 1.0, 1.0], 9), moldable_policy("efficiency:theta=0.5")).given
    assert (first, second, third) == (4, 4, 1)
    deceived = simulate_moldable(batch([1.0], 9, error=0.5), moldable_policy("efficiency:theta=0.5"))
    assert deceived.given.tolist() == [9]


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


@pytest.mark.parametrize("discipline", **named(POLICIES))
def test_no_policy_beats_hesrpt_on_a_batch(discipline):
    @settings(max_examples=40, deadline=None, derandomize=True, database=None)
    @given(
        st.lists(st.floats(0.01, 100.0), min_size=1, max_size=12),
        st.integers(2, 9),
        st.floats(0.0, 1.0),
        st.sampled_from([-0.3, 0.0, 0.3]),
    )
    def check(sizes, servers, p, error):
        run = simulate_moldable(batch(sizes, servers, Power(p), error), discipline)
        assert run.response_times.mean() >= hesrpt_response_time(sizes, servers, p) * (1 - 1e-9)

    check()


def test_all_servers_shortest_first_is_the_best_where_speed_up_is_linear():
    sizes = [3.0, 0.5, 2.0, 1.0]
    run = simulate_moldable(batch(sizes, 8, Power(1.0)), moldable_policy("all-servers:shortest_first=true"))
    assert run.response_times.mean() == pytest.approx(hesrpt_response_time(sizes, 8, 1.0), rel=1e-12)


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


def test_speed_ups_by_hand():
    assert Power(0.5).factors(4)[3] == 2.0
    assert Amdahl(0.5).factors(2)[1] == pytest.approx(4 / 3)


def test_exact_predictions_are_the_truth():
    _, times, predicted = MoldableScenario(n_jobs=FEW).draw(0)
    assert (times == predicted).all()


def test_errors_of_size_and_of_speed_up_are_apart_and_leave_the_truth_alone():
    scenario = MoldableScenario(n_jobs=FEW)
    jobs, times, _ = scenario.draw(0)
    curve = replace(scenario, speedups=SpeedupPredictor(error=0.2)).draw(0)
    size = replace(scenario, predictor="lognormal").draw(0)
    for drawn in (curve, size):
        assert (drawn.times == times).all()
        assert (drawn.jobs["arrival"] == jobs["arrival"]).all()
    assert (curve.predicted[:, 0] == times[:, 0]).all()
    assert (curve.predicted[:, 7] != times[:, 7]).all()
    ratio = size.predicted / times
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:, :1], ratio.shape), rtol=1e-12)
    believed = np.log(curve.predicted[:, 0] / curve.predicted[:, 7]) / np.log(8)  # the exponent
    assert believed.min() >= 0
    assert believed.max() <= 1 + 1e-12
    middle = jobs["klass"] == 1  # exponent 1/2, which an error of .2 seldom takes to an end
    assert believed[middle].std() == pytest.approx(0.2, rel=0.1 if not _jit.DISABLED else 0.3)


def test_where_nothing_is_known_every_job_has_the_mean_curve():
    scenario = MoldableScenario(n_jobs=FEW, speedups=SpeedupPredictor(known=False))
    relative = scenario.draw(0).predicted / scenario.draw(0).predicted[:, :1]
    expected = np.mean([8**-0.9, 8**-0.5, 8**-0.1])
    np.testing.assert_allclose(relative[:, 7], expected, rtol=1e-12)


@pytest.mark.skipif(_jit.DISABLED, reason="needs many jobs")
def test_a_known_speed_up_is_worth_something():
    means = {
        known: [
            MoldableScenario(load=0.5, n_jobs=N_JOBS, speedups=SpeedupPredictor(known=known))
            .play(moldable_policy("least-delay"), seed)
            .after_warmup()
            .response_times.mean()
            for seed in range(4)
        ]
        for known in (True, False)
    }
    assert paired_difference(means[True], means[False]).high < 0


# Promises.


def not_a_number(job, offer, params):
    return np.nan if job.klass == 2 else 0.0


def never(job, offer, params):
    return np.inf


def waits_for_two(job, offer, params):
    return np.inf if offer.waiting < 2 else 0.0


def cheats(job, offer, params):
    return job.size


def cheats_by_offer(job, offer, params):
    return offer.true_time


def least_area(job, offer, params):
    return offer.servers * offer.time if offer.servers <= offer.free else np.inf


def test_a_plain_function_is_a_policy():
    run = MoldableScenario(n_jobs=500).play(moldable_policy(least_area), 0)
    assert run.player == "least_area"
    assert (run.given == 1).all()  # where more servers waste some, one is least


def test_a_policy_may_wait_but_not_for_ever():
    """An empty system may idle until the next arrival; at the end of time there is none."""
    pair = simulate_moldable(batch([1.0, 1.0], 2), moldable_policy(patient_half))
    assert pair.outcome["completion"].max() > 0
    jobs = job_table(np.array([0.0, 1.0, 2.0]), np.ones(3))
    with pytest.raises(BadInput, match="starts none of 1 waiting jobs though all 1 servers are free"):
        simulate_moldable(MoldableInstance(jobs, np.ones((3, 1)), np.ones((3, 1))), moldable_policy(waits_for_two))


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        (lambda: MoldableScenario(n_jobs=9).play(moldable_policy(never), 0), "starts none of 9"),
        (lambda: MoldableScenario(n_jobs=9).play(moldable_policy("fixed-width:servers=9"), 0), "starts none of 9"),
        (lambda: MoldableScenario(n_jobs=50).play(moldable_policy(not_a_number), 0), "score NaN"),
        (lambda: moldable_policy("fixed-width:servers=0"), "servers=0"),
        (lambda: moldable_policy("efficiency:theta=1.5"), "theta=1.5"),
        (lambda: moldable_policy("least-delay:others=-1"), "others=-1"),
        (lambda: moldable_policy("least-dely"), "least-delay"),
        (lambda: moldable_policy(3), "not a policy of moldable jobs"),
        (lambda: MoldablePolicy("mine", never, window=-1), "window=-1"),
        (lambda: moldable_policy(lambda job, offer, params: job.predictd), "predicted"),
        (lambda: MoldableScenario(n_jobs=9).play(moldable_policy(cheats_by_offer), 0), "'true_time', which does not"),
        (lambda: MoldableScenario(servers=0), "servers=0"),
        (lambda: MoldableScenario(n_jobs=0), "n_jobs=0"),
        (lambda: MoldableScenario(load=np.inf), "load=inf"),
        (lambda: MoldableScenario(classes=((0.5, "exponential", "power"),)), "add up to 1"),
        (lambda: MoldableScenario(classes=((1.0, "exponential", "powr"),)), "did you mean 'power'"),
        (lambda: speedup("power:exponent=1.5"), "1.5"),
        (lambda: speedup("amdahl:parallel=-1"), "-1"),
        (lambda: SpeedupPredictor(error=-0.1), "error=-0.1"),
        (lambda: SpeedupPredictor(error=0.1, known=False), "not known"),
        (lambda: simulate_moldable(batch([np.nan], 2), POLICIES[0]), "job 0"),
        (lambda: simulate_moldable(batch([1.0], 2)._replace(times=np.ones((1, 3))), POLICIES[0]), r"\(1, 3\)"),
        (lambda: hesrpt_response_time([], 2, 0.5), "at least one"),
        (lambda: hesrpt_response_time([1.0], 0, 0.5), "0"),
        (lambda: hesrpt_response_time([1.0], 2, 2.0), "exponent=2"),
    ],
)
def test_bad_input_is_named_in_one_line(wrong, word):
    if _jit.DISABLED and "true_time" in word:
        pytest.skip("nothing is compiled")
    with pytest.raises(BadInput, match=word) as caught:
        wrong()
    assert "\n" not in str(caught.value)


def test_truth_is_hidden_and_predictions_are_asked_for():
    with pytest.raises(TruthError):
        moldable_policy(cheats)
    with pytest.raises(NotApplicable):
        MoldableScenario(predictor="none")
    assert not {"size", "true_time", "finish"} & set(OFFER.names)


@pytest.mark.parametrize("name", MOLDABLE)
def test_every_policy_compiles_and_has_scores_and_names_its_source(name):
    discipline = moldable_policy(name)
    assert discipline.name == name
    assert discipline.source
    assert pickle.loads(pickle.dumps(discipline)) == discipline
    if not _jit.DISABLED:
        _jit.compile_moldable(discipline.score, cache=True)
    job = np.zeros(1, JOB).view(np.recarray)[0]
    job.predicted = 1.0
    scores = []
    for j, free, waiting in np.ndindex(9, 9, 5):
        offer = np.zeros(1, OFFER).view(np.recarray)[0]
        offer.servers, offer.free, offer.total, offer.waiting, offer.time = j + 1, free, 9, waiting + 1, 1 / (j + 1)
        scores.append(discipline.score(job, offer, np.array(discipline.params)))
    assert not np.isnan(scores).any()
    assert np.isfinite(scores).any()
    assert min(scores) > -np.inf


@pytest.mark.skipif(_jit.DISABLED, reason="nothing is compiled")
def test_one_compiled_kernel_serves_every_policy():
    for discipline in POLICIES:
        MoldableScenario(n_jobs=50).play(discipline, 0)
    assert len(moldable.simulate.signatures) == 1


def test_same_seed_same_numbers_and_the_tables_given_are_not_changed():
    drawn = MoldableScenario(n_jobs=500).draw(1)
    before = [table.copy() for table in drawn]
    runs = [simulate_moldable(drawn, moldable_policy("least-delay")) for _ in range(2)]
    assert (runs[0].outcome == runs[1].outcome).all()
    assert all((now == then).all() for now, then in zip(drawn, before, strict=True))
    json.dumps(MoldableScenario(speedups=SpeedupPredictor(0.1)).to_dict())


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
    module.draw(rows).savefig(tmp_path / "figure.png")
    stored = json.loads(module.OUT.with_suffix(".json").read_text())
    assert {row["policy"] for row in stored["rows"]} == set(module.POLICIES)

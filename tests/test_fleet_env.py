"""The environment of a fleet: the same requests, sent by a router, end when they end in the closed loop."""

from collections import Counter
from dataclasses import dataclass, replace

import gymnasium as gym
import numpy as np
import pytest
from played import at_random, finish, together

import llmqueue_gym  # noqa: F401 (registers the environments)
from llmqueue_gym import _jit
from llmqueue_gym.engines.fleet import stepping
from llmqueue_gym.engines.fleet.tables import HAND, ROUTE
from llmqueue_gym.envs.opened import baseline_agent
from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.routing import RoutingPolicy
from llmqueue_gym.profiles.base import Profile
from llmqueue_gym.requests import request_table
from llmqueue_gym.systems import Drawn

ROUTING, SPLIT = "llmqueue/Routing-v0", "llmqueue/PrefillDecode-v0"
SMALL = {"n_requests": 120, "rate": 90.0}
ROUTERS = [
    ("random", {"sees": 1}),
    ("round-robin", {}),
    ("least-outstanding", {}),
    ("power-of-d", {"sees": 2}),
    ("power-of-d:d=3", {"sees": 3}),
    ("least-tokens", {}),
    ("least-kv", {}),
    ("least-work", {}),
    ("token-jsq", {}),
    ("preble-like", {}),
    ("llm-d", {}),
    ("llumnix", {}),
    ("vllm-dp", {}),
]
CACHING = {"lengths": "prefixes:texts=20,prefix=100,own=lognormal:prompt=40;output=30"}
CACHING |= {"profile": "a100-llama3-8b:kv_tokens=4096", "rules": "vllm-v1:max_seqs=8,caching=vllm"}
COLUMNS = ("scheduled", "first_token", "completion", "recomputed")


@dataclass(frozen=True, eq=False)
class Recorded:
    """Requests that are always the same."""

    drawn: Drawn

    def sample(self, n, arrival_rng, length_rng):
        return self.drawn.work.copy(), self.drawn.sizes.copy()

    def output_sample(self):
        return self.drawn.sizes


def made(name=ROUTING, **given):
    """An environment without ticks; for those see `test_scaling_env`."""
    whole = {"decides": "both", "least": 1} if name == SPLIT else {}
    return gym.make(name, **{**SMALL, **whole, **given}).unwrapped


def played(env, given, seed):
    """Play an episode; return what each step gave: reward, dt, clock, requests in system."""
    agent, steps, over = baseline_agent(given, env), [], False
    env.reset(seed=seed)
    while not over:
        *_, over, _, info = env.step(agent.act_env(env))
        steps.append((info["raw_reward"], info["dt"], info["clock"], info["n_in_system"]))
    return np.array(steps).T


def same(run, expected):
    """Assert that everything happened when it did in another run, to the last bit."""
    for column in COLUMNS:
        np.testing.assert_array_equal(run.outcome[column], expected.outcome[column])
    np.testing.assert_array_equal(run.jobs["site"], expected.jobs["site"])
    np.testing.assert_array_equal(run.jobs["preemptions"], expected.jobs["preemptions"])
    assert run.reason == expected.reason == "drained"


@pytest.mark.parametrize("staleness", [0.0, 0.2])
@pytest.mark.parametrize(("router", "view"), ROUTERS)
def test_a_router_by_hand_is_the_closed_loop(router, view, staleness):
    env = made(staleness=staleness, **view)
    played(env, router, 5)
    same(env.run(), env.scenario.simulate(router, 5))


@pytest.mark.parametrize("router", ["least-ttft", "prefix-aware-like", "preble-like", "llm-d"])
def test_routers_that_know_of_caches_find_them_as_in_the_closed_loop(router):
    env = made(**CACHING)
    played(env, router, 5)
    run = env.run()
    same(run, env.scenario.simulate(router, 5))
    assert run.totals["hit_tokens"] > 0
    agent, (seen, _), over = baseline_agent(router, env), env.reset(seed=5), False
    columns, most = [*env.view.jobs], np.zeros(2)
    while not over:
        most = np.maximum(most, seen["jobs"][:, [columns.index("cached"), columns.index("known")]].max(axis=0))
        seen, _, over, _, _ = env.step(agent.act_env(env))
    assert (most > 0).all()


@pytest.mark.parametrize("given", [{}, {"staleness": 0.2}, {"local_below": 500}, {"latency": 0.05, "bandwidth": 1e9}])
@pytest.mark.parametrize(
    ("router", "handover", "view"),
    [
        ("least-outstanding", "least-kv", {}),
        ("round-robin", "random", {}),
        ("power-of-d", "power-of-d", {"sees": 2}),
        ("least-tokens", "round-robin", {}),
    ],
)
def test_a_router_and_who_takes_over_are_the_closed_loop(router, handover, view, given):
    env = made(SPLIT, rate=30.0, handover=handover, **given, **view)
    asked, question = set(), list(env.view.system).index("question")
    agent = baseline_agent(router, env)

    def choose(env):
        asked.add(int(env.episodes.observation["system"][0, question]))
        return agent.act_env(env)

    finish(env, choose, 5)
    assert asked == {ROUTE, HAND}
    same(env.run(), env.scenario.simulate(router, 5))


def test_a_sample_is_drawn_among_those_that_take_the_request():
    env = made(SPLIT, replicas=6, prefill=3, sees=2, decides="route", n_requests=400)
    agent, pairs = baseline_agent("power-of-d", env), []

    def choose(env):
        pairs.append(tuple(np.flatnonzero(env.episodes.observation["action_mask"][0]).tolist()))
        return agent.act_env(env)

    finish(env, choose, 5)
    same(env.run(), env.scenario.simulate("power-of-d", 5))
    # Three readers have three pairs, alike in probability; tolerance: four standard deviations.
    found, n = Counter(pairs), len(pairs)
    assert sorted(found) == [(0, 1), (0, 2), (1, 2)]
    assert all(abs(count - n / 3) < 4 * np.sqrt(n * 2 / 9) for count in found.values())


@pytest.mark.parametrize(
    ("router", "handover", "view"),
    [("least-outstanding", "least-kv", {}), ("power-of-d", "power-of-d", {"sees": 2}), ("llm-d", "round-robin", {})],
)
@pytest.mark.parametrize("rules", ["vllm-v1:max_seqs=8,caching=vllm", "sglang:max_seqs=8"])
def test_who_reads_is_asked_after_who_decodes_where_little_may_be_missing_there(router, handover, view, rules):
    given = {**CACHING, "rules": rules, "replicas": 4, "prefill": 2, "local_below": 60, "handover": handover, **view}
    env = made(SPLIT, rate=60.0, **given)
    agent, asked = baseline_agent(router, env), []

    def choose(env):
        asked.append((int(env.episodes.asks[0]), np.flatnonzero(env.episodes.observation["action_mask"][0]).max() < 2))
        return agent.act_env(env)

    finish(env, choose, 5)
    run = env.run()
    same(run, env.scenario.simulate(router, 5))
    assert run.totals["spared_tokens"] > 0 and 0 < run.totals["transfers"] < len(run.jobs)
    # Some are asked about once, read where they decode; some twice: decoders first, then readers.
    assert len(asked) > len(run.jobs) + run.totals["transfers"] and {(ROUTE, True), (ROUTE, False)} <= set(asked)


@pytest.mark.parametrize("order", ["fcfs", "sprpt", "ltr"])
def test_what_the_agent_does_not_decide_policies_do(order):
    """Who hands over where it routes, who routes where it hands over, and the order in which replicas serve."""
    given = {"rate": 30.0, "order": order}
    env = made(SPLIT, decides="route", handover="least-outstanding", **given)
    played(env, "least-tokens", 2)
    same(env.run(), env.scenario.simulate("least-tokens", 2))
    env = made(SPLIT, decides="handover", router="least-tokens", **given)
    played(env, "least-outstanding", 2)
    same(env.run(), replace(env.scenario, handover="least-outstanding").simulate("least-tokens", 2))
    env = made(order=order)
    played(env, "least-work", 2)
    same(env.run(), env.scenario.simulate("least-work", 2))


@pytest.mark.parametrize("name", [ROUTING, SPLIT])
def test_requests_that_arrive_together_are_treated_as_in_the_closed_loop(name):
    drawn = together(made(name).scenario.draw(8), 0.25)
    env = made(name, workload=Recorded(drawn), rate=None)
    _, dt, *_ = played(env, "least-outstanding", 0)
    assert (dt == 0).sum() > 50
    same(env.run(), env.scenario.simulate("least-outstanding", 0))


@pytest.mark.parametrize("name", [ROUTING, SPLIT])
@pytest.mark.parametrize("reward", ["response_time", "normalised_latency"])
def test_each_reward_is_what_came_since_the_last_decision(name, reward):
    """The integral of the cost, or, where the cost would give sizes away, all of it when a request leaves."""
    env = made(name, reward=reward)
    rewards, dt, clock, in_system = played(env, "least-outstanding", 3)
    run, cost = env.run(), env.view.costs(env.scenario.draw(3))
    arrival, completion = run.jobs["arrival"], run.outcome["completion"]
    starts = np.append(arrival[0], clock[:-1])
    np.testing.assert_allclose(dt, clock - starts, rtol=0, atol=1e-12)
    assert clock[-1] == completion.max() and in_system[-1] == 0
    for k, (begin, end) in enumerate(zip(starts, clock, strict=True)):
        inside = np.clip(np.minimum(end, completion) - np.maximum(begin, arrival), 0, None)
        left = (completion > begin) & (completion <= end)
        paid = inside if reward == "response_time" else (completion - arrival) * left
        assert rewards[k] == pytest.approx(-(cost * paid).sum(), rel=1e-9, abs=1e-9)
        if k + 1 < len(clock) and (arrival == end).any():
            assert in_system[k] == ((arrival <= end) & (completion > end)).sum()


def test_an_episode_is_cut_off_at_its_horizon():
    env = made(horizon=0.5)
    _, _, info = finish(env, at_random(), 0)
    run, arrival = env.run(), env.scenario.draw(0).work["arrival"]
    assert info["episode_metrics"]["ended"] == run.reason == "horizon"
    assert 0.5 <= info["clock"] < 0.6  # iterations that have begun are ended
    assert info["n_in_system"] == (arrival <= 0.5).sum() - run.done.sum() > 0
    left = np.where(run.done, run.outcome["completion"], info["clock"])
    assert info["return"] == pytest.approx(-(left - arrival)[arrival <= 0.5].sum())


def constant(seconds, kv_tokens=64):
    """A replica whose iterations take a constant time; a token of the cache is a byte."""
    return Profile("constant", "", "", "roofline", np.array([0.0, seconds, 0.0, 0.0, 0.0]), kv_tokens, 1.0, "a test")


def by_hand(name, arrivals, outputs, **given):
    """A fleet of exact numbers: iterations of 1 s, prompts of 16 tokens, blocks of 16 tokens, 4 of them each."""
    drawn = Drawn(request_table(np.array(arrivals), 16), {"sizes": np.array(outputs)})
    told = {"predictor": "exact", "profile": constant(1.0), "rules": "vllm-v1:max_seqs=2", "max_tokens": 60}
    return made(name, workload=Recorded(drawn), n_requests=len(outputs), rate=None, scaled=False, **told, **given)


def look(env, seen):
    """Return the columns of an observation by name."""
    jobs, system = env.view.jobs, env.view.system
    return dict(zip(jobs, seen["jobs"].T.tolist(), strict=True)) | dict(
        zip(system, seen["system"].tolist(), strict=True)
    )


def test_what_is_seen_of_replicas_by_hand():
    env = by_hand(ROUTING, [0.0, 0.5, 0.5, 4.0], [4, 2, 3, 1], replicas=2)
    seen, _ = env.reset(seed=0)
    first = look(env, seen)
    assert first["present"] == [1, 1] and first["free"] == first["blocks"] == [4, 4] and first["outstanding"] == [0, 0]
    expected = {"question": 1, "prompt": 16, "predicted": 4, "weight": 1, "in_system": 1, "turn": 0}
    assert {key: first[key] for key in expected} == expected
    env.step(0)  # the first is read from 0 to 1
    seen, *_, info = env.step(0)  # the second waits behind it until 1
    third = look(env, seen)
    assert (third["running"], third["waiting"], third["outstanding"]) == ([1, 0], [1, 0], [2, 0])
    assert third["tokens"] == [32, 0] and third["pending"] == [32, 0] and third["work"] == [6, 0]
    assert (third["turn"], third["since_decision"], third["in_system"], info["clock"]) == (0, 0.0, 3, 0.5)
    seen, reward, *_ = env.step(1)
    # Iterations end at 1, 2, 3 and 4 at the first replica, and at 1.5, 2.5 and 3.5 at the second.
    last = look(env, seen)
    np.testing.assert_array_equal(env.run().outcome["completion"], [4, 3, 3.5, np.nan])
    assert reward == -(3.5 + 2.5 + 3.0) and last["in_system"] == 1 and last["step_time"] == [1, 1]
    assert last["outstanding"] == last["running"] == last["work"] == [0, 0] and last["turn"] == 1
    seen, reward, terminated, *_ = env.step(1)
    assert terminated and reward == -1.0 and look(env, seen)["question"] == 0
    np.testing.assert_array_equal(env.response_times, [4, 2.5, 3, 1])


def test_what_is_seen_of_a_request_that_goes_on_elsewhere_by_hand():
    given = {"replicas": 3, "prefill": 1, "latency": 0.5, "bandwidth": np.inf}
    env = by_hand(SPLIT, [0.0, 1.25], [3, 2], **given)
    seen, _ = env.reset(seed=0)
    assert look(env, seen)["role"] == [1, 2, 2] and seen["action_mask"].tolist() == [1, 0, 0]
    seen, _, _, _, info = env.step(2)  # a replica that decodes reads nothing: it goes to the first that does
    assert info["illegal_action"] and info["clock"] == 1.0
    hand = look(env, seen)
    assert (hand["question"], hand["source"], seen["action_mask"].tolist()) == (2, [1, 0, 0], [0, 1, 1])
    assert (hand["generated"], hand["computed"], hand["predicted"], hand["time_in_system"]) == (1, 16, 3, 1.0)
    seen, *_ = env.step(2)  # it is there at 1.5, needs two blocks, and has its other two tokens at 3.5
    route = look(env, seen)
    assert (route["question"], route["free"], route["outstanding"]) == (1, [3, 4, 2], [0, 0, 1])
    seen, *_ = env.step(0)
    hand = look(env, seen)
    assert (hand["question"], hand["since_decision"], hand["running"]) == (2, 1.0, [1, 0, 1])
    seen, reward, terminated, _, info = env.step(2)
    # The second is there at 2.75, while an iteration runs until 3.5, and has its last token at 4.5.
    np.testing.assert_array_equal(env.run().outcome["completion"], [3.5, 4.5])
    assert terminated and reward == -(1.25 + 2.25) and info["clock"] == 4.5


def test_reports_are_as_old_as_they_say():
    """With staleness the numbers are those of the last instant of the grid; what the router counts is of now."""
    env, fresh = made(staleness=0.25, scaled=False), made(scaled=False)
    agent = baseline_agent("round-robin", env)
    seen = [each.reset(seed=1)[0] for each in (env, fresh)]
    differ = 0
    for _ in range(100):
        old, now = look(env, seen[0]), look(fresh, seen[1])
        age = env.episodes.steps["clock"][0] % 0.25
        np.testing.assert_allclose(old["since_report"], age, atol=1e-6)
        assert now["since_report"] == [0] * 4
        for name in ("outstanding", "tokens"):
            assert old[name] == now[name]
        differ += old["running"] != now["running"] or old["free"] != now["free"]
        action = agent.act_env(env)
        seen = [each.step(action)[0] for each in (env, fresh)]
    assert differ > 50


@pytest.mark.parametrize("name", [ROUTING, SPLIT])
def test_every_column_of_the_observation_holds_what_its_name_says(name):
    env, choose, looks = made(name, predictor="interval:width=0.5", scaled=False), at_random(), 0

    def watch(env):
        nonlocal looks
        jobs, system = env.episodes.observation["jobs"][0], env.episodes.observation["system"][0]
        columns = dict(zip(env.view.jobs, jobs.T, strict=True))
        told = dict(zip(env.view.system, system.tolist(), strict=True))
        sites, request = env.episodes.seen()["sites"], env.episodes.seen()["request"][0]
        run, clock = env.run(), float(env.episodes.steps["clock"][0])
        for key in ("role", "running", "waiting", "free", "blocks", "pending", "work", "context", "step_time"):
            np.testing.assert_array_equal(columns[key], sites[key].astype(np.float32), key)
        came = (run.jobs["arrival"] <= clock) & (run.jobs["status"] != 4)
        there = np.bincount(run.jobs["site"][came & (run.jobs["site"] >= 0)], minlength=4)
        if told["question"] == ROUTE and name == ROUTING:
            np.testing.assert_array_equal(columns["outstanding"], there)
        assert told["in_system"] == came.sum()
        for key in ("prompt", "generated", "computed", "predicted", "upper", "weight"):
            assert told[key] == np.float32(request[key])
        assert told["time_in_system"] == pytest.approx(clock - request["arrival"], abs=1e-6)
        looks += request["predicted"] < request["upper"]
        return choose(env)

    finish(env, watch, 1)
    assert looks > 50


@pytest.mark.parametrize("name", [ROUTING, SPLIT])
@pytest.mark.parametrize(("router", "view"), ROUTERS)
def test_the_agent_reads_the_observation_alone_one_or_many(router, view, name):
    env = made(name, **view)
    agent, seen, actions, apart = baseline_agent(router, env), [], [], 0
    (observation, _), over = env.reset(seed=3), False
    while not over:
        seen.append(observation)
        actions.append(agent.act(observation))
        apart += actions[-1] != agent.act_env(env)
        assert env.action_masks()[actions[-1]]
        observation, _, over, _, _ = env.step(actions[-1])
    np.testing.assert_array_equal(agent.act({part: np.stack([one[part] for one in seen]) for part in seen[0]}), actions)
    assert len(set(actions)) == 4
    # Sums of predictions, and shares, that differ by less than a float32 does.
    assert apart <= (3 if router in ("least-work", "preble-like", "llm-d") else 0)


def test_a_score_of_the_users_own_is_as_good():
    def fewest(request, site, params):
        return site.outstanding

    for router, view in (("power-of-d:d=3", {"sees": 3, "d": 3, "looks": "sample"}), ("least-outstanding", {})):
        env = made(sees=view.get("sees"))
        traits = {key: value for key, value in view.items() if key != "sees"}
        played(env, RoutingPolicy.from_function(fewest, **traits), 2)
        ours = env.run()
        played(env, router, 2)
        same(env.run(), ours)


@pytest.mark.parametrize("name", [ROUTING, SPLIT])
def test_an_action_that_is_not_open_is_told_and_does_no_harm(name):
    env = made(name, sees=2)
    (_, info), told, over = env.reset(seed=0), 0, False
    while not over:
        closed = np.flatnonzero(info["action_mask"] == 0)
        _, _, over, _, info = env.step(int(closed[0]))
        told += info["illegal_action"]
    assert info["episode_metrics"]["ended"] == "drained" and told >= 120


@pytest.mark.parametrize("name", [ROUTING, SPLIT])
def test_better_routers_are_better_here(name):
    """What is there to learn: the best by hand is clearly better than chance, on the same requests."""
    scenario = gym.make(name).unwrapped.scenario
    means = {
        router: np.array([scenario.simulate(router, seed).response_times.mean() for seed in range(20)])
        for router in ("random", "round-robin", "least-outstanding")
    }
    for worse in ("random", "round-robin"):
        gain = means[worse] - means["least-outstanding"]
        assert gain.mean() > 3 * gain.std(ddof=1) / np.sqrt(len(gain)) > 0


@pytest.mark.skipif(_jit.DISABLED, reason="nothing is compiled")
def test_one_signature_serves_all_that_needs_no_policy():
    before = len(stepping.step_batch.signatures)
    for name, given in ((ROUTING, {}), (ROUTING, {"sees": 2, "staleness": 0.5}), (SPLIT, {}), (SPLIT, {"replicas": 3})):
        finish(made(name, n_requests=5, **given), lambda _: 0, 0)
    assert len(stepping.step_batch.signatures) <= before + 1


def test_what_cannot_be_is_said_in_one_line():
    for told, words in (
        ({"decides": "rout"}, "decides='rout'; did you mean 'route'"),
        ({"decides": "handover"}, "prefill of at least 1"),
        ({"sees": 5}, "sees=5 replicas of 4; choose 1 to 4, or None"),
        ({"sees": 0}, "sees=0"),
        ({"router": "round-robbin"}, "did you mean 'round-robin'"),
    ):
        with pytest.raises(BadInput, match=words) as caught:
            made(**told)
        assert "\n" not in str(caught.value)


def test_agents_that_do_not_fit_are_refused_in_one_line():
    for router, view, words in (
        ("power-of-d", {}, "needs an environment with sees=2, not None"),
        ("least-kv", {"sees": 2}, "needs an environment with sees=None, not 2"),
        ("least-vk", {}, "did you mean 'least-kv'"),
    ):
        with pytest.raises(BadInput, match=words) as caught:
            baseline_agent(router, made(**view))
        assert "\n" not in str(caught.value)
    for router, words in (("shortest-line", "reads idle, which agents do not see"), ("mixed-pool", "closed loop")):
        with pytest.raises(BadInput, match=words):
            baseline_agent(router, made())
    env = made()
    env.reset(seed=0)
    with pytest.raises(BadInput, match="gives score NaN"):
        baseline_agent(RoutingPolicy.from_function(lambda request, site, params: np.nan), env).act_env(env)

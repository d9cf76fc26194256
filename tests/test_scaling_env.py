"""Fleets whose replicas come and go in environments: a controller at ticks does there what it does in closed loop."""

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from played import at_random, finish

import llmqueue_gym  # noqa: F401 (registers the environments)
from llmqueue_gym.engines.fleet.tables import ROUTE, TICK
from llmqueue_gym.envs.opened import baseline_agent
from llmqueue_gym.envs.rollout import rollout, rollouts
from llmqueue_gym.errors import BadInput
from llmqueue_gym.predictors.arrivals import ArrivalForecast
from llmqueue_gym.systems.targets import targets_of, within

SCALING, SPLIT = "llmqueue/Autoscaling-v0", "llmqueue/PrefillDecode-v0"
SMALL = {"n_requests": 60}
FLEET = {"profile": "a100-llama3-8b:kv_tokens=2304", "rules": "vllm-v1:max_seqs=8", "n_requests": 120, "rate": 30.0}
FLEET |= {"lengths": "lognormal:prompt=128,output=32", "tick": 0.5, "start_up": 1.0, "arrivals": "poisson"}
CONTROLLERS = ("none", "fixed:replicas=2", "utilisation:cool=1,steady=2", "forecast:period=1", "erlang:window=2")
PARTS = ("scheduled", "first_token", "completion", "recomputed")


def made(name=SCALING, **given):
    return gym.make(name, **{**SMALL, **given}).unwrapped


def same(run, expected):
    """Assert that everything happened when it did in another run, to the last bit, and cost the same.

    With ticks a run goes on to the last of them, for which is paid.
    """
    for column in PARTS:
        np.testing.assert_array_equal(run.outcome[column], expected.outcome[column])
    np.testing.assert_array_equal(run.jobs["site"], expected.jobs["site"])
    if expected.system.steersman.name != "none":
        assert [part["on_time"] for part in run.parts] == [part["on_time"] for part in expected.parts]
    assert run.reason == expected.reason == "drained"


def up_and_down(seen, memory):
    """A controller that goes through all numbers, and changes roles where there are some."""
    k = memory["k"] = memory.get("k", 0) + 1
    return 1 + k * np.array([1, 2, 3]) % 4


@pytest.mark.parametrize("controller", [*CONTROLLERS, pytest.param(up_and_down, id="up-and-down")])
@pytest.mark.parametrize("given", [{}, {"spot": 0.003, "hold": True, "router": "least-tokens"}], ids=["stay", "vanish"])
def test_a_controller_is_the_closed_loop_tick_by_tick(controller, given):
    env = made(**{**FLEET, **given})
    agent, asked = baseline_agent(controller, env), []
    (seen, _), over = env.reset(seed=4), False
    while not over:
        asked.append(agent.act(seen))
        assert asked[-1] == agent.act_env(env)
        seen, _, over, _, _ = env.step(asked[-1])
    expected = replace(env.scenario, controller=controller).simulate(env.view.router, 4)
    same(env.run(), expected)
    assert controller is not up_and_down or len(set(asked)) == 4


@pytest.mark.parametrize("controller", ["none", "roles:cool=1,ratio=1", pytest.param(up_and_down, id="up-and-down")])
def test_a_router_beside_a_controller_of_roles_is_the_closed_loop(controller):
    env = made(SPLIT, n_requests=150, rate=30.0, controller=controller, least=2)
    agent, questions = baseline_agent("least-tokens", env), {}

    def choose(env):
        question = int(env.episodes.asks[0])
        questions.setdefault(question, set()).add(agent.act_env(env))
        return agent.act_env(env)

    finish(env, choose, 5)
    same(env.run(), env.scenario.simulate("least-tokens", 5))
    assert len(questions) == 3 and min(questions[TICK]) >= 4 > max(questions[ROUTE])
    assert controller == "none" or len(questions[TICK]) > 1


@pytest.mark.parametrize("given", [{"controller": "utilisation:cool=1,steady=2"}, {"spot": 0.003}, {"price": 900.0}])
def test_controllers_and_spot_machines_are_the_closed_loops_where_the_agent_routes(given):
    env = gym.make("llmqueue/Routing-v0", **{**FLEET, "rate": 60.0, **given}).unwrapped
    agent = baseline_agent("least-outstanding", env)
    total, steps, _ = finish(env, agent.act_env, 6)
    expected = env.scenario.simulate("least-outstanding", 6)
    same(run := env.run(), expected)
    for name in ("switched_on", "switched_off"):
        assert run.totals.get(name) == expected.totals.get(name)
    assert steps == len(expected) + expected.totals["lost"]
    paid = env.view.price * expected.totals["on_time"] / 3600
    assert total * env.view.reward_unit(env.scenario) == pytest.approx(-expected.response_times.sum() - paid)


def test_the_return_is_what_requests_and_replicas_cost():
    env = made(scaled=False)
    total, steps, info = finish(env, at_random(3), 3)
    run = env.run()
    price = env.view.price * run.totals["on_time"] / 3600
    assert total == pytest.approx(-run.response_times.sum() - price) and run.totals["price"] == pytest.approx(price)
    assert steps == int(info["clock"] / env.scenario.system.tick) + 1
    free = made(scaled=False, price=0.0)
    assert finish(free, at_random(3), 3)[0] == pytest.approx(-run.response_times.sum())


@pytest.mark.parametrize("name", [SCALING, SPLIT])
def test_many_side_by_side_are_one_after_another(name):
    """Decision by decision, also where one begins anew while others go on."""
    given = {"n_requests": 25} | ({"controller": "roles:cool=1,ratio=1"} if name == SPLIT else {})
    many = gym.make_vec(name, num_envs=4, autoreset_mode=AutoresetMode.SAME_STEP, copy=True, **given)
    alone = [made(name, **given) for _ in range(4)]
    seen, _ = many.reset(seed=9)
    shown = [env.reset(seed=9 + e)[0] for e, env in enumerate(alone)]
    rng, ends = np.random.default_rng(0), 0
    while ends < 8:
        for e, one in enumerate(shown):
            for part in one:
                np.testing.assert_array_equal(seen[part][e], one[part])
        masks = many.unwrapped.action_masks()
        actions = np.array([rng.choice(np.flatnonzero(mask)) for mask in masks])
        seen, rewards, over, _, _ = many.step(actions)
        for e, env in enumerate(alone):
            shown[e], reward, ended, _, _ = env.step(int(actions[e]))
            assert reward == rewards[e] and ended == over[e]
            if ended:
                ends, shown[e] = ends + 1, env.reset()[0]


def test_an_agent_that_remembers_plays_runs_of_any_length_side_by_side():
    env = made()
    together = rollouts(baseline_agent("erlang:window=30", env), env.scenario, [1, 2, 3], **shown(env))
    for seed, run in zip([1, 2, 3], together, strict=True):
        alone = rollout(baseline_agent("erlang:window=30", env), env.scenario, seed, **shown(env))
        np.testing.assert_array_equal(run.outcome["completion"], alone.outcome["completion"])
    assert len({run.totals["clock"] for run in together}) == 3


def shown(env):
    """The fields of a view that a rollout is told."""
    return {name: getattr(env.view, name) for name in ("decides", "router", "price")}


def test_what_is_seen_at_ticks():
    env = made(scaled=False, forecast_error=0.0, ahead=5.0)
    columns, fleet = list(env.view.jobs), list(env.view.system)
    seen, _ = env.reset(seed=2)
    arrival, ticks, came, action, over = env.scenario.draw(2).work["arrival"], 0, 0, 0, False
    while not over:
        told = dict(zip(fleet, seen["system"].tolist(), strict=True))
        jobs = dict(zip(columns, seen["jobs"].T, strict=True))
        assert told["question"] == TICK and told["ticks"] == ticks
        came += told["arrivals"]
        assert came == (arrival <= ticks).sum()
        assert told["forecast"] == pytest.approx(((arrival > ticks) & (arrival <= ticks + 5)).sum(), abs=1e-4)
        power = env.episodes.fleet.members["power"]
        for name, code in (("present", 2), ("starting", 1), ("draining", 3)):
            np.testing.assert_array_equal(jobs[name], power == code)
        assert ((jobs["starts_in"] > 0) == (power == 1)).all() and (jobs["starts_in"] <= 20).all()
        assert ((jobs["running"] + jobs["waiting"]).sum() + told["held"]) == told["in_system"]
        if ticks:
            assert told["asked_both"] == 1 + action
        action = int(ticks // 7 % 4)
        seen, _, over, _, info = env.step(action)
        ticks += 1
    assert ticks > 40 and not info["illegal_action"]


def test_forecasts_have_the_error_that_they_say():
    """Tolerance: 5 % of the standard deviation of 20,000 ticks whose errors go together over 20."""
    rng = np.random.default_rng(0)
    arrival = np.arange(0.0, 200_000.0, 0.1)
    told = ArrivalForecast(200.0, 0.3).predict(arrival, 10.0, rng)
    errors = (np.log1p(told) - np.log(2001))[:19_000]
    assert errors.std() == pytest.approx(0.3, rel=0.05) and abs(errors.mean()) < 0.05
    alike = np.corrcoef(errors[:-20], errors[20:])[0, 1]
    assert alike == pytest.approx(np.exp(-1), abs=0.08)
    exact = ArrivalForecast(200.0, 0.0).predict(arrival, 10.0, rng)
    np.testing.assert_allclose(exact[:19_000], 2000, atol=1)


def test_all_that_can_be_asked_for():
    scaling, split = made().scenario.system, made(SPLIT).scenario.system
    np.testing.assert_array_equal(targets_of(scaling), [[k, 0, 0] for k in range(1, 5)])
    np.testing.assert_array_equal(targets_of(split), [[0, 1, 3], [0, 2, 2], [0, 3, 1]])
    assert made().action_space.n == 4 and made(SPLIT).action_space.n == 7
    np.testing.assert_array_equal(within(np.array([0.4, 9, 7]), np.array([False, True, True]), 1, 6), [0, 3, 3])


def test_what_cannot_be_is_said_in_one_line():
    for told, words in (
        ({"decides": "scael"}, "decides='scael'; did you mean 'scale'"),
        ({"price": -1.0}, "price=-1.0"),
        ({"forecast_error": 20.0}, "forecast_error=20.0"),
        ({"ahead": 0.0}, "ahead=0.0"),
        ({"rules": "vllm-v1:asynchronous=true"}, "decides='scale' switches replicas off"),
        ({"replicas": 200, "prefill": 100}, "more than an agent can choose from; set most to less"),
    ):
        with pytest.raises(BadInput, match=words) as caught:
            made(**told)
        assert "\n" not in str(caught.value)
    env = made()
    with pytest.raises(BadInput, match="unknown controller 'least-kv'"):
        baseline_agent("least-kv", env)
    env.reset(seed=0)
    with pytest.raises(BadInput, match="it must be three numbers"):
        baseline_agent(lambda seen, memory: [1], env).act_env(env)


def test_an_agent_that_leaves_off_who_alone_could_serve_comes_to_an_end(tmp_path):
    """As the controller that wants the same does, by as many ticks; other runs beside it go on."""
    path = tmp_path / "fleet.toml"
    small, large = (f"[[replica]]\nprofile = 'a100-llama3-8b:kv_tokens={kv}'\n" for kv in (2304, 16000))
    path.write_text(f"{small}rules = 'vllm-v1:patience=40'\n{large}")
    given = {"fleet": str(path), "lengths": "lognormal:prompt=4000,output=32", "max_tokens": 6000, "rate": 1.0}
    env = made(**given, n_requests=9, tick=1.0, start_up=1.0, replicas=4)
    _, _, info = finish(env, lambda env: 0, 1)
    run, expected = env.run(), replace(env.scenario, controller="fixed:replicas=1").simulate(env.view.router, 1)
    assert run.reason == expected.reason == info["episode_metrics"]["ended"] == "livelock"
    assert info["clock"] == expected.totals["clock"] and not run.done.any()
    many = gym.make_vec(SCALING, num_envs=2, autoreset_mode=AutoresetMode.SAME_STEP, **given, n_requests=9, replicas=4)
    many.reset(seed=1)
    ended = [many.step(np.array([0, 1]))[2:4] for _ in range(200)]
    assert any(truncated[0] for _, truncated in ended) and not any(terminated[0] for terminated, _ in ended)
    assert any(terminated[1] for terminated, _ in ended) and not any(truncated[1] for _, truncated in ended)

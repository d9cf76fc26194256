"""What every system and every environment promises. Only the registries are named, so a new one is tested, too."""

import copy
import json
import pickle
import warnings
from dataclasses import fields, replace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from played import at_random, equal, finish, legal

import llmqueue_gym  # noqa: F401 (registers the environments)
from llmqueue_gym.engines.state import SKIP, START
from llmqueue_gym.envs import ENVIRONMENTS
from llmqueue_gym.envs.opened import baseline_agent
from llmqueue_gym.envs.rendering import MODES
from llmqueue_gym.envs.rendering.ansi import LINES, WIDTH
from llmqueue_gym.envs.rollout import rollout, rollouts
from llmqueue_gym.errors import BadInput, TruthError
from llmqueue_gym.requests import ROOM
from llmqueue_gym.systems import SYSTEMS, Drawn, Scenario
from llmqueue_gym.systems.scenario import scenario_fields

N = 60  # jobs
NOISY = "lognormal:sigma=0.5"
SYSTEM = pytest.mark.parametrize("kind", list(SYSTEMS))
ANY = "llmqueue/Scenario-v0"  # the id of any scenario; systems without an id of their own are tested by it
NAMED = {environment.system for name, environment in ENVIRONMENTS.items() if name != ANY}
UNNAMED = [kind for kind in SYSTEMS if kind not in NAMED and SYSTEMS.builder(kind).view is not None]
ENVIRONMENT = pytest.mark.parametrize("name", [*ENVIRONMENTS, *(f"{ANY} {kind}" for kind in UNNAMED)])


def told(name, given):
    """The id behind a name, and its arguments."""
    name, _, kind = name.partition(" ")
    return name, {**({"system": kind} if kind else {}), **given}


def made(name, **given):
    name, given = told(name, {"n_jobs": N, **given})
    return gym.make(name, **given)


def wide(view):
    """Fields with which an agent sees all jobs."""
    return {field.name: N for field in fields(view) if type(field.default) is int}


def playable(scenario, env):
    """The policy with score 0, or else the first in the table, of those that can be played in the environment."""
    view = env.unwrapped.view
    for name in [scenario.system.base, *view.policies(scenario)]:
        try:
            return name, baseline_agent(name, env)
        except BadInput:
            continue
    pytest.skip("no policy is an agent here")


# Systems.


@SYSTEM
def test_a_seed_is_the_same_jobs_and_the_same_numbers_on_every_path(kind):
    scenario, seeds = Scenario(kind, n_jobs=N, predictor=NOISY), [3, 4, 5]
    if scenario.system.view is None:
        pytest.skip("nothing for an agent to decide")
    view, taken, alone = wide(scenario.system.view), [], []
    env = scenario.env(**view)
    name, agent = playable(scenario, env)

    def choose(env):
        taken[-1].append(agent.act_env(env))
        return taken[-1][-1]

    for seed in seeds:
        taken.append([])
        finish(env, choose, seed)
        alone.append(env.run())
    many = gym.make_vec("llmqueue/Scenario-v0", num_envs=3, system=scenario, **view)
    many.reset(seed=3)
    vector, t = {}, 0
    while len(vector) < 3:
        _, _, terminated, _, _ = many.step(np.array([actions[min(t, len(actions) - 1)] for actions in taken]))
        t += 1
        for e in np.flatnonzero(terminated):
            vector.setdefault(e, many.unwrapped.episodes.run(e))
    shown = scenario.system.policies.made.shown[0]
    for e, seed in enumerate(seeds):
        drawn, expected = scenario.draw(seed), scenario.simulate(name, seed)
        for run in (alone[e], vector[e], expected):
            for column in ("arrival", *shown.predictions & set(drawn.work.dtype.names)):
                np.testing.assert_array_equal(run.jobs[column], drawn.work[column])
            np.testing.assert_array_equal(run.sizes, drawn.sizes)
            for column in ("completion", *{"start", "first_token"} & set(run.outcome.dtype.names)):
                np.testing.assert_allclose(run.outcome[column], expected.outcome[column], rtol=1e-9)
            assert run.reason == "drained"
    assert len({run.sizes.tobytes() for run in alone}) == 3


@SYSTEM
def test_an_agent_plays_runs_side_by_side_as_one_by_one(kind):
    scenario = Scenario(kind, n_jobs=N)
    if scenario.system.view is None:
        pytest.skip("nothing for an agent to decide")

    class Single:
        """Asked about one run at a time."""

        act = staticmethod(playable(scenario, scenario.env())[1].act)

    agent = playable(scenario, scenario.env())[1]
    together = rollouts(agent, scenario, [1, 2, 3])
    for seed, run, other in zip([1, 2, 3], together, rollouts(Single(), scenario, [1, 2, 3]), strict=True):
        single = rollout(agent, scenario, seed)
        np.testing.assert_array_equal(run.outcome["completion"], single.outcome["completion"])
        np.testing.assert_array_equal(run.outcome["completion"], other.outcome["completion"])


@SYSTEM
def test_all_jobs_leave_when_their_work_is_done_and_no_sooner_than_alone(kind):
    scenario = Scenario(kind, n_jobs=300, predictor=NOISY)
    system, drawn, run = scenario.system, scenario.draw(1), scenario.simulate(scenario.system.base, 1)
    assert run.done.all() and len(run) == 300
    received = run.jobs["age" if "age" in run.jobs.dtype.names else "generated"]
    np.testing.assert_allclose(received, drawn.sizes, rtol=1e-9)
    for i in range(0, 300, 20):
        cut = {
            name: t[i : i + 1] if isinstance(t, np.ndarray) and len(t) == 300 else t for name, t in drawn.truth.items()
        }
        assert run.response_times[i] >= system.bound(Drawn(drawn.work[i : i + 1], cut)) * (1 - 1e-9) > 0


@SYSTEM
def test_no_policy_undercuts_the_bound(kind):
    scenario = Scenario(kind, n_jobs=300)
    bound, played = scenario.bound(2), 0
    for name in scenario.system.policies:
        try:
            run = scenario.simulate(name, 2)
        except BadInput:  # it needs another view, predictor or law
            continue
        played += 1
        assert scenario.system.numbers(run)["cost"] >= bound * (1 - 1e-9), name
    assert bound > 0 and 2 * played > len(scenario.system.policies)


@SYSTEM
def test_another_predictor_changes_predictions_and_nothing_else(kind):
    exact, noisy = (Scenario(kind, n_jobs=300, predictor=told).draw(4) for told in ("exact", NOISY))
    predictions = SYSTEMS.builder(kind).policies.made.shown[0].predictions
    np.testing.assert_array_equal(exact.sizes, noisy.sizes)
    for column in (name for name in exact.work.dtype.names if name != ROOM):
        same = (exact.work[column] == noisy.work[column]).all()
        assert same or column in predictions, column
        assert (noisy.work[column] == noisy.sizes).mean() < 0.2, f"{column} tells the truth"
    # Predictions that have to be bought lie with the truth.
    said = [drawn.truth.get("predictions", drawn.work["predicted"]) for drawn in (exact, noisy)]
    assert (said[0] == exact.sizes).all() and (said[1] != noisy.sizes).mean() > 0.8


@SYSTEM
def test_a_policy_that_reads_the_truth_is_refused(kind):
    made = SYSTEMS.builder(kind).policies.made
    reads = {1: lambda job, params: job.size, 2: lambda job, other, params: job.size}[len(made.shown)]
    with pytest.raises(TruthError, match="size"):
        Scenario(kind).policy(reads)


@SYSTEM
def test_a_scenario_is_told_in_words_and_read_back(kind):
    scenario = Scenario(kind, n_jobs=N, predictor="exact")
    assert Scenario(f"{kind}:n_jobs={N},predictor=exact") == scenario == replace(scenario, n_jobs=N)
    told = json.loads(json.dumps(scenario.to_dict(), allow_nan=False))
    assert told["system"] == kind and told["n_jobs"] == N and told["predictor"] == str(scenario.predictor)
    assert {field.name for field in fields(scenario.system)} <= told.keys()


def wrong_values(name, default):
    """Values that a field of this default cannot have."""
    if isinstance(default, bool):
        return ["yes"]
    if isinstance(default, (int, float)):
        return [-1, float("nan"), "many"]
    return ["no-such-thing", object()] if isinstance(default, str) else [-1]


@SYSTEM
def test_bad_fields_are_named_in_one_line(kind):
    told, view = scenario_fields(SYSTEMS.builder(kind)), SYSTEMS.builder(kind).view
    seen = {} if view is None else {field.name: field.default for field in fields(view)}

    def opened(kind, **given):
        return Scenario(kind).env(**given)

    builders = [(Scenario, told)] if view is None else [(Scenario, told), (opened, {**told, **seen})]
    for build, known in builders:
        for name, default in known.items():
            for wrong in wrong_values(name, default):
                with pytest.raises(BadInput) as caught:
                    build(kind, **{name: wrong})
                line = str(caught.value)
                assert "\n" not in line and (name in line or str(wrong) in line), line
        for name in known:
            with pytest.raises(BadInput, match=f"did you mean '{name}'"):
                build(kind, **{f"{name}s" if f"{name}s" not in known else f"{name}q": 1})
    with pytest.raises(BadInput, match=r"unknown .*'no-such-policy'"):
        Scenario(kind).policy("no-such-policy")


# Environments.


def test_every_system_with_decisions_has_an_environment_that_is_made_by_its_name():
    for kind in SYSTEMS:
        if SYSTEMS.builder(kind).view is not None:
            env = gym.make("llmqueue/Scenario-v0", system=kind, n_jobs=N).unwrapped
            assert env.scenario == Scenario(kind, n_jobs=N)


@ENVIRONMENT
def test_gymnasium_accepts_it(name):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Box observation space (minimum|maximum) value is .*infinity.*")
        check_env(made(name, render_mode="ansi").unwrapped, skip_render_check=True)
        check_env(made(name).unwrapped)


@ENVIRONMENT
@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_the_vector_environment_is_a_loop_over_scalar_ones(name, mode):
    """Autoresets, masks, infos, cut-offs and closed actions included; every observation is in its space."""
    horizon = 0.3 * float(made(name).unwrapped.scenario.draw(0).work["arrival"][-1])
    for few, over_by in (({"n_jobs": 5}, 2), ({"n_jobs": N, "horizon": horizon}, 3)):
        own, given = told(name, few)
        ours = gym.make_vec(own, num_envs=3, autoreset_mode=mode, copy=True, **given)
        loop = SyncVectorEnv([lambda few=few: made(name, **few)] * 3, autoreset_mode=mode)
        assert ours.metadata["autoreset_mode"] is mode
        for space in ("observation_space", "action_space", "single_observation_space", "single_action_space"):
            assert getattr(ours, space) == getattr(loop, space)
        equal(loop.reset(seed=5), ours.reset(seed=5))
        masks, rng, ends = ours.unwrapped.action_masks(), np.random.default_rng(0), 0
        for t in range(1000):
            some = legal(masks, rng)
            actions = some if t % 3 else rng.integers(ours.single_action_space.n, size=3)
            expected, got = loop.step(actions), ours.step(actions)
            equal(expected, got)
            assert got[0] in ours.observation_space
            over = got[2] | got[3]
            ends += got[over_by].sum()
            if mode is AutoresetMode.DISABLED and over.any():
                with pytest.raises(ResetNeeded):
                    ours.step(actions)
                equal(loop.reset(options={"reset_mask": over}), ours.reset(options={"reset_mask": over}))
            masks = ours.unwrapped.action_masks()
            if ends > 3:
                break
        assert ends > 3


def kinds(told):
    """The type and the shape of each number, by key."""
    if isinstance(told, dict):
        return {key: kinds(value) for key, value in told.items()}
    return type(told), np.shape(told)


@ENVIRONMENT
def test_the_keys_of_infos_are_the_same_in_every_step_and_what_came_of_it_is_told_at_the_end(name):
    env = made(name).unwrapped
    _, info = env.reset(seed=3)
    known, rng, over = kinds(info), np.random.default_rng(0), False
    while not over:
        assert info["episode_metrics"] == env.episodes.unknown
        *_, terminated, truncated, info = env.step(legal(env.action_masks(), rng))
        assert kinds(info) == known
        over = terminated or truncated
    assert info["episode_metrics"]["mean_response_time"] == pytest.approx(np.nanmean(env.response_times))
    own, given = told(name, {"n_jobs": 5})
    for mode in AutoresetMode:
        envs, ends = gym.make_vec(own, num_envs=2, autoreset_mode=mode, **given), 0
        _, infos = envs.reset(seed=3)
        first = kinds(infos)
        while not ends:
            *_, terminated, truncated, infos = envs.step(np.zeros(2, int))
            ends += (terminated | truncated).sum()
            assert kinds({key: infos[key] for key in infos if "final_" not in key}) == first
        ended = terminated | truncated
        if mode is not AutoresetMode.SAME_STEP:
            assert ((infos["episode_metrics"]["mean_response_time"] > 0) == ended).all()


@ENVIRONMENT
def test_runs_that_begin_together_have_the_jobs_that_each_has_alone(name):
    """Also runs that pay leavers, with a policy beside, and where many runs begin at once."""
    reward = next(iter(type(made(name).unwrapped.view).paid), "response_time")
    for given in ({}, {"reward": reward}, {"relative_to": playable(made(name).unwrapped.scenario, made(name))[0]}):
        env = made(name, n_jobs=11, **given).unwrapped
        both = together, apart = [env.scenario.system.open(env.scenario, env.view, 12) for _ in range(2)]
        rows, seeds = [1, 3, *range(5, 12)], [2**40 + k for k in range(9)]
        together.begin_all(rows, seeds)
        for e, seed in zip(rows, seeds, strict=True):
            apart.begin(e, seed)
        for t in range(8):
            for each in both:
                each.proceed()
                each.actions[:] = np.where(each.steps["terminated"] | each.steps["truncated"], SKIP, t % 3)
                each.actions[[0, 2, 4]] = SKIP
            np.testing.assert_array_equal(together.steps, apart.steps)
            np.testing.assert_array_equal(*(each.rewards(each.steps["reward"], each.steps["dt"])[0] for each in both))
            for part, seen in together.observation.items():
                np.testing.assert_array_equal(seen, apart.observation[part])
        for e in rows:
            np.testing.assert_array_equal(together.run(e).sizes, apart.run(e).sizes)
            np.testing.assert_array_equal(together.run(e).jobs, apart.run(e).jobs)


@ENVIRONMENT
def test_a_baseline_chooses_by_the_observation_as_by_what_is_behind_it_one_or_many(name):
    env = made(name, n_jobs=20).unwrapped
    _, agent = playable(env.scenario, env)
    observation, _ = env.reset(seed=2)
    seen, chosen, over = [], [], False
    while not over:
        seen.append(observation)
        chosen.append(agent.act(observation))
        assert chosen[-1] == agent.act_env(env)
        observation, _, terminated, truncated, _ = env.step(chosen[-1])
        over = terminated or truncated
    if agent.remembers:  # and rows are runs, not moments of one
        return
    many = agent.act({part: np.stack([one[part] for one in seen]) for part in observation})
    np.testing.assert_array_equal(many, chosen)


@ENVIRONMENT
def test_seeds_are_obeyed_and_copies_go_their_own_way(name):
    env, twin = made(name).unwrapped, made(name).unwrapped

    def ended(each, seed):
        total, _, info = finish(each, at_random(), seed)
        return total, info["clock"]

    played = [[ended(each, seed) for seed in (7, None, 7)] for each in (env, twin)]
    assert played[0] == played[1] and len(set(played[0])) > 1 and played[0][0] == played[0][2]
    env.reset(seed=1)
    for _ in range(10):
        env.step(legal(env.action_masks(), np.random.default_rng(0)))
    returns = []
    for copied in (copy.deepcopy(env), pickle.loads(pickle.dumps(env)), env):
        rng, steps = np.random.default_rng(1), []
        for _ in range(15):
            steps.append(copied.step(legal(copied.action_masks(), rng)))
        returns.append(steps)
    for step, other, own in zip(*returns, strict=True):
        equal(step, own)
        equal(other, own)


@ENVIRONMENT
def test_the_return_is_minus_the_cost_of_all_time_in_system(name):
    view = type(made(name).unwrapped.view)
    for reward in view.rewards:
        env = made(name, reward=reward).unwrapped
        total, _, info = finish(env, at_random(), 5)
        run, drawn, unit = env.run(), env.scenario.draw(5), env.view.reward_unit(env.scenario)
        assert info["episode_metrics"]["mean_response_time"] == pytest.approx(np.nanmean(run.response_times))
        assert total == pytest.approx(info["return"] / unit)
        if run.done.all() and not getattr(env.view, "per_job", 0):
            price = run.totals.get("price", 0.0)  # of predictions
            bill = env.view.bill(drawn, run.outcome["completion"])
            assert info["return"] == pytest.approx(-bill.sum() - price)
            if not env.view.counts_missed:
                np.testing.assert_allclose(bill, env.view.costs(drawn) * run.response_times)


@ENVIRONMENT
def test_rewards_and_observations_are_raw_numbers_in_units_that_are_told(name):
    """Also with what a policy by hand is paid taken off, and discounted by elapsed time."""
    kwargs = {"reward": "response_time"}
    env, raw = made(name, **kwargs).unwrapped, made(name, scaled=False, **kwargs).unwrapped
    order, tau = playable(env.scenario, env)[0], 3.0 * env.view.scales(env.scenario)["s"]
    beside = made(name, relative_to=order, **kwargs).unwrapped
    later = made(name, discount_time=tau, **kwargs).unwrapped
    told = [each.reset(seed=2) for each in (env, raw, beside, later)]
    seen, begins = [observation for observation, _ in told], told[0][1]["clock"]
    units, unit, rng = env.view.units(env.scenario), env.view.reward_unit(env.scenario), np.random.default_rng(0)
    total, worth, discounted, expected = 0.0, 1.0, 0.0, 0.0
    over = False
    while not over:
        for part in ("jobs", "system"):
            np.testing.assert_array_equal(seen[0][part] * units[part], seen[1][part])
            np.testing.assert_array_equal(seen[0][part], seen[2][part])
        action = legal(env.action_masks(), rng)
        steps = [each.step(action) for each in (env, raw, beside, later)]
        seen, info = [step[0] for step in steps], steps[0][4]
        assert steps[0][1] * unit == steps[1][1] == info["raw_reward"] == steps[2][4]["raw_reward"]
        total += steps[2][1] * unit
        gone = 1 - np.exp(-info["dt"] / tau)
        share = gone * tau / info["dt"] if info["dt"] > 0 else 1.0
        discounted, expected = discounted + worth * steps[3][1], expected + worth * share * steps[0][1]
        worth *= steps[3][4]["discount"]
        over = steps[0][2] or steps[0][3]
    assert worth == pytest.approx(np.exp(-(info["clock"] - begins) / tau), abs=1e-12)
    assert discounted == pytest.approx(expected)
    if not env.view.own_rules:
        rival, costs = env.scenario.simulate(order, 2), env.view.costs(env.scenario.draw(2))
        if rival.done.all():
            paid = len(rival) * getattr(env.view, "per_job", 0) or -(costs * rival.response_times).sum()
            paid -= rival.totals.get("price", 0.0)
            assert total == pytest.approx(info["return"] - paid, rel=1e-6, abs=1e-6 * abs(paid))


@ENVIRONMENT
def test_nothing_that_is_seen_or_drawn_depends_on_the_size_of_who_has_not_left(name):
    """Jobs that are still there after some decisions get another size, and the same decisions are taken again."""
    dear = list(type(made(name).unwrapped.view).rewards)[-1]  # the one that depends on the size
    env, rng = made(name, predictor=NOISY, render_mode="ansi", reward=dear).unwrapped, np.random.default_rng(0)
    episodes = env.episodes
    drawn = episodes.draw(3)

    def watch(given, actions):
        episodes.begin_with(0, given)
        for action in [START, *actions]:
            episodes.actions[0] = action
            episodes.proceed()
            observation, reward, *rest, info = episodes.report(0)
            yield {**observation, **info, "over": np.array(rest), "reward": reward}, env.render()

    env.reset(seed=3)
    actions = []
    for _ in range(N // 2):
        actions.append(legal(env.action_masks(), rng))
        if env.step(actions[-1])[2]:  # all have left
            actions.pop()
            break
    before = list(watch(drawn, actions))
    there = np.isnan(episodes.response_times()[0, : len(drawn.sizes)])
    assert there.sum() > 3
    factor = np.where(there, 3, 1)
    truth = {
        name: table * (factor if table.ndim == 1 else factor[:, None])
        for name, table in drawn.truth.items()
        if isinstance(table, np.ndarray)
        and len(table) == len(there)
        and np.array_equal(table.reshape(len(there), -1)[:, :1].ravel(), drawn.sizes)
    }
    assert "sizes" in truth and not np.array_equal(truth["sizes"], drawn.sizes)
    for was, now in zip(before, watch(drawn._replace(truth={**drawn.truth, **truth}), actions), strict=True):
        equal(was[0], now[0])
        assert was[1] == now[1]


@ENVIRONMENT
def test_every_decision_can_be_drawn(name):
    env, text = made(name, render_mode=MODES[0]), made(name, render_mode=MODES[1])
    frames, texts = [], []
    for each, kept in ((env, frames), (text, texts)):
        each.reset(seed=0)
        over, rng = False, np.random.default_rng(0)
        while not over:
            if len(kept) < 5:
                kept.append(each.render())
            *_, terminated, truncated, _ = each.step(legal(each.unwrapped.action_masks(), rng))
            over = terminated or truncated
        kept.append(each.render())
    assert all(frame.shape == (400, 640, 3) and frame.dtype == np.uint8 for frame in frames)
    assert all(len(lines) <= LINES and max(map(len, lines)) <= WIDTH for lines in (one.split("\n") for one in texts))
    assert all(name.split()[0] in one.split("\n")[0] for one in texts) and "over: all have left" in texts[-1]
    assert len(set(texts)) == len(texts) and len({frame.tobytes() for frame in frames}) == len(frames)

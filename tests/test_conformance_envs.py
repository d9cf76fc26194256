"""What every environment promises. Only the registries are named, so a new one is tested, too."""

import copy
import pickle
import warnings

import gymnasium as gym
import numpy as np
import pytest
from conforming import ENVIRONMENT, NOISY, N, made, playable, told
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from played import at_random, equal, finish, legal

import llmqueue_gym  # noqa: F401 (registers the environments)
from llmqueue_gym.engines.state import SKIP, START
from llmqueue_gym.envs.rendering import MODES
from llmqueue_gym.envs.rendering.ansi import LINES, WIDTH
from llmqueue_gym.systems import SYSTEMS, Scenario


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
    arrivals = made(name).unwrapped.scenario.draw(0).work["arrival"]
    horizon = 0.3 * float(arrivals[np.isfinite(arrivals)].max())  # some come after others
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
    run = episodes.run()
    there = np.isnan(getattr(run, "calls", run).outcome["completion"])
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

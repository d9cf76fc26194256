"""Frames: what they show, that they show no truth of a job in system, and that they change nothing."""

import builtins
import importlib.util
import warnings
from itertools import pairwise

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

import llmqueue_gym  # noqa: F401 (registers the environments)
from llmqueue_gym.envs import ENVIRONMENTS
from llmqueue_gym.envs.mg1 import MG1Env
from llmqueue_gym.envs.rendering import scene_of
from llmqueue_gym.envs.rendering.ansi import LINES, WIDTH, ansi
from llmqueue_gym.envs.rendering.scene import Bar, Panel, Scene, shares, short
from llmqueue_gym.errors import BadInput

NAMES = list(ENVIRONMENTS)
SMALL_JOBS = {"n_jobs": 120, "load": 1.5, "predictor": "lognormal:sigma=0.7"}


def small(name):
    return {"n_requests": 25} if "LLM" in name else SMALL_JOBS


def made(name, mode=None, **kwargs):
    return gym.make(name, render_mode=mode, **{**small(name), **kwargs})


def episode(env, seed=0, most=400):
    """Play half at random, half the last open action, often "run"; yield step and result, the reset first."""
    rng = np.random.default_rng(seed)
    observation, info = env.reset(seed=seed)
    yield 0, (observation, 0.0, False, False, info)
    for step in range(1, most):
        opens = np.flatnonzero(info["action_mask"])
        result = env.step(int(rng.choice((opens[-1], rng.choice(opens)))))
        yield step, result
        info = result[4]
        if result[2] or result[3]:
            return


def bars(scene):
    return [bar for panel in (*scene.left, *scene.right) for bar in panel.bars]


@pytest.mark.parametrize("name", NAMES)
def test_every_environment_is_drawn_from_the_first_decision_to_the_end(name):
    env = made(name, "rgb_array")
    frames, texts = [], []
    for step, (_, _, terminated, truncated, _) in episode(env):
        over = terminated or truncated
        if step % 15 == 0 or over:
            frames.append(env.render())
            texts.append(ansi(env.unwrapped.scene()))
    for frame, text in zip(frames, texts, strict=True):
        assert frame.shape == (400, 640, 3) and frame.dtype == np.uint8
        lines = text.split("\n")
        assert len(lines) <= LINES and max(map(len, lines)) <= WIDTH
        assert name in lines[0] and "time" in lines[1]
    assert all(words in lines[-1] for _, words in env.unwrapped.scene().legend)
    assert len(frames) > 2
    assert all((a != b).any() for a, b in pairwise(frames))
    assert len(set(texts)) == len(texts)
    if over:
        assert "over" in texts[-1]
    text = made(name, "ansi")
    text.reset(seed=0)
    assert text.render() == texts[0]


def swap_truth(batch, done):
    """Give all who have not been served another true size."""
    if hasattr(batch, "replica"):
        batch.replica.truth["output"][0, : len(done)][~done] += 1234
    else:
        batch.truth[0, : len(done), 0][~done] += 12.34
    if hasattr(batch, "patience"):
        batch.patience[0, : len(done)][~done] += 5.678


@pytest.mark.parametrize("name", NAMES)
def test_no_frame_depends_on_the_truth_of_those_who_have_not_been_served(name):
    env = made(name).unwrapped
    checked = 0
    for step, (_, _, terminated, truncated, _) in episode(env):
        if terminated or truncated or step < 20 or step % 7:
            continue
        done = np.isfinite(env.response_times)
        before = env.scene()
        kept = [array.copy() for array in tables(env._batch)]
        swap_truth(env._batch, done)
        assert env.scene() == before
        for array, copy in zip(tables(env._batch), kept, strict=True):
            array[...] = copy
        checked += 1
    assert checked > 0


def tables(batch):
    found = [batch.replica.truth] if hasattr(batch, "replica") else [batch.truth]
    return [*found, *([batch.patience] if hasattr(batch, "patience") else [])]


@pytest.mark.parametrize("name", NAMES)
def test_the_truth_stands_in_the_bars_of_those_who_have_been_served_and_of_nobody_else(name):
    env = made(name).unwrapped
    shown, inside = set(), 0
    for step, _ in episode(env):
        if step % 5:
            continue
        batch = env._batch
        sizes = batch.replica.truth["output"][0] if hasattr(batch, "replica") else batch.truth[0, :, 0]
        done = np.isfinite(env.response_times)
        for bar in bars(env.scene()):
            row = int(bar.name[1:]) if bar.name.startswith("#") else None
            if bar.truth is not None:
                assert done[row] and bar.truth == sizes[row]
                shown.add(row)
            elif row is not None:
                assert not done[row]
                if not hasattr(batch, "replica"):  # an exact prediction of a whole number of tokens is no wonder
                    assert sizes[row] not in (bar.predicted, bar.done, bar.known, bar.due)
                inside += 1
    assert shown and inside


@pytest.mark.parametrize("name", ["llmqueue/MGkPreemptive-v0", "llmqueue/Dispatch-v0", "llmqueue/LLMPreemptive-v0"])
def test_frames_change_nothing_in_the_episode(name):
    def returns(mode):
        env = made(name, mode)
        rewards = []
        for step, result in episode(env, 3):
            rewards.append(result[1])
            if mode and step % 10 == 0:
                env.render()
        return rewards

    assert returns("ansi") == returns(None)


def test_equal_seeds_give_equal_frames():
    def frame(seed):
        env = made("llmqueue/MGk-v0", "rgb_array")
        env.reset(seed=seed)
        env.step(0)
        return env.render()

    np.testing.assert_array_equal(frame(4), frame(4))
    assert (frame(4) != frame(5)).any()


def test_a_server_holds_a_lane_and_the_memory_is_shared_out():
    env = made("llmqueue/MultiserverJob-v0").unwrapped
    for _ in episode(env, most=60):
        lanes = env.scene().left[0].bars
        assert len(lanes) == 8
        assert sum(lane.active for lane in lanes) == 8 - env._batch.states["free"][0]
    env = made("llmqueue/LLMBatching-v0").unwrapped
    for _ in episode(env, most=60):
        meter, system = env.scene().meter, env.system
        assert sum(amount for amount, _ in meter.parts) == system.blocks - system.free
        assert len(meter.parts) == system.running


def test_the_last_frame_says_how_the_episode_ended():
    def state(**kwargs):
        env = made("llmqueue/MG1-v0", **kwargs).unwrapped
        for _ in episode(env):
            pass
        return env.scene().state

    assert state() == "over: all have left"
    assert state(horizon=10.0) == "over: horizon"


def test_deadlines_are_shown_where_the_agent_knows_them_and_nowhere_else():
    def dues(name):
        env = made(name).unwrapped
        return [bar.due for step, _ in episode(env) if step % 10 == 0 for bar in bars(env.scene()) if bar.due]

    assert dues("llmqueue/Deadline-v0")
    assert not dues("llmqueue/Abandonment-v0")


def test_without_a_mode_nothing_is_drawn_and_before_the_reset_it_is_an_error():
    env = MG1Env(n_jobs=5)
    env.reset(seed=0)
    assert env.render() is None
    with pytest.raises(ResetNeeded, match="reset"):
        MG1Env(n_jobs=5, render_mode="ansi").render()


@pytest.mark.parametrize(
    "mode, words", [("rgb", "did you mean 'rgb_array'"), ("human", "choose from: rgb_array, ansi")]
)
def test_an_unknown_mode_names_the_nearest(mode, words):
    with pytest.raises(BadInput, match=words):
        MG1Env(render_mode=mode)


def test_without_pillow_one_line_says_how_to_get_it(monkeypatch):
    env = MG1Env(n_jobs=5, render_mode="rgb_array")
    env.reset(seed=0)
    true_import = builtins.__import__

    def without(name, *rest):
        if name.startswith("PIL"):
            raise ImportError(name)
        return true_import(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(BadInput, match=r"llmqueue-gym\[render\]"):
        env.render()


def test_a_family_without_frames_says_so():
    with pytest.raises(BadInput, match="override CompiledEnv"):
        scene_of(object(), "")


def test_gymnasium_accepts_the_modes():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Box observation space (minimum|maximum) value is .*infinity.*")
        check_env(gym.make("llmqueue/MG1-v0", n_jobs=20).unwrapped)


@pytest.mark.skipif(importlib.util.find_spec("moviepy") is None, reason="videos need moviepy")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::SyntaxWarning")
def test_an_episode_can_be_recorded(tmp_path):
    env = gym.wrappers.RecordVideo(
        made("llmqueue/MG1-v0", "rgb_array", n_jobs=8), str(tmp_path / "videos"), lambda _: True
    )
    for _ in episode(env):
        pass
    env.close()
    (video,) = tmp_path.glob("videos/*.mp4")
    assert video.stat().st_size > 1000


def test_panels_share_the_rows_of_a_column():
    def of(*lengths):
        return [Panel("", (Bar("#0"),) * n) for n in lengths]

    assert shares(of(3, 50), 20) == [3, 14]
    assert shares(of(50, 3), 20) == [14, 3]
    assert shares(of(50, 50), 21) == [9, 9]
    assert shares(of(0, 2), 20) == [0, 2]


def test_a_bar_is_cut_into_what_is_known_done_and_to_come():
    assert list(Bar("", 5.0, 2.0, 1.0).spans()) == [("known", 0, 1), ("done", 1, 3), ("predicted", 3, 6)]
    assert list(Bar("", 2.0, 5.0).spans()) == [("done", 0, 2), ("beyond", 2, 5)]
    assert list(Bar("", 0.0, 5.0).spans()) == [("done", 0, 5)]
    assert Panel("", (Bar("", 0.3), Bar("", 3.2, truth=1.0))).reach == 5
    assert [short(x) for x in (0.126, 12.34, 1234.5)] == ["0.13", "12.3", "1234"]


def test_text_shows_age_prediction_and_deadline():
    waiting = Panel("waiting", (Bar("#7", 8.0, 4.0, due=10.0, active=True, note="4/8"),), 3)
    text = ansi(Scene("title", (), (waiting,), ()))
    assert "waiting: 3, first 1" in text
    assert ">#7     █████░░░░░ ! 4/8" in text

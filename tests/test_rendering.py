"""Frames beyond what all environments promise: what stands where, and how bars are cut and rows shared out."""

import builtins
import importlib.util

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from played import finish, legal

import llmqueue_gym  # noqa: F401 (registers the environments)
from llmqueue_gym.envs import ENVIRONMENTS
from llmqueue_gym.envs.rendering.ansi import ansi
from llmqueue_gym.errors import BadInput
from llmqueue_gym.systems.scene import Bar, Panel, Scene, shares, short

pytestmark = pytest.mark.filterwarnings("ignore:.*load 1.5 is unstable")


def made(name, mode=None, **given):
    small = (
        {"n_jobs": 25}
        if "rate" in ENVIRONMENTS[f"llmqueue/{name}-v0"].kwargs
        else {"n_jobs": 120, "load": 1.5, "predictor": "lognormal:sigma=0.7"}
    )
    return gym.make(f"llmqueue/{name}-v0", render_mode=mode, **{**small, **given})


def scenes(name, every=5, most=400, **given):
    """Play half at random, half the last open action, often "run"; yield the environment and its scene now and then."""
    env, rng = made(name, **given).unwrapped, np.random.default_rng(0)
    env.reset(seed=0)
    for step in range(most):
        if step % every == 0:
            yield env, env.episodes.scene("title")
        opens = np.flatnonzero(env.action_masks())
        *_, terminated, truncated, _ = env.step(int(rng.choice((opens[-1], rng.choice(opens)))))
        if terminated or truncated:
            yield env, env.episodes.scene("title")
            return


def bars(scene):
    return [bar for panel in (*scene.left, *scene.right) for bar in panel.bars]


@pytest.mark.parametrize("name", [name[len("llmqueue/") : -len("-v0")] for name in ENVIRONMENTS])
def test_the_truth_stands_in_the_bars_of_those_who_have_been_served_and_of_nobody_else(name):
    shown, inside = set(), 0
    for env, scene in scenes(name):
        run = getattr(env.run(), "calls", None) or env.run()  # of programs the bars are calls
        for bar in bars(scene):
            row = int(bar.name[1:]) if bar.name.startswith("#") else None
            if bar.truth is not None:
                assert run.done[row] and bar.truth == run.sizes[row]
                shown.add(row)
            elif row is not None:
                assert not run.done[row]
                if run.sizes.dtype.kind == "f":  # an exact prediction of a whole number of tokens is no wonder
                    assert run.sizes[row] not in (bar.predicted, bar.done, bar.known, bar.due)
                inside += 1
    assert shown and inside


def test_frames_change_nothing_in_the_episode():
    def rewards(mode):
        env, rng = made("MGkPreemptive", mode), np.random.default_rng(0)
        env.reset(seed=3)
        for _ in range(60):
            if mode is not None:
                env.render()
            yield env.step(legal(env.unwrapped.action_masks(), rng))[1]

    assert list(rewards("ansi")) == list(rewards(None))


def test_a_server_holds_a_lane_and_the_memory_is_shared_out():
    for env, scene in scenes("MultiserverJob", 1, 60):
        lanes = scene.left[0].bars
        assert len(lanes) == 16 and sum(lane.active for lane in lanes) == 16 - env.episodes.states["free"][0]
    for env, scene in scenes("LLMBatching", 1, 60):
        system = env.episodes.replica.system[0]
        assert sum(amount for amount, _ in scene.meter.parts) == system["blocks"] - system["free"]
        assert len(scene.meter.parts) == system["running"]


def test_the_last_frame_says_how_the_episode_ended():
    *_, (_, drained) = scenes("MG1")
    *_, (_, cut_off) = scenes("MG1", horizon=10.0)
    assert (drained.state, cut_off.state) == ("over: all have left", "over: horizon")


def test_deadlines_are_shown_where_the_agent_knows_them_and_nowhere_else():
    dues = {name: [bar.due for _, scene in scenes(name) for bar in bars(scene)] for name in ("Deadline", "Abandonment")}
    assert any(dues["Deadline"]) and not any(dues["Abandonment"])


def test_without_a_mode_nothing_is_drawn_and_before_the_reset_it_is_an_error():
    env = made("MG1").unwrapped
    env.reset(seed=0)
    assert env.render() is None
    with pytest.raises(ResetNeeded, match="reset"):
        made("MG1", "ansi").unwrapped.render()
    for mode, words in (("rgb", "did you mean 'rgb_array'"), ("human", "choose from: rgb_array, ansi")):
        with pytest.raises(BadInput, match=words):
            made("MG1").unwrapped.scenario.env(render_mode=mode)


def test_without_pillow_one_line_says_how_to_get_it(monkeypatch):
    env = made("MG1", "rgb_array").unwrapped
    env.reset(seed=0)
    true_import = builtins.__import__

    def without(name, *rest):
        if name.startswith("PIL"):
            raise ImportError(name)
        return true_import(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(BadInput, match=r"llmqueue-gym\[render\]"):
        env.render()


@pytest.mark.skipif(importlib.util.find_spec("moviepy") is None, reason="videos need moviepy")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::SyntaxWarning")
def test_an_episode_can_be_recorded(tmp_path):
    env = gym.wrappers.RecordVideo(made("MG1", "rgb_array", n_jobs=8), str(tmp_path / "videos"), lambda _: True)
    finish(env, lambda _: 0)
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

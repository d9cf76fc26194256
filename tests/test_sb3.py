"""The adapter for Stable-Baselines3: its contract, the same episodes as one by one, and algorithms that learn on it."""

# ruff: noqa: E402 (what may be absent is imported after it was looked for)

from pathlib import Path
from zipfile import ZipFile

import gymnasium
import numpy as np
import pytest
from conforming import playable

import llmqueue_gym
from llmqueue_gym import _jit
from llmqueue_gym.envs import ENVIRONMENTS
from llmqueue_gym.envs.opened import baseline_agent, order_of
from llmqueue_gym.envs.rollout import rollout
from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.learned import zoo_folder
from llmqueue_gym.policies.learned.order import order
from llmqueue_gym.systems import Scenario

for library in ("torch", "stable_baselines3", "sb3_contrib"):
    pytest.importorskip(library, reason="needs the extra `train`: pip install 'llmqueue-gym[train]'")

import torch
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from llmqueue_gym.envs.learnable import LearnableVector
from llmqueue_gym.integrations.distil import distil
from llmqueue_gym.integrations.load import load_agent
from llmqueue_gym.integrations.sb3 import (
    LearnerVecEnv,
    LLMQueueVecEnv,
    SlotsDQNPolicy,
    SlotsExtractor,
    SlotsMaskablePolicy,
    learner,
)
from llmqueue_gym.integrations.score import Yardstick


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on a busy machine several wait for one another at every small operation
    yield
    torch.set_num_threads(threads)


IDS = ("llmqueue/MG1Preemptive-v0", "llmqueue/MultiserverJob-v0", "llmqueue/Dispatch-v0", "llmqueue/LLMBatching-v0")
SMALL = {"n_jobs": 40}
PREEMPTIVE = IDS[0]
COMPILED = pytest.mark.skipif(_jit.DISABLED, reason="too slow uncompiled")


def arguments(env_id):
    return {"n_requests": 40} if "LLM" in env_id else SMALL


def legal(masks, rng):
    return np.array([rng.choice(np.flatnonzero(mask)) for mask in masks])


@pytest.mark.parametrize("env_id", IDS)
def test_the_same_episodes_as_stable_baselines_plays_one_by_one(env_id):
    """DummyVecEnv on scalar environments is the meaning of a VecEnv; resets, infos and last observations included."""
    mine = LLMQueueVecEnv(env_id, 3, **arguments(env_id))
    theirs = DummyVecEnv([lambda: gymnasium.make(env_id, **arguments(env_id))] * 3)
    seen = []
    for env in (mine, theirs):
        env.seed(7)
        seen.append(env.reset())
    rng, ends = np.random.default_rng(1), 0
    for _ in range(150):
        masks = np.stack(mine.env_method("action_masks"))
        np.testing.assert_array_equal(masks, np.stack(theirs.env_method("action_masks")) > 0)
        actions = legal(masks, rng)
        (a, reward_a, over_a, infos_a), (b, reward_b, over_b, infos_b) = mine.step(actions), theirs.step(actions)
        np.testing.assert_array_equal(reward_a, reward_b)
        np.testing.assert_array_equal(over_a, over_b)
        assert reward_a.dtype == np.float32 and over_a.dtype == bool
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])
        for info_a, info_b in zip(infos_a, infos_b, strict=True):
            last_a, last_b = info_a.pop("terminal_observation", {}), info_b.pop("terminal_observation", {})
            assert last_a.keys() == last_b.keys()
            for name in last_a:
                np.testing.assert_array_equal(last_a[name], last_b[name])
            assert ("episode" in info_a) == bool(last_a)
            info_a.pop("episode", None), info_b.pop("action_mask")
            assert info_a == info_b
        ends += int(over_a.sum())
    assert ends >= 3


def test_episode_statistics_are_those_of_monitor():
    env = LLMQueueVecEnv(PREEMPTIVE, 2, **SMALL)
    env.seed(3)
    env.reset()
    total, length, told = np.zeros(2), np.zeros(2, int), []
    for _ in range(200):
        _, reward, over, infos = env.step(np.zeros(2, int))
        total, length = total + reward, length + 1
        for e in np.flatnonzero(over):
            told.append(infos[e]["episode"])
            assert told[-1]["r"] == pytest.approx(total[e], rel=1e-5) and told[-1]["l"] == length[e]
            assert infos[e]["episode_metrics"]["jobs"] == SMALL["n_jobs"]
            total[e], length[e] = 0, 0
    assert len(told) >= 4 and told[-1]["t"] >= told[0]["t"] >= 0


def test_a_horizon_truncates_and_a_drained_table_does_not():
    cut_off = LLMQueueVecEnv(PREEMPTIVE, 1, n_jobs=500, horizon=20.0)
    drained = LLMQueueVecEnv(PREEMPTIVE, 1, **SMALL)
    for env, expected in ((cut_off, True), (drained, False)):
        env.reset()
        over = [False]
        while not over[0]:
            _, _, over, infos = env.step([0])
        assert infos[0]["TimeLimit.truncated"] is expected


def test_observations_are_kept_and_illegal_actions_told():
    env = LLMQueueVecEnv(PREEMPTIVE, 2, **SMALL)
    env.seed(1)
    first = env.reset()
    before = {name: part.copy() for name, part in first.items()}
    _, _, _, infos = env.step([0, 15])
    for name, part in before.items():
        np.testing.assert_array_equal(first[name], part)
    assert [info["illegal_action"] for info in infos] == [False, True]


def test_what_libraries_ask_a_vecenv():
    env = LLMQueueVecEnv(PREEMPTIVE, 3, **SMALL)
    assert is_masking_supported(env) and env.has_attr("scenario") and not env.has_attr("truth")
    env.reset()
    masks = get_action_masks(env)
    assert masks.shape == (3, 16) and masks.dtype == bool
    assert len(env.env_method("action_masks", indices=[0, 2])) == 2 and env.get_attr("scenario", 1)[0].n_jobs == 40
    for call in (lambda: env.set_attr("load", 1), lambda: env.get_attr("loud"), lambda: env.env_method("outcome")):
        with pytest.raises(AttributeError) as caught:
            call()
        assert "\n" not in str(caught.value)
    with pytest.raises(BadInput, match="load"):
        LLMQueueVecEnv(PREEMPTIVE, 2, load=-1)
    env.set_options({"speed": 2})
    with pytest.raises(BadInput, match="options"):
        env.reset()


@pytest.mark.parametrize("env_id", IDS)
def test_slots_that_change_places_change_their_scores_with_them(env_id):
    env = LLMQueueVecEnv(env_id, 4, **arguments(env_id))
    seen = env.reset()
    for _ in range(15):
        seen = env.step(legal(env.env_method("action_masks"), np.random.default_rng(1)))[0]
    told = {name: torch.from_numpy(part).float() for name, part in seen.items()}
    torch.manual_seed(0)
    extractor = SlotsExtractor(env.observation_space, hidden=8, outputs=2)
    net, moved = extractor.net, torch.randperm(told["jobs"].shape[1])
    a, b = net(told), net({**told, "jobs": told["jobs"][:, moved]})
    assert a.shape == (4, extractor.features_dim) and torch.isfinite(a).all()
    for k in range(2):
        part = slice(k * net.slots, (k + 1) * net.slots)
        torch.testing.assert_close(a[:, part][:, moved], b[:, part])
    torch.testing.assert_close(a[:, 2 * net.slots :], b[:, 2 * net.slots :])
    assert (a[:, : net.slots][(told["jobs"] == 0).all(-1)] == 0).all() and a[:, : net.slots].abs().max() > 0


@COMPILED
def test_maskable_ppo_learns_saves_and_plays_the_same_after_loading(tmp_path):
    env = VecNormalize(LLMQueueVecEnv(PREEMPTIVE, 8, n_jobs=100), norm_obs=False)
    agent = MaskablePPO(SlotsMaskablePolicy, env, n_steps=64, batch_size=256, n_epochs=2, seed=5, device="cpu")
    before = [part.clone() for part in agent.policy.parameters()]
    agent.learn(2000)
    assert sum(not torch.equal(a, b) for a, b in zip(before, agent.policy.parameters(), strict=True)) > 8
    assert len(agent.ep_info_buffer) > 0 and agent.ep_info_buffer[0]["r"] < 0
    agent.save(tmp_path / "agent.zip")
    again = load_agent(tmp_path / "agent.zip")
    assert type(again) is MaskablePPO
    runs = [rollout(player, Scenario(n_jobs=60), 3) for player in (agent, again)]
    np.testing.assert_array_equal(runs[0].outcome["completion"], runs[1].outcome["completion"])


@COMPILED
def test_dqn_learns_and_a_closed_action_is_worth_what_it_stands_for(tmp_path):
    env = LLMQueueVecEnv(PREEMPTIVE, 8, n_jobs=100)
    agent = DQN(SlotsDQNPolicy, env, learning_starts=200, buffer_size=2000, batch_size=64, seed=5, device="cpu")
    agent.learn(2000)
    seen = env.reset()
    for _ in range(10):
        seen = env.step(agent.predict(seen, deterministic=True)[0])[0]
    told = {name: torch.from_numpy(part) for name, part in seen.items()}
    with torch.no_grad():
        values = agent.q_net(told).numpy()
    agent.save(tmp_path / "agent.zip")
    again = load_agent(tmp_path / "agent.zip")
    assert type(again) is DQN
    np.testing.assert_array_equal(
        again.predict(seen, deterministic=True)[0], agent.predict(seen, deterministic=True)[0]
    )
    closed = seen["action_mask"] == 0
    assert (values[closed] == np.broadcast_to(values[:, :1], values.shape)[closed]).all()
    assert np.ptp(values[~closed]) > 0 and rollout(agent, Scenario(n_jobs=60), 3).response_times.min() > 0


@COMPILED
def test_ppo_without_masks_and_the_evaluation_of_stable_baselines(recwarn, tmp_path):
    env = LLMQueueVecEnv(Scenario(**SMALL), 2)
    agent = PPO("MultiInputPolicy", env, n_steps=32, batch_size=32, n_epochs=1, device="cpu").learn(64)
    rewards, lengths = evaluate_policy(agent, env, n_eval_episodes=4, return_episode_rewards=True)
    assert len(rewards) == len(lengths) == 4 and max(rewards) < 0 and not recwarn.list
    agent.save(tmp_path / "agent.zip")
    assert type(load_agent(tmp_path / "agent.zip")) is PPO


class Sprpt:
    """Known by its choices alone."""

    batched = True

    def act(self, seen):
        jobs = seen["jobs"]
        return np.where(jobs[..., 0] > 0, jobs[..., 1] - jobs[..., 2], np.inf).argmin(-1)


@COMPILED
def test_a_rank_is_distilled_from_an_agent_that_has_one():
    """SPRPT comes back: what is left of the predicted size decides."""
    scenario = Scenario(n_jobs=200)
    view = scenario.env().view
    made = distil(Sprpt(), scenario, view, 4_000_000, states=4000, steps=300)
    assert made.agreement > 0.97
    yardstick = Yardstick(scenario, view, range(3), 2000)
    policy = order("distilled", made.params, "test", **made.traits)
    assert yardstick.score(policy).mean == pytest.approx(yardstick.score("sprpt").mean, abs=0.03)
    assert yardstick.score(Sprpt()).mean == pytest.approx(yardstick.score("sprpt").mean, abs=1e-3)
    assert yardstick.score("fcfs").mean == 0 and yardstick.score("srpt").mean == 1


@COMPILED
def test_a_rank_is_distilled_wherever_an_action_is_the_slot_of_a_job():
    env = gymnasium.make("llmqueue/MGk-v0", n_jobs=200).unwrapped
    made = distil(baseline_agent("spjf", env), env.scenario, env.view, 4_000_000, states=3000, steps=300)
    assert made.agreement > 0.97 and made.traits == {"preemptive": False, "shape": "constant"}
    for name, words in (("Deadline", "whose every action is the slot"), ("MultiserverJob", "sizes and ages of jobs")):
        env = gymnasium.make(f"llmqueue/{name}-v0").unwrapped
        with pytest.raises(BadInput, match=words) as caught:
            distil(Sprpt(), env.scenario, env.view, 4_000_000)
        assert "\n" not in str(caught.value)


@COMPILED
def test_a_rank_that_does_not_do_what_the_agent_does_is_not_called_its_own():
    class Odd:
        """Takes the second job where there is one: which job that is depends on the others."""

        batched = True

        def act(self, seen):
            return (seen["action_mask"].sum(1) > 1).astype(int)

    scenario = Scenario(n_jobs=200)
    with pytest.raises(BadInput, match=r"agrees with the agent in .* fewer than 75%"):
        distil(Odd(), scenario, scenario.env().view, 4_000_000, states=3000, steps=200)


@COMPILED
@pytest.mark.parametrize("algorithm", [PPO, MaskablePPO])
def test_a_standard_learner_with_its_default_settings_plays_on_after_training(algorithm, tmp_path):
    """One line makes the environment; what was learnt plays in rollouts as the agent of the environment behind."""
    env = learner("llmqueue/LLMBatching-v0", num_envs=2, n_requests=60)
    agent = algorithm("MlpPolicy", env, n_steps=64, seed=1, device="cpu").learn(256)
    told = env.get_attr("scenario")[0], 3
    run = rollout(env.agent(agent), *told, window=32)
    with pytest.raises(BadInput, match=r"sees Box, not the Dict .* plays as `env.agent\(model\)`"):
        rollout(agent, *told, window=32)
    assert run.done.all()
    agent.save(tmp_path / "agent.zip")
    again = rollout(env.agent(algorithm.load(tmp_path / "agent.zip", device="cpu")), *told, window=32)
    np.testing.assert_array_equal(run.outcome["completion"], again.outcome["completion"])


def test_a_learners_environments_are_the_wrapped_ones_of_gymnasium():
    name, told = "llmqueue/MultiserverJob-v0", {"n_jobs": 15}
    mine = LearnerVecEnv(name, 2, **told)
    theirs = LearnableVector(gymnasium.make_vec(name, 2, autoreset_mode="SameStep", relative_to=order_of(name), **told))
    mine.seed(3)
    np.testing.assert_array_equal(mine.reset(), theirs.reset(seed=3)[0])
    rng, ends = np.random.default_rng(0), 0
    for _ in range(100):
        np.testing.assert_array_equal(np.stack(mine.env_method("action_masks")), theirs.action_masks())
        actions = rng.integers(mine.action_space.n, size=2)
        (seen, reward, over, infos), (same, paid, terminated, _, told) = mine.step(actions), theirs.step(actions)
        np.testing.assert_array_equal(seen, same)
        np.testing.assert_array_equal(reward, paid.astype(np.float32))
        for e in np.flatnonzero(over):
            np.testing.assert_array_equal(infos[e]["terminal_observation"], told["final_obs"][e])
            raw = told["final_info"]["return"][e]
            assert terminated[e] and infos[e]["episode"]["r"] == pytest.approx(raw, abs=1e-5) and raw < 0
            ends += 1
    assert ends > 3 and is_masking_supported(mine) and is_masking_supported(VecNormalize(mine))


@pytest.mark.parametrize("env_id", ENVIRONMENTS)
def test_every_environment_has_a_yardstick(env_id):
    env = gymnasium.make(env_id, n_jobs=100).unwrapped
    yardstick = Yardstick(env.scenario, env.view, range(2))
    rivals = list(yardstick.rivals())
    assert yardstick.score(yardstick.base).mean == 0 and len(rivals) > 1

    agent = playable(env.scenario, env)[1]
    assert yardstick.score(agent).mean <= 1 and yardstick.score(rivals[-1]).mean <= 1


def test_agents_come_from_files_of_any_kind_or_one_line_says_why_not(tmp_path):
    (tmp_path / "good.py").write_text("class A:\n    def act(self, seen):\n        return 0\n\nagent = A()\n")
    assert load_agent(tmp_path / "good.py").act({}) == 0
    assert load_agent(zoo_folder() / "order" / "learned-ppo-exponential").name == "learned-ppo-exponential"
    (tmp_path / "none.py").write_text("x = 1\n")
    (tmp_path / "text.py").write_text("agent = 'text'\n")
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "odd.txt").write_text("?")
    (tmp_path / "empty").mkdir()
    with ZipFile(tmp_path / "other.zip", "w") as other:
        other.writestr("a.txt", "?")
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "rllib_checkpoint.json").write_text("{}")
    for name, words in (
        ("nowhere.zip", "no such file or folder"),
        ("none.py", "defines no `agent`"),
        ("text.py", "`agent` is a str, with neither act"),
        ("broken.py", "ZeroDivisionError: division by zero"),
        ("odd.txt", "not an agent; give a .zip of Stable-Baselines3, a checkpoint of RLlib"),
        ("empty", "not an agent"),
        ("other.zip", "not an algorithm of Stable-Baselines3"),
        ("ray", "a checkpoint of RLlib"),
    ):
        with pytest.raises(BadInput, match=words) as caught:
            load_agent(tmp_path / name)
        assert str(caught.value).startswith(str(tmp_path / name)) and "\n" not in str(caught.value)


def test_nothing_below_the_command_line_imports_the_adapters():
    package = Path(llmqueue_gym.__file__).parent
    others = [path for path in package.rglob("*.py") if path.parent.name not in ("integrations", "cli")]
    assert len(others) > 100 and not [path for path in others if "llmqueue_gym.integrations" in path.read_text("utf-8")]

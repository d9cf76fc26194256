"""The serving environments: the engine plus the agent's decisions, and nothing else."""

import copy
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from llmqueue_gym.envs.llm_batching import LLMBatchingEnv, LLMBatchingVectorEnv
from llmqueue_gym.envs.serving_agent import ServingAgent
from llmqueue_gym.envs.serving_observation import FEATURES, SYSTEM
from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.serving.closed_loop import serve
from llmqueue_gym.policies.serving import ServingPolicy

DECIDES = ("admission", "eviction", "ranking")
SMALL = {"n_requests": 40, "window": 6, "seats": 6, "rules": "vllm-v1:max_seqs=6", "rate": 6.0}
SMALL |= {"profile": "a100-llama3-8b:kv_tokens=8192", "lengths": "azure-conv"}


def make(decides="admission", **kwargs):
    return LLMBatchingEnv(decides=decides, **{**SMALL, **kwargs})


def play(env, act, seed=0):
    """Return the undiscounted return and the number of steps of one episode."""
    _, info = env.reset(seed=seed)
    total, steps, over = 0.0, 0, False
    while not over:
        _, reward, terminated, truncated, info = env.step(act(env, info))
        total, steps, over = total + reward, steps + 1, terminated or truncated
    return total, steps, info


def at_random(seed):
    rng = np.random.default_rng(seed)
    return lambda env, info: int(rng.choice(np.flatnonzero(info["action_mask"])))


@pytest.mark.filterwarnings("ignore:.*A Box observation space m")
@pytest.mark.parametrize("decides", DECIDES)
def test_gymnasium_finds_nothing_to_complain_about(decides):
    check_env(make(decides), skip_render_check=True)


@pytest.mark.parametrize("name", ["LLMBatching-v0", "LLMPreemptive-v0", "LLMRank-v0"])
def test_the_registered_ids_make_scalar_and_compiled_environments(name):
    env = gym.make(f"llmqueue/{name}", n_requests=20)
    total, _, info = play(env, at_random(0))
    assert info["episode_metrics"]["ended"] == "drained"
    assert total == pytest.approx(-env.unwrapped.response_times.sum())
    assert isinstance(gym.make_vec(f"llmqueue/{name}", num_envs=2, n_requests=20).unwrapped, LLMBatchingVectorEnv)


@pytest.mark.parametrize("decides", DECIDES)
def test_the_return_is_minus_the_total_latency(decides):
    env = make(decides)
    total, _, info = play(env, at_random(1))
    assert total == pytest.approx(-env.response_times.sum())
    assert info["episode_metrics"]["mean_response_time"] == pytest.approx(env.response_times.mean())


@pytest.mark.parametrize("rules", ["vllm-v1", "vllm-v0", "sarathi", "orca", "static"])
@pytest.mark.parametrize("decides", ["admission", "eviction"])
def test_first_come_first_served_by_hand_is_the_closed_loop(rules, decides):
    if (rules, decides) == ("static", "eviction"):
        pytest.skip("a static batch is never left")
    spec = f"{rules}:max_seqs=6,max_model_len=4000"
    env = make(decides, rules=spec + (",token_budget=4096" if rules in ("vllm-v0",) else ""))
    agent = ServingAgent("fcfs", env.config)
    play(env, lambda env, _: agent.act_env(env), seed=3)
    served = serve(env.config.draw(3), "fcfs", env.config.cost_profile, env.config.bound_rules)
    assert served.reason == "drained"
    np.testing.assert_allclose(env.service["completion"], served.service["completion"], rtol=1e-12)
    np.testing.assert_allclose(env.service["first_token"], served.service["first_token"], rtol=1e-12)


def shortest(request, system, params):
    return request.first_predicted


def test_a_ranked_queue_by_hand_is_the_closed_loop():
    env = make("eviction", window=40)
    agent = ServingAgent(ServingPolicy("shortest", shortest), env.config)
    play(env, lambda env, _: agent.act_env(env), seed=4)
    served = serve(env.config.draw(4), agent.policy, env.config.cost_profile, env.config.bound_rules)
    np.testing.assert_allclose(env.service["completion"], served.service["completion"], rtol=1e-12)
    assert served.totals["preemptions"] > 0


def test_ranks_by_hand_are_the_closed_loop():
    env = make("ranking", levels=2000)

    def level(env, info):
        row = env._batch.observation["jobs"][0, 0]
        return min(1999, int(row[FEATURES.index("predicted")]))

    play(env, level, seed=5)
    policy = ServingPolicy("levels", lambda request, system, params: min(1999.0, np.floor(request.first_predicted)))
    served = serve(env.config.draw(5), policy, env.config.cost_profile, env.config.bound_rules)
    np.testing.assert_allclose(env.service["completion"], served.service["completion"], rtol=1e-12)


def test_a_ranking_agent_is_asked_on_arrival_and_on_every_refresh():
    env = make("ranking", predictor="trail", n_requests=10)
    _, steps, _ = play(env, at_random(0))
    given = env.config.draw(0)
    # A prediction after the last token comes too late to be asked about.
    assert steps == 10 + sum((int(tokens) - 1) // given.refreshed.every for tokens in given.outputs)


@pytest.mark.parametrize("decides", DECIDES)
def test_vector_is_scalar(decides):
    vector = LLMBatchingVectorEnv(num_envs=3, decides=decides, autoreset_mode="Disabled", copy=True, **SMALL)
    scalars = [make(decides) for _ in range(3)]
    observations, infos = vector.reset(seed=7)
    singles = [env.reset(seed=7 + e) for e, env in enumerate(scalars)]
    rng = np.random.default_rng(0)
    for _ in range(200):
        for e, (observation, info) in enumerate(singles):
            for key, values in observation.items():
                np.testing.assert_array_equal(observations[key][e], values)
            assert infos["dt"][e] == info["dt"]
        actions = np.array([rng.choice(np.flatnonzero(mask)) for mask in infos["action_mask"]])
        observations, rewards, terminated, truncated, infos = vector.step(actions)
        steps = [env.step(int(action)) for env, action in zip(scalars, actions, strict=True)]
        assert [step[1] for step in steps] == rewards.tolist()
        if terminated.any() or truncated.any():
            break
        singles = [(step[0], step[4]) for step in steps]


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_autoreset_goes_on_with_the_next_episode(mode):
    vector = LLMBatchingVectorEnv(num_envs=4, autoreset_mode=mode, **{**SMALL, "n_requests": 5})
    _, infos = vector.reset(seed=0)
    rng, ended = np.random.default_rng(0), 0
    for _ in range(300):
        actions = np.array([rng.choice(np.flatnonzero(mask)) for mask in infos["action_mask"]])
        observation, _, terminated, _, infos = vector.step(actions)
        ended += int(terminated.sum())
        assert np.isfinite(observation["jobs"]).all()
    assert ended > 8


def test_a_seed_is_an_episode_and_copies_go_their_own_way():
    env = make("eviction")
    first = play(env, at_random(2), seed=9)[:2]
    assert play(env, at_random(2), seed=9)[:2] == first
    assert play(env, at_random(2), seed=10)[:2] != first
    env.reset(seed=9)
    twin, thawed = copy.deepcopy(env), pickle.loads(pickle.dumps(env))
    after = [play_on(e, at_random(3)) for e in (env, twin, thawed)]
    assert after[0] == after[1] == after[2]


def play_on(env, act):
    total, over = 0.0, False
    while not over:
        _, reward, terminated, truncated, _ = env.step(act(env, {"action_mask": env.action_masks()}))
        total, over = total + reward, terminated or truncated
    return total


def test_the_truth_is_not_in_what_an_agent_sees():
    env = make()
    observation, info = env.reset(seed=1)
    outputs = env.config.draw(1).outputs
    waiting, running = env.visible_requests()
    for names in (waiting.dtype.names, running.dtype.names, FEATURES, SYSTEM, info):
        assert not {"output", "outputs", "size", "completion"} & set(names)
    assert outputs[0] not in observation["jobs"][0]


@pytest.mark.parametrize("decides", DECIDES)
def test_an_action_that_is_not_open_is_told_and_does_no_harm(decides):
    env = make(decides, n_requests=15)
    _, info = env.reset(seed=0)
    told, over = 0, False
    while not over:
        closed = np.flatnonzero(info["action_mask"] == 0)
        action = int(closed[0]) if len(closed) else 0
        _, _, terminated, truncated, info = env.step(action)
        told += info.get("illegal_action", False)
        over = terminated or truncated
    assert info["episode_metrics"]["ended"] == "drained"
    assert told > 0 or decides == "ranking"


def test_an_overloaded_episode_is_truncated_at_its_horizon():
    env = make(horizon=2.0, rate=1000.0)
    _, _, info = play(env, at_random(0))
    assert info["episode_metrics"]["ended"] == "horizon"
    assert info["episode_metrics"]["done"] < 40


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"decides": "admit"}, "admission"),
        ({"window": 0}, "window=0"),
        ({"rate": -1.0}, "rate=-1"),
        ({"profile": "a100-lama3-8b"}, "a100-llama3-8b"),
        ({"rules": "vllm-v2"}, "vllm-v1"),
        ({"lengths": "azure-con"}, "azure-conv"),
        ({"predictor": "lognormale"}, "lognormal"),
        ({"reward": "respose_time"}, "response_time"),
        ({"workload": 3}, "workload=3"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(kwargs, words):
    with pytest.raises(BadInput, match=words) as error:
        make(**kwargs)
    assert "\n" not in str(error.value)

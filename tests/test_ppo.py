"""The PPO script: its advantages against a slow reference, and its export against the environment it was trained in."""

import copy
import importlib.util
import json
import warnings
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from llmqueue_gym.errors import BadInput, in_one_line
from llmqueue_gym.jobs import JOB
from llmqueue_gym.policies.learned import cluster_order, load, order
from llmqueue_gym.systems import Scenario
from llmqueue_gym.systems.view import columns_of

SCRIPT = Path(__file__).parents[1] / "agents" / "ppo.py"
torch = pytest.importorskip("torch", reason="agents/ppo.py needs torch: pip install llmqueue-gym[train]")
for module in ("tyro", "tensorboard"):
    pytest.importorskip(module, reason=f"agents/ppo.py needs {module}: pip install llmqueue-gym[train]")
if not SCRIPT.is_file():
    pytest.skip("agents/ is only in a checkout", allow_module_level=True)
# Whatever torch and TensorBoard deprecate in each other is not ours.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def ppo():
    spec = importlib.util.spec_from_file_location("ppo", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    threads = torch.get_num_threads()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spec.loader.exec_module(module)
    yield module
    torch.set_num_threads(threads)


def options(ppo, out, **changes):
    short = {"total_steps": 3000, "num_envs": 16, "num_steps": 32, "minibatches": 2, "hidden": 4, "eval_every": 2}
    quick = {"eval_seeds": 2, "eval_jobs": 1000, "quiet": True}
    return ppo.Options(out=out, **{**short, **quick, **changes})


@pytest.fixture(scope="module")
def trained(ppo, tmp_path_factory):
    return ppo.train(options(ppo, tmp_path_factory.mktemp("run")))


def slow_gae(reward, value, dt, terminated, over, gamma, lam):
    """The definition: surprises to come in the episode, each discounted by all the time until its decision."""
    steps, envs = reward.shape
    advantage = np.zeros((steps, envs))
    for e in range(envs):
        for t in range(steps):
            time = 0.0
            for k in range(t, steps):
                after = 0.0 if terminated[k, e] else gamma ** dt[k, e] * value[k + 1, e]
                advantage[t, e] += (gamma * lam) ** time * (reward[k, e] + after - value[k, e])
                time += dt[k, e]
                if over[k, e]:
                    break
    return advantage


def test_advantages_are_those_of_the_definition(ppo):
    rng = np.random.default_rng(1)
    reward, dt, value = rng.normal(size=(7, 3)), rng.exponential(size=(7, 3)), rng.normal(size=(8, 3))
    terminated, over = np.zeros((7, 3), bool), np.zeros((7, 3), bool)
    terminated[2, 0] = over[2, 0] = True
    over[4, 1] = True  # truncated: the state after it still has a value
    expected = slow_gae(reward, value, dt, terminated, over, 0.9, 0.8)
    np.testing.assert_allclose(ppo.gae(reward, value, dt, terminated, over, 0.9, 0.8), expected, rtol=1e-12)


def test_advantage_of_two_decisions_by_hand(ppo):
    reward, value, dt = np.array([[-1.0], [-2.0]]), np.array([[1.0], [2.0], [4.0]]), np.array([[1.0], [2.0]])
    no = np.zeros((2, 1), bool)
    last = -2 + 0.25 * 4 - 2  # gamma^2 = 0.25
    first = -1 + 0.5 * 2 - 1 + 0.25 * last  # gamma lambda = 0.25
    np.testing.assert_allclose(ppo.gae(reward, value, dt, no, no, 0.5, 0.5)[:, 0], [first, last])


def test_steps_that_only_reset_are_no_decisions(ppo, tmp_path):
    run = ppo.Training(options(ppo, tmp_path, env_args=("n_jobs=20",)))
    _, batch = run.collect(run.begin())
    real = torch.cat([part.real for part in batch])
    assert 0 < (~real).sum() < real.sum()


def test_the_closed_loop_takes_the_decisions_of_the_greedy_actor(trained, ppo):
    actor, scenario = copy.deepcopy(trained.actor).double(), Scenario(n_jobs=1500)
    loop = scenario.simulate(trained.policy(trained.params), 1_234_567)
    env = scenario.env(slots=200)
    env.reset(seed=1_234_567)
    over = False
    while not over:
        jobs = env.episodes.seen()["jobs"]
        assert len(jobs) < 200  # all of them are seen
        with torch.no_grad():
            slot = actor(torch.from_numpy(order.features(jobs["predicted"], jobs["age"], scenario.law.mean))).argmin()
        _, _, over, _, _ = env.step(int(slot))
    np.testing.assert_allclose(env.response_times, loop.response_times, rtol=1e-9)


def test_the_artefact_is_an_ordinary_policy_with_a_card(trained):
    folder = trained.folder / "learned-ppo"
    policy = load(folder)
    card = json.loads((folder / "card.json").read_text())
    assert policy.shape == "falling" and policy.preemptive
    np.testing.assert_array_equal(policy.params, trained.progress["params"])
    best = max(card["curve"], key=lambda row: row[2])
    assert trained.yardstick.score(policy).mean == pytest.approx(best[2], abs=1e-4)
    assert all(first >= 1_000_000 for first, _ in card["seeds"])


def test_the_rank_never_rises_with_age(trained):
    policy = load(trained.folder / "learned-ppo")
    age = np.linspace(0.0, 20.0, 400)
    for predicted in (0.01, 0.3, 1.0, 5.0):
        rows = np.zeros(len(age), JOB)
        rows["predicted"], rows["age"] = predicted, age
        ranks = np.array([policy.rank(row, np.array(policy.params)) for row in rows.view(np.recarray)])
        assert (np.diff(ranks) <= 1e-12).all()


def test_resume_goes_on_where_it_stopped(ppo, tmp_path):
    first = ppo.train(options(ppo, tmp_path, total_steps=1500))
    before = {name: part.clone() for name, part in first.actor.state_dict().items()}
    again = ppo.Training(options(ppo, tmp_path, total_steps=1500, resume=True))
    for name, part in again.actor.state_dict().items():
        assert torch.equal(part, before[name])
    second = ppo.train(options(ppo, tmp_path, total_steps=3000, resume=True))
    curve = second.progress["curve"]
    assert second.progress["steps"] >= 3000 > first.progress["steps"]
    assert [row[1] for row in curve] == sorted(row[1] for row in curve) and curve[0][1] == 0


def test_the_same_seed_learns_the_same(ppo, tmp_path):
    one, other = (ppo.train(options(ppo, tmp_path / name, total_steps=1500)) for name in "ab")
    np.testing.assert_array_equal(one.params, other.params)


@pytest.mark.parametrize(
    ("env_id", "args"),
    [
        ("MG1-v0", ()),
        ("MGk-v0", ("load=0.7",)),
        ("MGkPreemptive-v0", ()),
        ("Abandonment-v0", ("told=True",)),
        ("Deadline-v0", ()),
    ],
)
def test_other_environments_give_policies_too(ppo, tmp_path, env_id, args):
    run = ppo.train(options(ppo, tmp_path, env_id=f"llmqueue/{env_id}", env_args=args, total_steps=1000))
    policy = load(tmp_path / "learned-ppo")
    assert policy.shape == "constant" and policy.preemptive == run.view.preemptive
    assert np.isfinite(run.progress["best"])


def test_features_of_several_servers_are_those_of_the_exported_rank(ppo):
    env = gymnasium.make("llmqueue/MGk-v0", patience="exponential", told=True, n_jobs=50, load=2.0).unwrapped
    observation, _ = env.reset(seed=1_000_000)
    for _ in range(10):
        observation, *_ = env.step(0)
    jobs, kind = env.episodes.seen()["waiting"], ppo.Order.of(env.scenario, env.view)
    assert len(jobs) > 1 and kind.knows_deadlines
    torch.manual_seed(0)
    actor = ppo.Actor(len(kind.names), 3, kind.past, ())
    with torch.no_grad():
        actor.linear.normal_(), actor.out.normal_()
    policy = cluster_order.cluster_order("x", actor.pack(kind.scale), "")
    exact = np.array([policy.rank(row, np.array(policy.params)) for row in jobs.view(np.recarray)])
    features = kind.features(columns_of({"jobs": observation["jobs"][: len(jobs)]}, "jobs", env.view.jobs))
    with torch.no_grad():
        learned = actor(torch.from_numpy(features).float()).numpy()
    np.testing.assert_allclose(np.diff(learned), np.diff(exact), atol=1e-4)  # arrivals count from another time


def test_what_it_cannot_learn_is_refused(ppo, tmp_path):
    for name in ("MultiserverJob", "Dispatch", "LLMBatching", "LLMRank"):
        with pytest.raises(BadInput, match=r"one server each .* agents/sb3_maskable_ppo.py") as caught:
            ppo.Training(options(ppo, tmp_path, env_id=f"llmqueue/{name}-v0"))
        assert "\n" not in str(caught.value)
    with pytest.raises(BadInput, match="name=value"):
        ppo.Training(options(ppo, tmp_path, env_args=("load",)))
    with pytest.raises(BadInput, match="falling or general"):
        ppo.Training(options(ppo, tmp_path, shape="rising"))
    with pytest.raises(BadInput, match="leave out --resume"):
        ppo.Training(options(ppo, tmp_path, resume=True))


def test_a_script_ends_as_the_command_line_does_where_a_value_is_wrong(capsys):
    with pytest.raises(SystemExit) as caught, in_one_line():
        raise BadInput("load=-1 must be positive")
    assert caught.value.code == 2 and capsys.readouterr().err == "error: load=-1 must be positive\n"

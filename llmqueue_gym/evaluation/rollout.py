"""One function that plays anything: a policy in closed loop, an agent in its environment, on the same jobs."""

import inspect
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.closed_loop import simulate
from llmqueue_gym.evaluation.cluster.play import play as play_cluster
from llmqueue_gym.evaluation.cluster.scenario import ClusterScenario
from llmqueue_gym.evaluation.run import Run
from llmqueue_gym.evaluation.scenario import Scenario
from llmqueue_gym.evaluation.server_needs import NeedsScenario
from llmqueue_gym.jobs import Instance
from llmqueue_gym.policies import policy
from llmqueue_gym.policies.packing import packing_policy
from llmqueue_gym.predictors import predictor
from llmqueue_gym.predictors.base import Predictor

Act = Callable[[Any], Any]  # observation -> action


def rollout(player: Any, scenario: Any, seed: int, env: str | None = None, **options: Any) -> Run:
    """Play one run of a scenario.

    Args:
        player: a policy (a name, a `Policy`, or a function `rank(job, params)`; where jobs need several servers, a
            packing policy), or an agent: an object with `act(observation) -> action`, or with
            `predict(observation, ...) -> (action, state)` as in stable-baselines3, which is given `action_masks` where
            it takes them.
        scenario: where it is played: a `Scenario`, `ClusterScenario` or `NeedsScenario`.
        seed: of the jobs; the same seed gives every player the same arrivals and sizes.
        env: for an agent, the id of the environment that it is played in; each kind of scenario has its own.
        options: for an agent, further arguments of that environment, such as `slots`.

    Returns:
        the run; `outcome["completion"]` is NaN for a job that left unserved.

    Raises:
        BadInput: the policy is unknown, cannot be compiled, or needs a prediction where there is none; the scenario is
            of no kind that is known; the agent left jobs unfinished.
    """
    kind = next((_KINDS[base] for base in type(scenario).__mro__ if base in _KINDS), None)
    if kind is None:
        names = ", ".join(base.__name__ for base in _KINDS)
        raise BadInput(f"cannot play in a {type(scenario).__name__}; choose from: {names}")
    act = _act(player)
    if act is None:
        return kind.play(player, scenario, seed)
    told = {**kind.arguments(scenario, seed), **options}
    return _play(act, type(player).__name__, scenario.draw(None, seed), seed, env or kind.env, told)


def _act(player: Any) -> Act | None:
    """Return an agent's choice as a function of the observation, or None where the player is no agent."""
    if callable(getattr(player, "act", None)):
        return player.act
    predict = getattr(player, "predict", None)
    if not callable(predict):
        return None
    takes = inspect.signature(predict).parameters
    sure = {"deterministic": True} if "deterministic" in takes else {}
    if "action_masks" in takes:
        return lambda seen: predict(seen, action_masks=np.asarray(seen["action_mask"], bool), **sure)[0]
    return lambda seen: predict(seen, **sure)[0]


def _play(act: Act, name: str, instance: Any, seed: int, env_id: str, told: dict[str, Any]) -> Run:
    import gymnasium

    env = gymnasium.make(env_id, **told)
    seen, info = env.reset(seed=seed)
    over, start = False, time.perf_counter()
    while not over:
        seen, _, terminated, truncated, info = env.step(int(act(seen)))
        over = terminated or truncated
    elapsed = time.perf_counter() - start
    outcome = env.unwrapped.outcome  # type: ignore[attr-defined]
    env.close()
    if not terminated:
        raise BadInput(
            f"agent {name!r}: the episode was cut off at {info['clock']:g} s, "
            f"with {info['n_in_system']} of {len(outcome)} jobs in system"
        )
    return Run(name, instance.jobs, instance.sizes, outcome, elapsed)


class _Kind(NamedTuple):
    """How one kind of scenario is played.

    Attributes:
        play: plays a policy in closed loop.
        env: id of the environment of an agent, unless told otherwise.
        arguments: those of the environment that make its jobs of a seed those of the scenario.
    """

    play: Callable[[Any, Any, int], Run]
    env: str
    arguments: Callable[[Any, int], dict[str, Any]]


def _play_one_server(player: Any, scenario: Scenario, seed: int) -> Run:
    discipline = policy(player)
    instance = scenario.draw(discipline, seed)
    return simulate(instance, discipline, scenario.law, scenario.bound_predictor(discipline))


def _one_server(scenario: Scenario, seed: int) -> dict[str, Any]:
    where = {"load": scenario.load, "arrivals": scenario.arrivals, "workload": scenario.workload}
    return {**where, "size": scenario.law, "predictor": scenario.predictor, "n_jobs": scenario.n_jobs}


def _cluster(scenario: ClusterScenario, seed: int) -> dict[str, Any]:
    jobs = {**_one_server(scenario.jobs, seed), "load": scenario.load}
    patience = {"patience": scenario.patience, "told": scenario.told} if scenario.patience is not None else {}
    return {**jobs, "servers": scenario.servers, "speeds": scenario.speeds, **patience}


def _needs(scenario: NeedsScenario, seed: int) -> dict[str, Any]:
    drawn = scenario.draw(None, seed)
    told = predictor(scenario.predictor)
    if told.informative and told != predictor("exact"):
        told = _Recorded(drawn.jobs["predicted"])
    jobs = {"workload": _RecordedNeeds(drawn, scenario.needs), "n_jobs": scenario.n_jobs, "predictor": told}
    return {**jobs, "servers": scenario.servers, "needs": scenario.needs}


@dataclass(frozen=True, eq=False)
class _RecordedNeeds:
    """Jobs that are given, as a workload."""

    instance: Instance
    needs: tuple[int, ...]

    def sample(self, n: int, arrival_rng: np.random.Generator, size_rng: np.random.Generator) -> Instance:
        return Instance(self.instance.jobs.copy(), self.instance.sizes.copy())


@dataclass(frozen=True, eq=False)
class _Recorded(Predictor):
    """Predictions that are given, because those of a class of jobs are made from the law of the class."""

    predicted: np.ndarray

    def predict(self, sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return self.predicted


_KINDS: dict[type, _Kind] = {
    Scenario: _Kind(_play_one_server, "llmqueue/MG1Preemptive-v0", _one_server),
    ClusterScenario: _Kind(
        lambda player, scenario, seed: play_cluster(scenario, player, seed), "llmqueue/MGkPreemptive-v0", _cluster
    ),
    NeedsScenario: _Kind(
        lambda player, scenario, seed: scenario.play(packing_policy(player), seed),
        "llmqueue/MultiserverJob-v0",
        _needs,
    ),
}

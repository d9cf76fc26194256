"""What an agent does, as a policy that is replayed compiled and without the library that trained it.

An agent of a learning library may choose by anything that it sees, a rank only by the job. So the order of
`policies.learned.order` is fitted to the choices in states that the agent itself gets into, and how often the two agree
in others is part of the answer (Rusu et al., "Policy Distillation", ICLR 2016).
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch

from llmqueue_gym.envs.agents import baseline_agent
from llmqueue_gym.envs.observation import FEATURES as COLUMNS
from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.base import Policy
from llmqueue_gym.policies.learned.network import Weights
from llmqueue_gym.policies.learned.order import FEATURES, features, order

Observation = Mapping[str, np.ndarray]
_ENVS = 32  # side by side
_AGED = [FEATURES.index("log age"), FEATURES.index("age")]


class Distilled(NamedTuple):
    """A rank that has been fitted to an agent.

    Attributes:
        params: of the kind "order".
        traits: of that policy.
        agreement: share of the decisions between two or more jobs, from seeds that the fit did not see, in which both
            choose the same job.
    """

    params: np.ndarray
    traits: dict[str, Any]
    agreement: float


def distil(
    act: Callable[[Observation], np.ndarray],
    env_id: str,
    arguments: Mapping[str, Any],
    first_seed: int,
    states: int = 20_000,
    hidden: int = 16,
    steps: int = 1000,
) -> Distilled:
    """Fit a rank to an agent of one server.

    Args:
        act: (observations of E environments) -> actions `(E,)`.
        env_id: where it plays.
        arguments: of that environment.
        first_seed: of its episodes, in which the agent is watched.
        states: decisions to fit to; a quarter as many tell the agreement.
        hidden: units of the rank.
        steps: of Adam.

    Raises:
        BadInput: the environment has more than one server.
    """
    env: Any = gymnasium.make_vec(env_id, num_envs=_ENVS, copy=True, **arguments)
    config = env.unwrapped.config
    if type(config).__name__ != "MG1Config":
        raise BadInput(f"env_id={env_id!r}: only agents of one server are distilled")
    seen, actions = _watch(act, env, first_seed, states)
    # A rank that falls with age never has to be taken anew between the decisions of the environment.
    traits = {"preemptive": bool(config.preemptive), "shape": "falling" if config.preemptive else "constant"}
    params = _fit(seen["jobs"], actions, float(config.law.mean), hidden, steps, first_seed)
    policy: Policy = order("distilled", params, "", **traits)
    seen, actions = _watch(act, env, first_seed + _ENVS, states // 4)
    env.close()
    return Distilled(params, traits, float((baseline_agent(policy, env).act(seen) == actions).mean()))


def _watch(act: Any, env: Any, seed: int, states: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return what an agent saw in decisions between two or more jobs, and what it did."""
    kept, actions, count = [], [], 0
    observation, _ = env.reset(seed=seed)
    while count < states:
        action = np.asarray(act(observation)).reshape(-1)
        between = observation["action_mask"].sum(1) > 1
        chosen = np.where(observation["action_mask"][np.arange(_ENVS), action] > 0, action, 0)  # the rule of the slots
        kept.append({name: part[between] for name, part in observation.items()})
        actions.append(chosen[between])
        count += int(between.sum())
        observation = env.step(action)[0]
    return {name: np.concatenate([part[name] for part in kept]) for name in kept[0]}, np.concatenate(actions)


def _fit(jobs: np.ndarray, actions: np.ndarray, scale: float, hidden: int, steps: int, seed: int) -> np.ndarray:
    """Return the numbers of the rank by which the jobs chosen `(n,)` are likely the least of theirs `(n, slots)`."""
    random = torch.Generator().manual_seed(seed)
    column = COLUMNS.index
    told = features(jobs[..., column("predicted")], jobs[..., column("age")], scale)
    x, target = torch.from_numpy(told).float(), torch.from_numpy(actions)
    absent = torch.from_numpy(jobs[..., column("present")] == 0)
    linear = torch.tensor([float(name == "predicted") for name in FEATURES], requires_grad=True)
    weights = (torch.randn(hidden, len(FEATURES), generator=random) / len(FEATURES) ** 0.5).requires_grad_()
    bias = (0.5 * torch.randn(hidden, generator=random)).requires_grad_()
    out = torch.zeros(hidden, requires_grad=True)
    adam = torch.optim.Adam([linear, weights, bias, out], lr=0.02)
    slower = torch.optim.lr_scheduler.LinearLR(adam, 1.0, 0.05, steps)
    for _ in range(steps):
        rows = torch.randint(len(x), (512,), generator=random)
        rank = x[rows] @ linear + torch.nn.functional.softsign(x[rows] @ weights.T + bias) @ out
        loss = torch.nn.functional.cross_entropy((-rank).masked_fill(absent[rows], -1e9), target[rows])
        adam.zero_grad()
        loss.backward()
        adam.step()
        slower.step()
        with torch.no_grad():  # what would let the rank rise with age
            linear[_AGED] = linear[_AGED].clamp(max=0.0)
            weights[:, _AGED] = weights[:, _AGED].masked_fill(weights[:, _AGED] * out[:, None] > 0, 0.0)
    parts = [part.detach().double().numpy() for part in (linear, weights, bias, out)]
    return Weights(parts[0], parts[1], parts[2], parts[3], scale).pack()

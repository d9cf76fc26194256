"""What an agent does, as a policy that is replayed compiled and without the library that trained it.

An agent of a learning library may choose by anything that it sees, a rank only by the job. So the order of
`policies.learned.order` is fitted to the choices in states that the agent itself gets into, and how often the two agree
in others is part of the answer (Rusu et al., "Policy Distillation", ICLR 2016).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from llmqueue_gym.envs.rollout import acting
from llmqueue_gym.envs.vector import QueueVectorEnv
from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.base import Policy
from llmqueue_gym.policies.learned.network import Weights
from llmqueue_gym.policies.learned.order import FEATURES, features, order
from llmqueue_gym.systems import Scenario
from llmqueue_gym.systems.view import View, columns_of

Observation = Mapping[str, np.ndarray]
_ENVS = 32  # side by side
LEAST = 0.75  # agreement below which a rank is not that of the agent
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
    player: Any,
    scenario: Scenario,
    view: View,
    first_seed: int,
    states: int = 20_000,
    hidden: int = 16,
    steps: int = 1000,
) -> Distilled:
    """Fit a rank to an agent whose actions are slots of jobs.

    Args:
        player: the agent; see `acting`.
        scenario: where it plays.
        view: what it sees and decides.
        first_seed: of its episodes, in which it is watched.
        states: decisions to fit to; a quarter as many tell the agreement.
        hidden: units of the rank.
        steps: of Adam.

    Raises:
        BadInput: its actions are something else, ages and predictions are not seen, or the rank that fits best agrees
            with it in fewer than `LEAST` of the decisions.
    """
    kind, slots = scenario.system, getattr(view, "slots", 0)
    if kind.policies.made is not Policy or {"predicted", "age"} - view.jobs.keys():
        raise BadInput(f"system {kind.name!r}: only agents that see predicted sizes and ages of jobs are distilled")
    if view.n_actions(scenario) != slots:
        raise BadInput(f"system {kind.name!r}: only agents whose every action is the slot of a job are distilled")
    env = QueueVectorEnv(scenario, _ENVS, **vars(view))
    seen, actions = _watch(player, env, first_seed, states)
    preemptive = bool(getattr(view, "preemptive", False))
    # A rank that falls with age never has to be taken anew between the decisions of the environment.
    traits = {"preemptive": preemptive, "shape": "falling" if preemptive else "constant"}
    raw = seen["jobs"][:, :slots] * view.units(scenario)["jobs"]
    columns = columns_of({"jobs": raw}, "jobs", view.jobs)
    told = features(columns["predicted"], columns["age"], float(scenario.law.mean))
    params = _fit(told, seen["action_mask"] > 0, actions, float(scenario.law.mean), hidden, steps, first_seed)
    policy: Policy = order("distilled", params, "", **traits)
    seen, actions = _watch(player, env, first_seed + _ENVS, states // 4)
    agreement = float((kind.agent(policy, scenario, view).act(seen) == actions).mean())
    if agreement < LEAST:
        few = f"the rank that fits best agrees with the agent in {agreement:.1%} of the decisions"
        raise BadInput(f"{few}, fewer than {LEAST:.0%}: what it does is no rank of a job")
    return Distilled(params, traits, agreement)


def _watch(player: Any, env: Any, seed: int, states: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return what an agent saw in decisions between two or more jobs, and what it did."""
    act, kept, actions, count = acting(player), [], [], 0
    assert act is not None
    observation, _ = env.reset(seed=seed)
    while count < states:
        action, mask = np.asarray(act(observation)).reshape(-1), observation["action_mask"]
        between = mask.sum(1) > 1
        chosen = np.where(mask[np.arange(_ENVS), action] > 0, action, mask.argmax(1))  # the rule of the slots
        kept.append({name: part[between] for name, part in observation.items()})
        actions.append(chosen[between])
        count += int(between.sum())
        observation = env.step(action)[0]
    return {name: np.concatenate([part[name] for part in kept]) for name in kept[0]}, np.concatenate(actions)


def _fit(
    told: np.ndarray, opens: np.ndarray, actions: np.ndarray, scale: float, hidden: int, steps: int, seed: int
) -> np.ndarray:
    """Return the numbers of the rank by which the jobs chosen are likely the least of theirs.

    Args:
        told: features of the jobs `(n, slots, F)`.
        opens: who can be chosen `(n, slots)`.
        actions: who was `(n,)`.
        scale: unit of the features.
        hidden: units of the rank.
        steps: of Adam.
        seed: of the first weights and of what each step looks at.
    """
    random = torch.Generator().manual_seed(seed)
    x, target, absent = torch.from_numpy(told).float(), torch.from_numpy(actions), torch.from_numpy(~opens)
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

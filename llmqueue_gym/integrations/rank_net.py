"""A rank as a network of torch, a critic for it, and advantages of decisions that are some time apart.

`agents/ppo.py` trains them. The actor is the very network that `policies.learned` replays, so export copies weights.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.base import Policy
from llmqueue_gym.policies.learned import cluster_order, order
from llmqueue_gym.policies.learned.network import Weights


class Order(NamedTuple):
    """A kind of learned rank: the jobs of an observation become its features.

    Attributes:
        kind: of the artefact.
        names: of the features `(F,)`.
        past: how many of the last features go past the hidden units.
        aged: features that grow with age.
        knows_deadlines: whether the time to a deadline is among what is told.
        scale: unit of time.
    """

    kind: str
    names: tuple[str, ...]
    past: int
    aged: tuple[int, ...]
    knows_deadlines: bool
    scale: float

    @classmethod
    def of(cls, scenario: Any, view: Any) -> "Order":
        """Return the kind that fits an environment.

        Raises:
            BadInput: its policies are not orders of jobs that need one server each.
        """
        if scenario.system.policies.made is not Policy or {"predicted", "age"} - view.jobs.keys():
            name = scenario.system.name
            hint = "agents/sb3_maskable_ppo.py and agents/learn.py train on any"
            raise BadInput(f"system {name!r}: only orders of jobs that need one server each are ranks; {hint}")
        scale = float(scenario.law.mean)
        if "time_left" not in view.jobs:
            return cls("order", order.FEATURES, 0, (1, 3), False, scale)
        knows = bool(view.firm or scenario.system.told)
        return cls("cluster-order", cluster_order.FEATURES, 1, (), knows, scale)

    def features(self, told: dict[str, np.ndarray]) -> np.ndarray:
        """Return `(..., F)` of columns `(...)` of jobs; arrivals count from now, which moves all ranks alike."""
        if self.kind == "order":
            return order.features(told["predicted"], told["age"], self.scale)
        unit = np.float32(self.scale)
        p, since = told["predicted"] / unit, told["time_in_system"] / unit
        d = np.log(told["time_left"] / unit + since + 0.01) if self.knows_deadlines else np.zeros_like(p)
        return np.stack([np.log(p + 0.01), p, d, -since], axis=-1)


class Actor(nn.Module):
    """The rank of a job: the network of `policies.learned.network`."""

    def __init__(self, features: int, hidden: int, past: int, falling: tuple[int, ...]):
        super().__init__()
        self.inner, self.falling = features - past, list(falling)
        self.linear = nn.Parameter(torch.zeros(features))
        self.weights = nn.Parameter(torch.randn(hidden, self.inner) / self.inner**0.5)
        self.bias = nn.Parameter(0.5 * torch.randn(hidden))
        self.out = nn.Parameter(torch.zeros(hidden))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the ranks `(...)` of jobs with features `(..., F)`."""
        units = nn.functional.softsign(x[..., : self.inner] @ self.weights.T + self.bias)
        return x @ self.linear + units @ self.out

    @torch.no_grad()
    def keep_falling(self) -> None:
        """Take out what lets the rank rise with the features `falling`."""
        self.linear[self.falling] = self.linear[self.falling].clamp(max=0.0)
        rising = self.weights[:, self.falling] * self.out[:, None] > 0
        self.weights[:, self.falling] = self.weights[:, self.falling].masked_fill(rising, 0.0)

    @torch.no_grad()
    def pack(self, scale: float) -> np.ndarray:
        """Return the `params` of the exported policy."""
        parts = (self.linear, self.weights, self.bias, self.out)
        linear, weights, bias, out = (part.double().numpy() for part in parts)
        return np.concatenate([Weights(linear[: self.inner], weights, bias, out, scale).pack(), linear[self.inner :]])


class States(NamedTuple):
    """Where decisions are taken, B of them, without the slots that are empty, which are most.

    Attributes:
        jobs: features of the jobs that may be served `(N, F)`.
        at: their places among all slots, counted through all states `(N,)`.
        system: features of the system `(B, S)`.
        slots: of a state.
    """

    jobs: torch.Tensor
    at: torch.Tensor
    system: torch.Tensor
    slots: int


class Critic(nn.Module):
    """The value of a state, the same in whatever order its jobs stand."""

    def __init__(self, features: int, system: int, hidden: int):
        super().__init__()
        self.job = nn.Linear(features, hidden)
        self.head = nn.Sequential(nn.Linear(2 * hidden + 2 * system, hidden), nn.Tanh(), nn.Linear(hidden, 1))

    def forward(self, states: States) -> torch.Tensor:
        """Return values `(B,)`."""
        row, n = states.at // states.slots, len(states.system)
        each = torch.relu(self.job(states.jobs))
        sums = each.new_zeros(n, each.shape[1]).index_add(0, row, each)
        means = sums / torch.bincount(row, minlength=n).clamp(min=1)[:, None]
        return self.head(torch.cat([sums / 10, means, torch.log1p(states.system), states.system / 10], 1))[:, 0]


def log_chances(actor: Actor, states: States) -> torch.Tensor:
    """Return the log-probability `(B, slots)` of each job to be served."""
    logits = states.jobs.new_full((len(states.system) * states.slots,), -1e9)
    logits = logits.index_copy(0, states.at, -actor(states.jobs))
    return torch.log_softmax(logits.view(-1, states.slots), 1)


def gae(
    reward: np.ndarray,
    value: np.ndarray,
    dt: np.ndarray,
    terminated: np.ndarray,
    over: np.ndarray,
    gamma: float,
    lam: float,
) -> np.ndarray:
    """Return generalised advantages `(T, E)` of decisions that are dt apart.

    Args:
        reward: `(T, E)`.
        value: of the states before each decision and after the last `(T + 1, E)`.
        dt: from each decision to the next `(T, E)`.
        terminated: whether nothing follows, so the next state is worth 0 `(T, E)`.
        over: whether the episode ended there, terminated or truncated `(T, E)`.
        gamma: discount of one unit of time.
        lam: lambda of one unit of time.
    """
    advantage, following = np.zeros_like(reward), np.zeros_like(reward[0])
    for t in reversed(range(len(reward))):
        surprise = reward[t] + gamma ** dt[t] * value[t + 1] * ~terminated[t] - value[t]
        advantage[t] = following = surprise + (gamma * lam) ** dt[t] * following * ~over[t]
    return advantage

"""Stable-Baselines3 on the compiled environments: `LLMQueueVecEnv`, and networks that know what a slot is.

    from sb3_contrib import MaskablePPO
    from llmqueue_gym.integrations.sb3 import LLMQueueVecEnv, SlotsMaskablePolicy

    env = LLMQueueVecEnv("llmqueue/MG1Preemptive-v0", num_envs=64, load=0.8)
    model = MaskablePPO(SlotsMaskablePolicy, env).learn(100_000)

Needs `pip install 'llmqueue-gym[train]'`.
"""

from collections.abc import Iterable, Sequence
from time import perf_counter
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Dict, Discrete
from gymnasium.vector import AutoresetMode
from sb3_contrib.common.maskable.policies import MaskableMultiInputActorCriticPolicy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from stable_baselines3.dqn.policies import MultiInputPolicy, QNetwork

from llmqueue_gym.envs import register_all
from llmqueue_gym.envs.learnable import Sight, Trained, meant
from llmqueue_gym.envs.opened import order_of
from llmqueue_gym.errors import BadInput
from llmqueue_gym.integrations.slots import SlotsNet, begin_with_scores
from llmqueue_gym.systems import Scenario

Indices = None | int | Iterable[int]
_TOLD = ("dt", "clock", "n_in_system", "raw_reward", "return", "discount", "illegal_action")  # in every info


class LLMQueueVecEnv(VecEnv):
    """Many environments of one scenario, advanced by one kernel call per step, as Stable-Baselines3 wants them.

    Environment i plays what a scalar one plays that is reset with `seed + i`, episode after episode. As in
    `DummyVecEnv`, an environment that has ended begins anew in the same step; its last observation is
    `info["terminal_observation"]`, and `info["TimeLimit.truncated"]` says whether its value counts on. As with
    `Monitor`, `info["episode"]` has return "r", length "l" and seconds of wall time since the environments were made
    "t"; so no `Monitor` or `VecMonitor` is needed. The other infos are those of the scalar environment, the mask aside,
    which `env_method("action_masks")` returns.
    """

    def __init__(self, env_id: str | Scenario, num_envs: int = 1, **kwargs: Any):
        """Make the environments.

        Args:
            env_id: such as "llmqueue/MG1Preemptive-v0", or a scenario.
            num_envs: how many.
            **kwargs: the arguments of one environment.

        Raises:
            BadInput: a value is out of range; the message names it.
        """
        register_all()
        # SB3 keeps an observation until the next step has been taken, so buffers that change in place will not do.
        mode: dict[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP, "copy": True}
        if isinstance(env_id, Scenario):
            env_id, kwargs = "llmqueue/Scenario-v0", {"system": env_id, **kwargs}
        made: Any = gymnasium.make_vec(env_id, num_envs, **mode, **kwargs)
        self.env: Any = made.unwrapped
        spaces = {"observation_space": self.env.single_observation_space, "action_space": self.env.single_action_space}
        self._shared = {"render_mode": None, "action_masks": self.env.action_masks, **spaces}
        self._shared |= {"scenario": self.env.scenario, "view": self.env.view}
        super().__init__(num_envs, *spaces.values())
        self._actions = np.zeros(num_envs, np.int64)
        self._lengths = np.zeros(num_envs, np.int64)
        self._start = perf_counter()

    def reset(self) -> dict[str, np.ndarray]:  # type: ignore[override]
        """Begin an episode in every environment, with the seeds of `seed()` the first time after it."""
        if any(self._options):
            raise BadInput(f"options={self._options!r}: there are none")
        observation, _ = self.env.reset(seed=list(self._seeds))
        self._reset_seeds()
        self._lengths[:] = 0
        return observation

    def step_async(self, actions: np.ndarray) -> None:
        """Take note of the actions `(num_envs,)`."""
        self._actions = actions

    def step_wait(self) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, list[dict[str, Any]]]:  # type: ignore[override]
        """Take the actions; return observations, rewards float32, dones `(num_envs,)` and an info of each."""
        observation, reward, terminated, truncated, told = self.env.step(self._actions)
        self._lengths += 1
        over = terminated | truncated
        columns = [told[name].tolist() for name in _TOLD]
        rest = {"TimeLimit.truncated": False, "episode_metrics": self.env.episodes.unknown}
        infos: list[dict[str, Any]] = [
            {**dict(zip(_TOLD, row, strict=True)), **rest} for row in zip(*columns, strict=True)
        ]
        for e in over.nonzero()[0].tolist():
            self._end(e, infos[e], told, bool(truncated[e] and not terminated[e]))
        return observation, reward.astype(np.float32), over, infos

    def _end(self, e: int, info: dict[str, Any], told: dict[str, Any], cut_off: bool) -> None:
        """Write what belongs to the end of an episode to its info; the next one has begun already."""
        info |= {name: value for name, value in _info_of(e, told["final_info"]).items() if name != "action_mask"}
        info["TimeLimit.truncated"] = cut_off
        info["terminal_observation"] = told["final_obs"][e]
        taken = round(perf_counter() - self._start, 6)
        info["episode"] = {"r": round(float(info["return"]), 6), "l": int(self._lengths[e]), "t": taken}
        self._lengths[e] = 0

    def close(self) -> None:
        """Let go of the environments."""
        self.env.close()

    def env_method(self, method_name: str, *args: Any, indices: Indices = None, **kwargs: Any) -> list[Any]:
        """Return the `action_masks` `(n_actions,)` of the environments; they have no other method of their own."""
        if method_name != "action_masks":
            raise AttributeError(f"the environments have no method {method_name!r}; choose action_masks")
        masks = self.env.action_masks().astype(bool)
        return [masks[e] for e in self._get_indices(indices)]

    def get_attr(self, attr_name: str, indices: Indices = None) -> list[Any]:
        """Return an attribute that all environments share, such as `scenario`, once for each."""
        if attr_name not in self._shared:
            raise AttributeError(f"the environments share no {attr_name!r}; choose from: {', '.join(self._shared)}")
        return [self._shared[attr_name] for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Indices = None) -> None:
        """Refuse: what an environment is was said when it was made."""
        raise AttributeError(f"{attr_name!r} cannot be changed: give it to LLMQueueVecEnv as a keyword argument")

    def env_is_wrapped(self, wrapper_class: type[gymnasium.Wrapper], indices: Indices = None) -> list[bool]:
        """Return True for `Monitor`, whose work is done here, and False for other wrappers."""
        return [wrapper_class is Monitor for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[np.ndarray | None]:
        """Return nothing to see."""
        return [None] * self.num_envs


def _info_of(e: int, told: dict[str, Any]) -> dict[str, Any]:
    """Return the infos of one environment, which Gymnasium keeps as an array for each key."""
    valid = {name: value for name, value in told.items() if not name.startswith("_") and told[f"_{name}"][e]}
    return {name: _info_of(e, value) if isinstance(value, dict) else value[e] for name, value in valid.items()}


class LearnerVecEnv(LLMQueueVecEnv):
    """The same as a standard learner wants it: see `envs.learnable`."""

    def __init__(self, env_id: str | Scenario, num_envs: int = 1, order: Any = None, **kwargs: Any):
        """Make the environments.

        Args:
            env_id: such as "llmqueue/MG1Preemptive-v0", or a scenario.
            num_envs: how many.
            order: policy by hand that says who is likely; that of the id unless told otherwise.
            **kwargs: the arguments of one environment.
        """
        named = (env_id, kwargs.get("system")) if isinstance(env_id, str) else ("", env_id)
        order = order or order_of(*named)
        super().__init__(env_id, num_envs, **{"relative_to": order, **kwargs})
        self.sight = Sight(self.env, order)
        self.observation_space, self.action_space = self.sight.observation_space, self.sight.action_space

    def reset(self) -> np.ndarray:  # type: ignore[override]
        """Begin an episode in every environment."""
        return self._look(super().reset())

    def step_async(self, actions: np.ndarray) -> None:
        """Take note of the actions `(num_envs,)`."""
        super().step_async(meant(actions, self._opened, self._acts))

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:  # type: ignore[override]
        """Take the actions; see `LLMQueueVecEnv`. The "r" of `info["episode"]` is the undiscounted raw return."""
        observation, reward, over, infos = super().step_wait()
        for e in over.nonzero()[0]:
            last = infos[e]["terminal_observation"]
            infos[e]["terminal_observation"] = self.sight.look({k: o[None] for k, o in last.items()})[0][0]
        return self._look(observation), reward, over, infos

    def _look(self, observation: dict[str, np.ndarray]) -> np.ndarray:
        features, self._opened, self._acts = self.sight.look(observation)
        return features

    def env_method(self, method_name: str, *args: Any, indices: Indices = None, **kwargs: Any) -> list[Any]:
        """Return what a learner may take `(n,)` in the environments, which is everything; see `envs.learnable`."""
        if method_name != "action_masks":
            return super().env_method(method_name)
        return [np.ones(self.action_space.n, bool) for _ in self._get_indices(indices)]  # type: ignore[attr-defined]

    def agent(self, model: Any) -> Trained:
        """Return a model that was trained here as an agent, for `rollout` and boards."""
        return Trained(model, self.sight)


def learner(env_id: str | Scenario, num_envs: int = 8, order: Any = None, gamma: float = 0.99, **kwargs: Any) -> Any:
    """Return environments on which algorithms of Stable-Baselines3 learn with their default settings.

    Args:
        env_id: such as "llmqueue/MG1Preemptive-v0", or a scenario.
        num_envs: how many.
        order: policy by hand that says who is likely; that of the id unless told otherwise.
        gamma: discount of a step that the algorithm is told; the spread of returns so discounted is made one.
        **kwargs: the arguments of one environment.
    """
    return VecNormalize(LearnerVecEnv(env_id, num_envs, order, **kwargs), norm_obs=False, gamma=gamma)


class SlotsExtractor(BaseFeaturesExtractor):
    """A `SlotsNet` as features `(B, features)`, for the observation space of any environment here."""

    def __init__(self, observation_space: Dict, hidden: int = 32, outputs: int = 1):
        net = SlotsNet(observation_space, hidden, outputs)
        super().__init__(observation_space, net.features)
        self.net = net

    def forward(self, observations: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the features of a batch of observations."""
        return self.net(observations)


class SlotsMaskablePolicy(MaskableMultiInputActorCriticPolicy):
    """Actor and critic of `MaskablePPO` on a `SlotsExtractor`; each action begins as its slot's own score."""

    def __init__(self, *args: Any, **kwargs: Any):
        kwargs = {"features_extractor_class": SlotsExtractor, "net_arch": {"pi": [], "vf": [64]}, **kwargs}
        super().__init__(*args, **kwargs)

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        if isinstance(self.features_extractor, SlotsExtractor) and not self.net_arch["pi"]:  # type: ignore[call-overload]
            begin_with_scores(self.action_net, self.features_extractor.net.slots)  # type: ignore[arg-type]


class SlotsQNetwork(QNetwork):
    """Values of actions, where one that is not open is worth what the first open one is: it stands for that one.

    Which is the rule of the environments, save where `decides="evict"` preempts the last. So no closed action is
    ever better than all open ones, though `DQN` has no masks.
    """

    def forward(self, obs: Any) -> torch.Tensor:
        """Return the values `(B, n_actions)`."""
        values, mask = super().forward(obs), obs["action_mask"] > 0
        first = mask.to(torch.int8).argmax(1, keepdim=True)
        return torch.where(mask, values, values.gather(1, first))


class SlotsDQNPolicy(MultiInputPolicy):
    """The values of `DQN` on a `SlotsExtractor`; each action begins as its slot's own score."""

    def __init__(self, observation_space: Dict, action_space: Discrete, *args: Any, **kwargs: Any):
        kwargs = {"features_extractor_class": SlotsExtractor, "net_arch": [], **kwargs}
        super().__init__(observation_space, action_space, *args, **kwargs)

    def make_q_net(self) -> QNetwork:
        """Return a network of values; there are two, one of which follows the other."""
        made = SlotsQNetwork(**self._update_features_extractor(self.net_args, features_extractor=None)).to(self.device)
        if isinstance(made.features_extractor, SlotsExtractor) and not self.net_arch:
            begin_with_scores(made.q_net[-1], made.features_extractor.net.slots)  # type: ignore[arg-type]
        return made
